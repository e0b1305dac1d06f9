// EngineSession: the client's side of one session, for programs without an event loop.
//
// Connects, checks the pin, opens a model, keeps a bank of correlation sets filled on a thread of
// its own, and runs one inference at a time. Used as it is by the command line, and by
// SessionController's worker for the desktop app. A session that broke stays broken: its sets are
// gone, on both sides; connect a new one.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <climits>

#include "app/client/correlation_provider.h"
#include "app/client/further_stripes.h"
#include "app/client/session_line.h"
#include "engine/core/result.h"
#include "engine/inference/executor.h"
#include "engine/offline/correlation_set.h"
#include "models/description.h"
#include "net/pin_store.h"
#include "net/tls.h"

namespace pillarbox::client {

struct BankReading {
  int ready = 0;
  int target = 0;
  double preparing = -1;  ///< fraction of the set that comes next; negative: none is being made
  int making = 0;         ///< sets that are being made at this moment
};

struct SessionOptions {
  net::Endpoint engine;
  std::string model;  ///< name, or the beginning of its hash; empty: the engine's first

  /// This certificate, or none (then it is pinned without asking).
  std::optional<net::Fingerprint> trust;
  /// First contact: whether to accept. Called on the connecting thread before anything was sent;
  /// may take its time. Without it an unknown engine is Untrusted.
  std::function<bool(const net::Fingerprint&)> ask;
  /// Told of a changed certificate, before connect() fails with Untrusted.
  std::function<void(const net::Fingerprint& pinned, const net::Fingerprint& presented)> onMismatch;

  std::optional<net::Endpoint> dealer;          ///< instead of the one the engine names
  std::optional<net::Fingerprint> trustDealer;  ///< instead of what the engine vouches for

  std::filesystem::path stateDirectory;  ///< of the pin store
  std::filesystem::path cacheDirectory;  ///< of masked weights; empty: no cache
  int bankTarget = 1;
  /// How activations are evaluated. Engines need not serve all; then connect() fails.
  offline::Protocol protocol = offline::Protocol::HoneyBadger;
  /// The only offline mode to go on with; none: whatever the engine has, which facts() tells.
  std::optional<offline::Mode> mode;
  /// Two-party mode: sets made at a time, 1..4; 0: two, so that computing and sending overlap, or
  /// one where the engine is on this machine.
  int parallelSets = 0;
  /// Two-party mode: processors that a set may use; 0: all.
  unsigned offlineThreads = 0;
  /// Two-party mode: most memory for the sets that are being made. No second set is made beside the
  /// first where both would take more; a model whose sets take more one by one is refused.
  std::uint64_t offlineMemory = std::uint64_t{2} << 30;
  /// Connections that carry the inferences, 1..4, as far as the engine allows them; 0: as many as
  /// it allows where it is far away (a round trip above 5 ms), else one.
  int stripes = 0;
  std::chrono::milliseconds networkTimeout{30000};
  /// How long an inference waits while no set can be made (the dealer is away); zero: for ever.
  std::chrono::milliseconds patience{30000};

  /// On the preparation thread.
  std::function<void(const BankReading&)> onBank;
  /// Level ("debug", "info", "warning", "error") and line; from several threads.
  std::function<void(const std::string& level, const std::string& line)> log;
};

/// What the session is with, fixed when connect() returns.
struct SessionFacts {
  std::string software;          ///< of the engine
  std::string security;          ///< "TLS 1.3, ..."
  net::Fingerprint fingerprint;  ///< of the engine's certificate
  std::shared_ptr<const models::PublicModel> model;
  models::Sha256 modelHash{};
  offline::Protocol protocol = offline::Protocol::HoneyBadger;
  offline::Mode mode = offline::Mode::Dealer;
  bool insecure = false;
  std::string trust;  ///< one line: who is trusted
  int maxSets = 0;    ///< the engine's limit
  /// Two-party mode: what a set costs, from the public description alone.
  std::optional<offline::two_party::SetCost> predicted;
};

struct Classification {
  std::vector<double> probabilities;  ///< one a label
  std::uint32_t rounds = 0;           ///< metered, as are the bytes
  std::uint64_t bytesSent = 0, bytesReceived = 0;
  double onlineSeconds = 0;  ///< from the set in hand and the pixels ready to the class known
  std::uint64_t offlineBytesSent = 0, offlineBytesReceived = 0;  ///< of the set that was used
  double offlineSeconds = 0;
  std::uint32_t offlineRounds = 0;
  SetupCost setup;                    ///< what the session has spent once, beside its sets
  std::uint64_t peakMemoryBytes = 0;  ///< the most that this process has ever held, so far
  std::string warning;                ///< empty, or why the answer may be wrong; for people
};

class EngineSession {
 public:
  /// Connecting takes time: connect() blocks, cancel() of the same object ends it.
  explicit EngineSession(SessionOptions options);
  ~EngineSession();
  EngineSession(const EngineSession&) = delete;
  EngineSession& operator=(const EngineSession&) = delete;

