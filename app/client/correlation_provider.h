// Where the client's halves of the correlation sets come from: one implementation a mode.
//
// A provider makes sets on the session's preparation threads, while inferences go on. Where
// somebody else deals, what the engine needs for its half (d0 or d) is left in memory, and the
// session uploads it between two inferences. Where client and engine make a set together they do so
// on connections of their own, and the engine's half is in its bank when the set is complete.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/client/session_line.h"
#include "app/client/weight_cache.h"
#include "engine/core/result.h"
#include "engine/core/secure_vector.h"
#include "engine/inference/activations.h"
#include "engine/offline/correlation_set.h"
#include "engine/offline/dealing.h"
#include "engine/offline/two_party/party.h"
#include "net/message_io.h"
#include "net/pin_store.h"
#include "net/tls.h"

namespace pillarbox::client {

/// The client's half of a set.
struct AssembledSet {
  offline::ClientSet set;
  bool complete = false;               ///< the engine has its half
  SecureVector<std::uint64_t> upload;  ///< d0 or d, which it needs for that, if it has not
  std::uint64_t bytesSent = 0;         ///< of this set so far, on whatever connection
  std::uint64_t bytesReceived = 0;
  std::uint32_t rounds = 0;
};

/// What was done once for the whole session: keys, masked weights.
struct SetupCost {
  std::uint64_t bytesSent = 0, bytesReceived = 0;
  double seconds = 0;
};

/// What the engine said when it opened the model.
struct OpenedModel {
  std::shared_ptr<const models::PublicModel> description;
  std::shared_ptr<const inference::Activations>
      activations;  ///< by the protocol that was asked for
  models::Sha256 hash{};
  std::string maskId;                   ///< dealer mode; 16 bytes
  models::Sha256 maskedWeightsHash{};   ///< dealer mode
  std::optional<net::Endpoint> dealer;  ///< dealer mode
  net::Fingerprint dealerFingerprint;   ///< dealer mode: as the engine pinned it
};

/// Fraction of a set that is done, 0..1.
using Fraction = std::function<void(double)>;

class CorrelationProvider {
 public:
  virtual ~CorrelationProvider() = default;

  /// Makes a set, with an index that no set had before. Errors that concern the session's line have
  /// broken it; after others it may be worth trying again (Untrusted, Version and Unsupported
  /// excepted).
  virtual Result<AssembledSet> assemble(const Fraction& progress) = 0;

  /// How many threads may call assemble() at a time.
  virtual int parallelSets() const { return 1; }
  virtual SetupCost setup() const { return {}; }

  /// The model was opened again: the engine's connection to the dealer was renewed.
  virtual void renew(const OpenedModel&) {}
  /// Whether opening the model again could help after this error.
  virtual bool wantsRenewal(const Error&) const { return false; }

  /// Whether assemble() may be held up in `progress` while an inference runs: not where it holds
  /// the line that the inference waits for.
  virtual bool mayYield() const { return false; }

  /// For so long, or until a hold of no time, nothing more of what assemble() sends leaves on lines
  /// beside the session's: an inference has the network. From any thread.
  virtual void hold(std::chrono::milliseconds) noexcept {}

  /// Ends a running assemble() with Cancelled. From any thread.
  virtual void cancel() noexcept {}

  /// Who is trusted, in one line for a person.
  virtual std::string trust() const = 0;
};

/// The engine deals: it could read the image. Comparison only.
class FirstPartyProvider : public CorrelationProvider {
 public:
  FirstPartyProvider(SessionLine& line, OpenedModel model)
      : m_line(line), m_model(std::move(model)) {}
  Result<AssembledSet> assemble(const Fraction& progress) override;
  std::string trust() const override;

