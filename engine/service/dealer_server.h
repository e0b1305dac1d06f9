// The dealer: a third host that makes correlations for engines and their clients.
//
// It holds no secret of anybody: descriptions of models, and for each the seed of a weight mask A.
// Engines and clients come to the same port and say what they are (net/messages.proto). Every
// connection has its own thread; the work of dealing (one linear map a stage) is done by at most
// `dealing_threads` of them at a time, and a thread gives up its turn while it waits for a slow
// client to take what was dealt, so that nobody can stall the others.
//
// Each (token, index) is dealt at most once and indices only grow. Every set has fresh seeds, so
// that even an engine that registered a token again would get unrelated masks.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/offline/dealing.h"
#include "engine/service/configuration.h"
#include "engine/service/correlation_source.h"
#include "engine/service/memory_budget.h"
#include "net/channel.h"
#include "net/messages.pb.h"

namespace pillarbox::service {

/// A model that an engine registered: the description, and A expanded.
struct DealerModel {
  models::PublicModel description;
  models::Sha256 hash{};
  MaskId maskId{};
  offline::WideWeights weightMask;
  MemoryBudget::Reservation memory;
};

/// A channel that several threads write to. `write` keeps a message and the frames that follow it
/// together.
struct DealerLine {
  explicit DealerLine(std::unique_ptr<net::Transport> transport) : channel(std::move(transport)) {}
  net::Channel channel;
  std::mutex write;
};

/// What the connections of one dealer share; outlives them.
class DealerState {
 public:
  explicit DealerState(const DealerConfiguration& configuration);

 private:
  friend class DealerConnection;

  /// A session that an engine registered.
  struct Entry {
    std::shared_ptr<DealerLine> engine;
    std::shared_ptr<const DealerModel> model;
    std::shared_ptr<const inference::Activations> activations;  ///< what its sets are for
    std::uint64_t lastIndex = 0;
  };

  /// One of the turns at dealing; given back at the end of its scope, or in between.
  class Turn {
   public:
    explicit Turn(DealerState& state) : m_state(state) { take(); }
    ~Turn() {
      if (m_held) giveBack();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    void take();
    void giveBack();

   private:
    DealerState& m_state;
    bool m_held = false;
  };

  const DealerConfiguration m_configuration;
  MemoryBudget m_modelMemory;

  std::mutex m_mutex;
  std::map<Token, Entry> m_sessions;
  std::int64_t m_modelCount = 0;

  std::mutex m_turnMutex;
  std::condition_variable m_turnFree;
  std::int64_t m_freeTurns;
};

/// One connection at the dealer, of an engine or of a client.
class DealerConnection {
 public:
  DealerConnection(DealerState& state, std::uint64_t id, std::unique_ptr<net::Transport> transport);
  ~DealerConnection();
  DealerConnection(const DealerConnection&) = delete;
  DealerConnection& operator=(const DealerConnection&) = delete;

  /// Serves the peer until it leaves or fails; never throws. Logs one line at the end.
  void run() noexcept;
  /// Ends the connection now, or after the set that is being dealt on it. From any thread.
  void drain() noexcept;
  /// Ends the connection now. From any thread.
  void cancel() noexcept;
  /// Refuses the peer with this error instead of serving it. Call before run().
  void refuse(Error error) { m_refusal = std::move(error), m_refused = true; }

 private:
  Status serve();
  Status serveEngine();
  Status serveClient();
  Status registerModel(std::uint32_t descriptionBytes);
  Status registerSession(const net::proto::RegisterSession& request);
  Status closeSession(const net::proto::CloseSession& request);
  Status deal(const net::proto::RequestSet& request);
  Status reply(const net::proto::FromDealer& message);
  Status decline(const Error& error);
  Status enter(bool dealing);
  bool isDraining();
  void forgetEngine();

  DealerState& m_state;
  const std::uint64_t m_id;
  const std::shared_ptr<DealerLine> m_line;
  Error m_refusal;
  bool m_refused = false;

  std::mutex m_mutex;  ///< guards the next two
  bool m_dealing = false;
  bool m_draining = false;

  const char* m_role = "none";
  std::vector<std::shared_ptr<const DealerModel>> m_models;  ///< what this engine registered
  std::uint64_t m_dealt = 0;
  double m_dealingSeconds = 0;
};

}  // namespace pillarbox::service
