// Where the engine's halves of the correlation sets come from: one implementation a mode.
//
// A session opens one SessionCorrelations for its model and asks it for what the mode can do; the
// session itself knows no mode. In two-party mode nothing is asked of it: the sets are made on the
// session's offline lines, by the EngineParty that party() gives.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/inference/executor.h"
#include "engine/offline/correlation_set.h"
#include "engine/offline/dealing.h"
#include "engine/offline/two_party/party.h"
#include "engine/service/served_models.h"
#include "engine/service/set_bank.h"
#include "net/certificate.h"
#include "net/channel.h"
#include "net/endpoint.h"

namespace pillarbox::service {

using MaskId = std::array<std::uint8_t, 16>;

/// Where clients find the dealer.
struct DealerContact {
  net::Endpoint address;
  net::Fingerprint fingerprint;
};

/// One session's share of a CorrelationSource. Used by the session's thread alone.
class SessionCorrelations {
 public:
  virtual ~SessionCorrelations() = default;

  /// What ModelOpened tells the client; empty in modes without a dealer.
  struct Dealing {
    DealerContact dealer;
    MaskId maskId{};
    models::Sha256 maskedWeightsHash{};
  };
  virtual std::optional<Dealing> dealing() const { return std::nullopt; }

  /// Answers FetchMaskedWeights. Errors: Refused (the session goes on); those of the channel.
  virtual Result<std::shared_ptr<const offline::WideWeights>> maskedWeights(const MaskId& id) = 0;

  /// Answers PrepareSet: sends what the client needs for set `index`. Errors are those of the
  /// channel; Refused where a client of this mode does not ask the engine for that.
  virtual Status prepare(net::Channel& channel, std::uint64_t index) = 0;

  /// The seed of the engine's half of set `index`, at most once for each index. Waits a moment
  /// where the dealer's word may still be on its way.
  /// Errors: NotFound where nobody dealt that set.
  virtual Result<random::Seed> takeSeed(std::uint64_t index) = 0;
};

class CorrelationSource {
 public:
  virtual ~CorrelationSource() = default;
  virtual offline::Mode mode() const = 0;
  /// @param opening  whose sets are wanted; its model can be evaluated by its protocol
  /// Errors: Unreachable, Untrusted, Timeout where the dealer is away.
  virtual Result<std::unique_ptr<SessionCorrelations>> open(const Token& token,
                                                            const Opening& opening) = 0;
  /// Whether sets can be made now, else why not. From any thread.
  virtual Status ready() { return {}; }
  /// The models that are offered from now on; those of running sessions stay good. From any thread.
  virtual void serve(const ModelList&) {}
  /// Two-party mode: the engine's part in making sets for that. From any thread.
  /// Errors: Refused in the other modes; why it cannot be done for that model.
  virtual Result<std::shared_ptr<const offline::two_party::EngineParty>> party(
      const Opening& opening);
  /// Fails every call that waits. From any thread.
  virtual void stop() noexcept {}
};

/// Client and engine make the sets by themselves: nobody else is trusted.
class TwoPartySource : public CorrelationSource {
 public:
  using Party = std::shared_ptr<const offline::two_party::EngineParty>;
  using Factory =
      std::function<Result<Party>(const std::shared_ptr<const inference::EngineModel>&)>;
  /// @param factory  makes a model's party for HoneyBadger; those for other protocols share its
  ///                 weights
  explicit TwoPartySource(Factory factory) : m_factory(std::move(factory)) {}

  offline::Mode mode() const override { return offline::Mode::TwoParty; }
  Result<std::unique_ptr<SessionCorrelations>> open(const Token& token,
                                                    const Opening& opening) override;
  void serve(const ModelList& models) override;
  /// Made when it is asked for the first time, then kept as long as the model is offered.
  Result<Party> party(const Opening& opening) override;

 private:
  using ByProtocol = std::map<offline::Protocol, Party>;
  const Factory m_factory;
  std::mutex m_mutex;
  /// By model, not by hash: that is the same for all weights of one public description.
  std::map<std::weak_ptr<const inference::EngineModel>, ByProtocol, std::owner_less<>> m_parties;
};

/// The engine deals to itself with A = W: it knows the client's masks. For comparison only.
class FirstPartySource : public CorrelationSource {
 public:
  offline::Mode mode() const override { return offline::Mode::FirstParty; }
  Result<std::unique_ptr<SessionCorrelations>> open(const Token& token,
                                                    const Opening& opening) override;

 private:
  std::mutex m_mutex;
  std::map<std::weak_ptr<const inference::EngineModel>, std::shared_ptr<const offline::WideWeights>,
           std::owner_less<>>
      m_weights;
};

}  // namespace pillarbox::service