 private:
  SessionLine& m_line;
  const OpenedModel m_model;
  std::uint64_t m_lastIndex = 0;
};

/// Client and engine make the sets by themselves, on connections beside the session's.
class TwoPartyProvider : public CorrelationProvider {
 public:
  struct Options {
    net::Endpoint engine;
    net::Fingerprint fingerprint;  ///< that the session's connection showed
    std::string token;             ///< of the session, from Welcome
    models::Sha256 hash{};         ///< of the model
    int parallelSets = 1;
    std::chrono::milliseconds networkTimeout{30000};
  };

  TwoPartyProvider(std::unique_ptr<const offline::two_party::ClientParty> party, Options options);
  ~TwoPartyProvider() override;

  Result<AssembledSet> assemble(const Fraction& progress) override;
  int parallelSets() const override { return m_options.parallelSets; }
  SetupCost setup() const override;
  bool mayYield() const override { return true; }
  void hold(std::chrono::milliseconds duration) noexcept override;
  void cancel() noexcept override;
  std::string trust() const override;

 private:
  /// One connection; idle while nobody makes a set on it.
  struct Line {
    std::unique_ptr<net::TlsConnector> connector;
    std::unique_ptr<net::Channel> channel;
    bool busy = true;
  };
  using Lines = std::vector<std::shared_ptr<Line>>;

  Result<std::shared_ptr<Line>> takeLine();
  Status connect(Line& line);
  Status greet(net::Channel& channel);
  Result<std::uint64_t> startSet(net::Channel& channel, bool& declined);
  Result<AssembledSet> makeSet(net::Channel& channel, const Fraction& progress, bool& declined);
  bool cancelled() const;

  const std::unique_ptr<const offline::two_party::ClientParty> m_party;
  const Options m_options;

  std::mutex m_order;  ///< held while a line is greeted or a set is begun: keys once, indices grow
  std::uint64_t m_lastIndex = 0;

  mutable std::mutex m_mutex;  ///< guards the rest
  bool m_cancelled = false;
  std::chrono::steady_clock::time_point m_heldUntil{};
  Lines m_lines;
  SetupCost m_setup;
};

/// A third host deals.
class DealerProvider : public CorrelationProvider {
 public:
  struct Options {
    std::string token;                            ///< of the session, from Welcome
    std::optional<net::Endpoint> dealer;          ///< overrides what the engine says
    std::optional<net::Fingerprint> trustDealer;  ///< overrides what the engine vouches for
    std::filesystem::path stateDirectory;         ///< of the pin store
    std::filesystem::path cacheDirectory;         ///< of masked weights
    std::chrono::milliseconds networkTimeout{30000};
    std::function<void(const std::string& level, const std::string& line)> log;
    /// Told of a changed dealer certificate.
    std::function<void(const net::Endpoint&, const net::Fingerprint& pinned,
                       const net::Fingerprint& presented)>
        onMismatch;
  };

  DealerProvider(SessionLine& line, OpenedModel model, Options options);
  ~DealerProvider() override;

  Result<AssembledSet> assemble(const Fraction& progress) override;
  SetupCost setup() const override;
  void renew(const OpenedModel& model) override;
  bool wantsRenewal(const Error& error) const override;
  bool mayYield() const override { return true; }
  void cancel() noexcept override;
  std::string trust() const override;

 private:
  Status connect();
  Status loadMaskedWeights();
  Result<AssembledSet> deal(std::uint64_t index, const Fraction& progress);
  net::Endpoint address() const;

  SessionLine& m_line;
  const Options m_options;
  const net::PinStore m_pins;
  const WeightCache m_cache;

  mutable std::mutex m_mutex;  ///< guards the next five
  SetupCost m_setup;
  OpenedModel m_model;
  bool m_cancelled = false;
  std::unique_ptr<net::TlsConnector> m_connector;
  std::shared_ptr<net::Channel> m_channel;

  // The preparation thread only.
  std::uint64_t m_lastIndex = 0;
  std::shared_ptr<const offline::WideWeights> m_maskedWeights;
  models::Sha256 m_loadedHash{};
};

}  // namespace pillarbox::client
