// One client's session at the engine: a thread, a channel, a bank of correlation sets. Or one of a
// session's offline lines, on which sets are made for the bank of that session. Or one of a
// session's stripes, until that session takes the connection over.
//
// Sessions share the models, the correlation source and the memory budget, and nothing else. What
// the client sends can end its own session only: every request is checked, every failure becomes a
// Failure frame, a log line and the end of this thread. When a session ends, for whatever reason,
// its sets are destroyed with it (set_bank.h), and its offline lines are cancelled.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/inference/executor.h"
#include "engine/service/accelerator.h"
#include "engine/service/configuration.h"
#include "engine/service/correlation_source.h"
#include "engine/service/memory_budget.h"
#include "engine/service/metrics.h"
#include "engine/service/offline_gate.h"
#include "engine/service/served_models.h"
#include "engine/service/set_bank.h"
#include "net/channel.h"
#include "net/messages.pb.h"
#include "net/striped_transport.h"

namespace pillarbox::service {

/// What the sessions of an engine share; outlives them.
struct EngineContext {
  explicit EngineContext(EngineConfiguration settings);

  const EngineConfiguration configuration;
  kernels::Team team;  ///< of the sessions' threads that compute inferences
  ServedModels models;
  Accelerator accelerator;
  std::unique_ptr<CorrelationSource> correlations;
  Metrics metrics;
  MemoryBudget setMemory;
  SessionDirectory sessions;
  OfflineGate offlineGate;
};

class Session {
 public:
  Session(EngineContext& context, std::uint64_t id, std::unique_ptr<net::Transport> transport);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Serves the client until it leaves or fails; never throws. Logs one line at the end.
  void run() noexcept;

  /// Ends the session now if no inference is running, else after it. From any thread.
  void drain() noexcept;
  /// Ends the session now. From any thread.
  void cancel() noexcept;
  /// Refuses the client with this error instead of serving it. Call before run().
  void refuse(Error error) { m_refusal = std::move(error), m_refused = true; }

 private:
  /// What drain() may interrupt: Idle and Busy, where the session may wait for its client for long.
  /// Answering ends by itself, Inference as well; then the client is told of the shutdown.
  enum class Phase { Idle, Busy, Answering, Inference, Ended };
  enum class Kind { Session, OfflineLine, Stripe };

  Status serve();
  Status welcome();
  Status handle(const net::proto::ToEngine& request);
  Status openModel(const net::proto::OpenModel& request);
  Status fetchMaskedWeights(const net::proto::FetchMaskedWeights& request);
  Status prepareSet(std::uint64_t index);
  Status receiveSet(std::uint64_t index);
  Status infer(std::uint64_t index);
  /// The live session that `token` names. Errors: Protocol, NotFound.
  Result<SessionParts> sessionOf(const std::string& token) const;
  Status serveLine();
  Status serveStripe();
  Status widen(std::size_t stripes);
  Status makeSet(const SetBank::Attachment& line, const offline::two_party::EngineParty& party,
                 std::uint64_t index);
  Status decline(const Error& error);
  /// Sends the last message of a request. Errors: enter()'s, those of sending.
  Status conclude(const net::proto::ToClient& reply);
  /// Changes the phase; Cancelled if the engine is shutting down.
  Status enter(Phase phase);
  bool isDraining();
  /// Adds the channel's traffic since the last call to the metrics.
  void countTraffic(bool online);
  void logEnd(const Status& status, double seconds) const;

  EngineContext& m_context;
  const std::uint64_t m_id;
  net::StripedTransport* const m_stream;  ///< the channel's
  net::Channel m_channel;
  Error m_refusal;
  bool m_refused = false;

  std::mutex m_mutex;  ///< guards m_phase and m_draining
  Phase m_phase = Phase::Idle;
  bool m_draining = false;

  // The session's thread only.
  Token m_token{};
  std::string m_software;
  Opening m_opening;
  std::shared_ptr<const inference::Activations> m_activations;  ///< of what is open
  std::unique_ptr<SessionCorrelations> m_correlations;
  const std::shared_ptr<SetBank> m_bank;
  const std::shared_ptr<StripeDock> m_dock;
  inference::EngineMemory m_inferenceMemory;
  Kind m_kind = Kind::Session;
  std::uint64_t m_dealtIndex = 0;                              ///< last index that PrepareSet named
  std::deque<std::chrono::steady_clock::time_point> m_recent;  ///< inferences of the last minute

  net::MeterReading m_counted;  ///< what the metrics have of this channel's traffic
  std::uint64_t m_setsPrepared = 0;
  std::uint64_t m_inferences = 0;
  double m_dealingSeconds = 0;  ///< PrepareSet of the set that is not uploaded yet
  std::uint64_t m_onlineRounds = 0;
  std::uint64_t m_onlineBytesSent = 0, m_onlineBytesReceived = 0;
  double m_offlineSeconds = 0, m_onlineSeconds = 0;
};

}  // namespace pillarbox::service
