// One client's session at the engine: a thread, a channel, a bank of correlation sets.
//
// Sessions share the models, the correlation source and the memory budget, and nothing else. What
// the client sends can end its own session only: every request is checked, every failure becomes a
// Failure frame, a log line and the end of this thread. When a session ends, for whatever reason,
// its sets are destroyed with it.
//
// The invariant of the offline phase is kept here: set indices only grow, a set leaves the bank
// before it is used, and an index that was used, burnt or never prepared is an error.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/inference/executor.h"
#include "engine/service/configuration.h"
#include "engine/service/correlation_source.h"
#include "engine/service/memory_budget.h"
#include "engine/service/metrics.h"
#include "engine/service/served_models.h"
#include "net/channel.h"
#include "net/messages.pb.h"

namespace pillarbox::service {

/// What the sessions of an engine share; outlives them.
struct EngineContext {
  EngineConfiguration configuration;
  ServedModels models;
  std::unique_ptr<CorrelationSource> correlations;
  std::unique_ptr<MemoryBudget> setMemory;
  Metrics metrics;
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
  enum class Phase { Idle, Busy, Inference, Ended };

  /// Counts its set in the metrics for as long as it lies in the bank.
  class BankEntry {
   public:
    BankEntry(Metrics& metrics, std::uint64_t bytes)
        : m_metrics(&metrics), m_bytes(static_cast<std::int64_t>(bytes)) {
      metrics.bankChanged(1, m_bytes);
    }
    BankEntry(BankEntry&& other) noexcept
        : m_metrics(std::exchange(other.m_metrics, nullptr)), m_bytes(other.m_bytes) {}
    BankEntry& operator=(BankEntry&&) = delete;
    ~BankEntry() {
      if (m_metrics != nullptr) m_metrics->bankChanged(-1, -m_bytes);
    }

   private:
    Metrics* m_metrics;
    std::int64_t m_bytes;
  };

  struct Prepared {
    offline::EngineSet set;
    MemoryBudget::Reservation memory;
    BankEntry counted;
  };

  Status serve();
  Status welcome();
  Status handle(const net::proto::ToEngine& request);
  Status openModel(const net::proto::OpenModel& request);
  Status fetchMaskedWeights(const net::proto::FetchMaskedWeights& request);
  Status prepareSet(std::uint64_t index);
  Status receiveSet(std::uint64_t index);
  bool bankIsFull() const;
  Status infer(std::uint64_t index);
  Status decline(const Error& error);
  /// Errors: Protocol unless `index` is above every index before it.
  Status advanceIndex(std::uint64_t index);
  /// Changes the phase; Cancelled if the engine is shutting down.
  Status enter(Phase phase);
  bool isDraining();
  /// Adds the channel's traffic since the last call to the metrics.
  void countTraffic(bool online);
  void logEnd(const Status& status, double seconds) const;

  EngineContext& m_context;
  const std::uint64_t m_id;
  net::Channel m_channel;
  Error m_refusal;
  bool m_refused = false;

  std::mutex m_mutex;  ///< guards m_phase and m_draining
  Phase m_phase = Phase::Idle;
  bool m_draining = false;

  // The session's thread only.
  Token m_token{};
  std::string m_software;
  std::shared_ptr<const inference::EngineModel> m_model;
  std::unique_ptr<SessionCorrelations> m_correlations;
  std::map<std::uint64_t, Prepared> m_bank;
  inference::EngineMemory m_inferenceMemory;
  std::uint64_t m_dealtIndex = 0;                              ///< last index that PrepareSet named
  std::uint64_t m_uploadedIndex = 0;                           ///< last index that SetUpload named
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
