// Dealt correlations: the arithmetic of the modes `dealer` and `first-party`.
//
// The dealer draws two seeds. The client's expands to r and λ0, the engine's to s, λ1 and the
// engine's shares of λ^k; what does not follow from the seeds goes to the client as corrections:
//
//   u    = L_A(r) − s           n words a stage, not truncated
//   c_k  = λ^k − share_engine   2n words (mod 2^128) for k = 1..d, λ = signed(λ0 + λ1 mod 2^56)
//
// That is for HoneyBadger. For the other activation protocols (products.h) the client's seed
// expands to factors a, the engine's to factors b and to its shares of the sums, and the
// corrections are
//
//   sum a b − share_engine      n words for every sum
//
// where a are the client's factors themselves if those are uniform, and masks of them if they
// follow from z0 (u = u(z0')): the dealer must not know those. Then the client sends d = u − a for
// each, instead of d0, and the engine adds d b to its share of the sum that a b is in.
//
// A is a mask of the engine's weights, known to dealer and engine; the engine publishes E = W − A
// to each client once, and the client computes z0 = L_E(r) + u = L_W(r) − s. Then the client
// truncates z0 to z0' and sends the engine d0 = z0' − λ0, which the engine turns into the opening
// mask d0 − λ1. In first-party mode the engine deals with A = W, so that E = 0 and is not sent.
//
// What each party sees. Dealer: the public description, nothing that depends on weights or images.
// Client: its seed, E (weights under a uniform mask), u and c_k (each under the engine's uniform s
// or share). Engine: its seed, and d0 = z0' − λ0 or d = u − a, under the client's uniform λ0 or a.
// So each view is
// simulated by uniform words; nothing is revealed as long as the dealer colludes with neither.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "engine/core/result.h"
#include "engine/offline/correlation_set.h"
#include "engine/offline/products.h"
#include "engine/random/random.h"
#include "models/description.h"

namespace pillarbox::offline {

/// Takes the next words of a stream; called from one thread, in order.
using WordSink = std::function<Status(std::span<const std::uint64_t>)>;
/// Fills with the next words of a stream.
using WordSource = std::function<Status(std::span<std::uint64_t>)>;

/// 64-bit weights by LinearOp::weightIndex: A or E.
class WideWeights {
 public:
  /// A: expands the dealer's weight-mask seed for this model.
  static WideWeights expand(const models::PublicModel& model, const random::Seed& seed);
  /// W itself (first-party mode deals with it).
  static WideWeights plain(const models::PublicModel& model, const models::ModelWeights& weights);
  /// E = W − A.
  static WideWeights masked(const models::PublicModel& model, const models::ModelWeights& weights,
                            const random::Seed& seed);
  /// E as received: model.weightCount() words, in order of weightIndex.
  static Result<WideWeights> fromWords(const models::PublicModel& model, const WordSource& source);
  Status toWords(const WordSink& sink) const;

  std::span<const std::uint64_t> tensor(std::uint32_t weightIndex) const {
    return m_tensors.at(weightIndex);
  }
  std::size_t count() const { return m_tensors.size(); }

 private:
  std::vector<SecureVector<std::uint64_t>> m_tensors;
};

/// Words that one set moves, exactly; frame headers come on top.
struct OfflineCost {
  std::uint64_t correctionWords = 0;    ///< dealer -> client
  std::uint64_t clientWords = 0;        ///< client -> engine (d0, or d)
  std::uint64_t clientMemoryBytes = 0;  ///< of the finished set
  std::uint64_t engineMemoryBytes = 0;
};
/// @param plan  of the protocol that the sets are for; as below, HoneyBadger where none is given
OfflineCost offlineCost(const models::PublicModel& model, const CorrelationPlan& plan = {});

/// Deals one set: streams the client's corrections in chunks of at most 2^15 words.
/// Cost: one L_A a stage; offlineCost().correctionWords words.
Status dealSet(const models::PublicModel& model, const WideWeights& weightMask,
               const random::Seed& clientSeed, const random::Seed& engineSeed,
               const WordSink& toClient, const CorrelationPlan& plan = {});

/// The client's side of a dealt set.
/// @param maskedWeights  E, or null in first-party mode
/// @param fromDealer     the corrections, asked for in the chunks in which dealSet sends them
/// @param toEngine       receives d0 or d, offlineCost().clientWords in all
Result<ClientSet> assembleClientSet(const models::PublicModel& model,
                                    const WideWeights* maskedWeights, std::uint64_t index,
                                    const random::Seed& clientSeed, const WordSource& fromDealer,
                                    const WordSink& toEngine, const CorrelationPlan& plan = {});

/// The engine's side of a dealt set. @param fromClient  in the chunks of assembleClientSet
Result<EngineSet> assembleEngineSet(const models::PublicModel& model, std::uint64_t index,
                                    const random::Seed& engineSeed, const WordSource& fromClient,
                                    const CorrelationPlan& plan = {});

/// One activation of a set by itself: what the functions above do for each, and what serves where
/// there is no network around it.
struct DealtActivation {
  models::Polynomial polynomial;
  std::uint32_t precisionBits = 0;        ///< f, of the activation's input
  const ProductPlan* products = nullptr;  ///< null: HoneyBadger
  std::uint64_t stage = 0;                ///< which streams of the seeds it takes
  std::size_t values = 0;                 ///< n

  /// Corrections, words to the engine, and the memory of what the two functions below make.
  OfflineCost cost() const;
  Status deal(const random::Seed& clientSeed, const random::Seed& engineSeed,
              const WordSink& toClient) const;
  /// @param share  z0, truncated, n words; used up
  Result<ClientStage> assembleClient(SecureVector<std::uint64_t> share,
                                     const random::Seed& clientSeed, const WordSource& fromDealer,
                                     const WordSink& toEngine) const;
  Result<EngineStage> assembleEngine(const random::Seed& engineSeed,
                                     const WordSource& fromClient) const;
};

}  // namespace pillarbox::offline