  /// Once. Pins a certificate that was accepted, opens the model, starts to prepare sets.
  /// Errors: those of TlsConnector and PinStore; Version; NotFound (no such model); Unsupported
  /// (the engine does not serve the wanted protocol, or not for this model); Protocol.
  Status connect();
  const SessionFacts& facts() const { return m_facts; }

  /// Classifies; blocks. @param pixels  as of models::preprocess.
  /// Errors: those of runClient; Cancelled; why no set could be made (after `patience`).
  /// @param progress   the meter in it counts from the start of this inference
  /// @param cancelled  looked at before the inference starts and while it waits for a set
  Result<Classification> classify(std::span<const float> pixels,
                                  const inference::ProgressSink& progress = {},
                                  const std::function<bool()>& cancelled = {});
  /// Ends a classify() that is waiting (its `cancelled` must say so by now) or running. An
  /// inference under way cannot be taken back: its set is burnt and the session with it.
  void cancelInference() noexcept;

  /// Round-trip time in seconds, or nothing where the line is in use. Errors: those of the channel.
  Result<std::optional<double>> ping();

  void setBankTarget(int sets);
  /// Prepare no more than this many sets in all (a program that knows how many images it has).
  void limitSets(std::uint64_t sets);
  BankReading bank() const;
  /// Connections that carry the inferences by now: they are opened while sets are prepared.
  int stripes() const { return static_cast<int>(m_line->stripes()); }
  /// Why no set could be made the last time it was tried; nothing once one was made.
  std::optional<Error> preparationError() const;
  /// True where it will not be tried again: the dealer's certificate has changed, for example.
  bool preparationIsHopeless() const;
  /// Why the session is over, if it is.
  std::optional<Error> broken() const;

  /// Ends everything; connect() and classify() return Cancelled. From any thread.
  void cancel() noexcept;

 private:
  struct Ready {
    offline::ClientSet set;
    std::uint64_t bytesSent = 0, bytesReceived = 0;
    std::uint32_t rounds = 0;
    double seconds = 0;
  };

  Status openConnection();
  Status hello();
  Result<OpenedModel> openModel(bool& declined);
  Result<OpenedModel> openModelPatiently();
  Result<std::unique_ptr<CorrelationProvider>> makeProvider(OpenedModel opened);
  void widen();
  void prepareSets(std::size_t preparer);
  Result<Ready> prepareOne(std::size_t preparer);
  /// Sends what the engine needs for its half; returns what that cost.
  Result<net::MeterReading> uploadOpenings(std::uint64_t index,
                                           std::span<const std::uint64_t> openings);
  Result<Ready> takeSet(const std::function<bool()>& cancelled);
  bool pause(std::chrono::milliseconds time);
  void reportBank();
  BankReading reading() const;  ///< with m_mutex held
  void log(const std::string& level, const std::string& line) const;

  const SessionOptions m_options;
  SessionFacts m_facts;
  std::shared_ptr<const inference::Activations> m_activations;
  std::string m_token;
  std::size_t m_wantedStripes = 1;
  std::unique_ptr<SessionLine> m_line;
  std::unique_ptr<CorrelationProvider> m_provider;
  std::unique_ptr<FurtherStripes> m_further;

  mutable std::mutex m_mutex;  ///< guards what follows
  std::condition_variable m_changed;
  std::unique_ptr<net::TlsConnector> m_connector;
  bool m_cancelled = false;
  bool m_inferring = false;
  int m_target = 1;
  int m_maxTarget = INT_MAX;              ///< the engine's limit, once it is known
  std::uint64_t m_setsLeft = UINT64_MAX;  ///< that may still be prepared
  std::vector<double> m_preparing;        ///< by preparer: fraction of its set; negative: none
  std::deque<Ready> m_bank;
  std::optional<Error> m_preparationError;  ///< the last attempt's
  bool m_preparationHopeless = false;       ///< and it will not be tried again
  std::chrono::steady_clock::time_point m_lastProgress;

  std::vector<std::thread> m_preparers;
  std::thread m_widener;
};

}  // namespace pillarbox::client
