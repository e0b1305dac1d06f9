// Where the engine's halves of the correlation sets come from: one implementation a mode.
//
// A session opens one SessionCorrelations for its model and asks it for what the mode can do. The
// session itself knows no mode: dealer and first-party are below, and a mode without any dealer
// fits behind the same interface (prepare() then runs the two-party protocol on the session's
// channel).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/core/result.h"
#include "engine/inference/executor.h"
#include "engine/offline/correlation_set.h"
#include "engine/offline/dealing.h"
#include "engine/service/served_models.h"
#include "net/certificate.h"
#include "net/channel.h"
#include "net/endpoint.h"

namespace pillarbox::service {

using Token = std::array<std::uint8_t, 16>;
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
  /// Errors: Unreachable, Untrusted, Timeout where the dealer is away.
  virtual Result<std::unique_ptr<SessionCorrelations>> open(
      const Token& token, std::shared_ptr<const inference::EngineModel> model) = 0;
  /// Whether sets can be made now, else why not. From any thread.
  virtual Status ready() { return {}; }
  /// The models that are offered from now on; those of running sessions stay good. From any thread.
  virtual void serve(const ModelList&) {}
  /// Fails every call that waits. From any thread.
  virtual void stop() noexcept {}
};

/// The engine deals to itself with A = W: it knows the client's masks. For comparison only.
class FirstPartySource : public CorrelationSource {
 public:
  offline::Mode mode() const override { return offline::Mode::FirstParty; }
  Result<std::unique_ptr<SessionCorrelations>> open(
      const Token& token, std::shared_ptr<const inference::EngineModel> model) override;

 private:
  std::mutex m_mutex;
  std::map<std::weak_ptr<const inference::EngineModel>, std::shared_ptr<const offline::WideWeights>,
           std::owner_less<>>
      m_weights;
};

}  // namespace pillarbox::service
