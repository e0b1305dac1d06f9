// Where the client's halves of the correlation sets come from: one implementation a mode.
//
// A provider makes one set at a time, on the session's preparation thread, while inferences go on.
// What the engine needs for its half (d0) is left in memory; the session uploads it between two
// inferences. A mode in which the engine takes part in making a set uses the SessionLine itself, as
// FirstPartyProvider does.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "app/client/session_line.h"
#include "app/client/weight_cache.h"
#include "engine/core/result.h"
#include "engine/core/secure_vector.h"
#include "engine/offline/correlation_set.h"
#include "engine/offline/dealing.h"
#include "net/message_io.h"
#include "net/pin_store.h"
#include "net/tls.h"

namespace pillarbox::client {

/// The client's half of a set that the engine does not have its half of yet.
struct AssembledSet {
  offline::ClientSet set;
  SecureVector<std::uint64_t> maskedOpenings;  ///< d0, for the engine
  std::uint64_t bytesSent = 0;                 ///< of this set so far, on whatever connection
  std::uint64_t bytesReceived = 0;
};

/// What the engine said when it opened the model.
struct OpenedModel {
  std::shared_ptr<const models::PublicModel> description;
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

  /// Makes set `index`. Errors that concern the engine have broken the line; after others it may be
  /// worth trying again with a new index (Untrusted, Version and Unsupported excepted).
  virtual Result<AssembledSet> assemble(std::uint64_t index, const Fraction& progress) = 0;

  /// The model was opened again: the engine's connection to the dealer was renewed.
  virtual void renew(const OpenedModel&) {}
  /// Whether opening the model again could help after this error.
  virtual bool wantsRenewal(const Error&) const { return false; }

  /// Whether assemble() may be held up in `progress` while an inference runs: not where it holds
  /// the line that the inference waits for.
  virtual bool mayYield() const { return false; }

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
  Result<AssembledSet> assemble(std::uint64_t index, const Fraction& progress) override;
  std::string trust() const override;

 private:
  SessionLine& m_line;
  const OpenedModel m_model;
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

  Result<AssembledSet> assemble(std::uint64_t index, const Fraction& progress) override;
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

  mutable std::mutex m_mutex;  ///< guards the next four
  OpenedModel m_model;
  bool m_cancelled = false;
  std::unique_ptr<net::TlsConnector> m_connector;
  std::shared_ptr<net::Channel> m_channel;

  // The preparation thread only.
  std::shared_ptr<const offline::WideWeights> m_maskedWeights;
  models::Sha256 m_loadedHash{};
};

}  // namespace pillarbox::client
