// A session's correlation sets, and the offline lines that fill it.
//
// The session's thread takes sets out; the threads of its offline lines (connections of the same
// client, on which sets are made) put them in. The invariant of the offline phase is kept here:
// indices only grow, a set leaves the bank before it is used, and an index that was used, burnt or
// never prepared is an error. When the session ends the bank is closed: every set is destroyed, and
// every line is cancelled.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/inference/executor.h"
#include "engine/offline/correlation_set.h"
#include "engine/offline/two_party/party.h"
#include "engine/service/memory_budget.h"
#include "engine/service/metrics.h"
#include "engine/service/stripe_dock.h"
#include "net/channel.h"

namespace pillarbox::service {

/// Names a session; a secret of its two parties (and of the dealer, where there is one).
using Token = std::array<std::uint8_t, 16>;

/// What a session has opened: sets and keys are good for that and nothing else.
struct Opening {
  std::shared_ptr<const inference::EngineModel> model;  ///< null: nothing
  offline::Protocol protocol = offline::Protocol::HoneyBadger;
  bool operator==(const Opening&) const = default;
};

class SetBank {
 public:
  /// Offline lines that a session may have at a time.
  static constexpr std::size_t kMaxLines = 4;

  using Keys = std::shared_ptr<const offline::two_party::EngineKeys>;

  /// @param limit   sets, those being made included
  /// @param memory  that all sets of all sessions share; outlives the bank, as do the metrics
  SetBank(std::size_t limit, MemoryBudget& memory, Metrics& metrics)
      : m_limit(limit), m_memory(memory), m_metrics(metrics) {}

  /// From now on sets are for this; those for another model or protocol are destroyed, keys too.
  void open(Opening opening);

  /// A set that is being made: counts against the limit and holds its memory. Burns the index if it
  /// goes out of scope before deposit().
  class Preparation {
   public:
    Preparation(Preparation&& other) noexcept;
    Preparation& operator=(Preparation&&) = delete;
    ~Preparation();
    std::uint64_t index() const { return m_index; }
    /// The session's, for this model; null if none were sent.
    const Keys& keys() const { return m_keys; }
    /// Puts the finished set into the bank. Errors: Closed if the session has ended meanwhile or
    /// opened another model or protocol; Internal for a set that was made for another protocol.
    Status deposit(offline::EngineSet set) &&;

   private:
    friend class SetBank;
    Preparation(std::shared_ptr<SetBank> bank, std::uint64_t index, Opening opening, Keys keys,
                MemoryBudget::Reservation memory);
    std::shared_ptr<SetBank> m_bank;
    const std::uint64_t m_index;
    const Opening m_opening;
    const Keys m_keys;
    MemoryBudget::Reservation m_memory;
  };

  /// Starts set `index`, which is used up whatever comes of it. Errors: Protocol unless it is above
  /// every index before it; Exhausted (the bank is full, or the memory); Closed, also where the
  /// session has opened something else than `opening`.
  static Result<Preparation> begin(const std::shared_ptr<SetBank>& bank, const Opening& opening,
                                   std::uint64_t index, std::uint64_t memoryBytes);

  /// A set that has left the bank; its memory counts as long as it is there.
  struct Taken {
    offline::EngineSet set;
    MemoryBudget::Reservation memory;
  };
  /// Takes a set out. Errors: Protocol where there is none of that index.
  Result<Taken> take(std::uint64_t index);

  std::size_t ready() const;
  std::uint64_t prepared() const;  ///< sets deposited so far

  /// Destroys every set, cancels every line.
  void close() noexcept;

  /// For so long, or until a hold of no time, nothing more leaves on the lines: an inference of
  /// this session has the network.
  void holdLines(std::chrono::milliseconds duration) noexcept;

  /// Announces keys that a client is about to send over one of its lines: good for all of them, as
  /// long as one is there. Errors: Protocol if there are keys already; Exhausted; Closed.
  Result<MemoryBudget::Reservation> expectKeys(std::uint64_t memoryBytes);
  /// Errors: Protocol if another line has sent keys meanwhile; Closed, as of begin().
  Status setKeys(const Opening& opening, Keys keys, MemoryBudget::Reservation memory);
  bool hasKeys() const;

  /// Registers an offline line until the attachment goes out of scope; close() cancels it.
  class Attachment {
   public:
    Attachment(std::shared_ptr<SetBank> bank, net::Channel& line);
    Attachment(Attachment&& other) noexcept;
    Attachment& operator=(Attachment&&) = delete;
    ~Attachment();
    SetBank& bank() const { return *m_bank; }
    const std::shared_ptr<SetBank>& shared() const { return m_bank; }

   private:
    std::shared_ptr<SetBank> m_bank;
    net::Channel* m_line;
  };
  /// Errors: Exhausted (kMaxLines are there already); Closed; Refused if the session has not opened
  /// the model of that hash.
  static Result<Attachment> attach(const std::shared_ptr<SetBank>& bank, const models::Sha256& hash,
                                   net::Channel& line);
  Opening opening() const;

 private:
  /// Counts its set in the metrics for as long as it lies in the bank.
  class Counted {
   public:
    Counted(Metrics& metrics, std::uint64_t bytes)
        : m_metrics(&metrics), m_bytes(static_cast<std::int64_t>(bytes)) {
      metrics.bankChanged(1, m_bytes);
    }
    Counted(Counted&& other) noexcept
        : m_metrics(std::exchange(other.m_metrics, nullptr)), m_bytes(other.m_bytes) {}
    Counted& operator=(Counted&&) = delete;
    ~Counted() {
      if (m_metrics != nullptr) m_metrics->bankChanged(-1, -m_bytes);
    }

   private:
    Metrics* m_metrics;
    std::int64_t m_bytes;
  };

  struct Prepared {
    offline::EngineSet set;
    MemoryBudget::Reservation memory;
    Counted counted;
  };

  const std::size_t m_limit;
  MemoryBudget& m_memory;
  Metrics& m_metrics;

  mutable std::mutex m_mutex;  ///< guards what follows
  bool m_closed = false;
  Opening m_opening;
  std::uint64_t m_lastIndex = 0;
  std::uint64_t m_prepared = 0;
  std::size_t m_making = 0;
  std::map<std::uint64_t, Prepared> m_sets;
  std::vector<net::Channel*> m_lines;
  std::chrono::steady_clock::time_point m_heldUntil{};  ///< the lines
  Keys m_keys;  ///< they hold their reservation, also where a set in the making outlives the bank's
};

/// What a session shares with the further connections of its client.
struct SessionParts {
  std::shared_ptr<SetBank> bank;
  std::shared_ptr<StripeDock> dock;
};

/// The sessions of an engine by their tokens, for the connections that ask for them.
class SessionDirectory {
 public:
  /// @param limit  sessions at a time
  explicit SessionDirectory(std::size_t limit) : m_limit(limit) {}
  /// Errors: Exhausted.
  Status add(const Token& token, SessionParts parts);
  void remove(const Token& token) noexcept;
  /// Those of a live session. Errors: NotFound.
  Result<SessionParts> find(const Token& token) const;

 private:
  const std::size_t m_limit;
  mutable std::mutex m_mutex;
  std::map<Token, SessionParts> m_sessions;
};

}  // namespace pillarbox::service
