#include "engine/offline/dealing.h"

#include <algorithm>

#include "engine/core/chunks.h"
#include "engine/kernels/stage.h"
#include "engine/offline/coefficients.h"
#include "engine/ring/fixed_point.h"
#include "engine/ring/narrow.h"

namespace pillarbox::offline {

namespace {

using models::PublicModel;
using models::Stage;
using random::Expander;
using random::Seed;
using Words = SecureVector<std::uint64_t>;

constexpr std::size_t kChunkWords = std::size_t{1} << 15;

/// What a seed's stream is for. A stream's label is purpose, power (or factor, or sum) and number,
/// so that no two tensors ever share one.
enum class Purpose : std::uint64_t {
  ActivationMask = 1,  ///< client: r
  ClientLambda = 2,    ///< client: λ0
  OutputMask = 3,      ///< engine: s
  EngineLambda = 4,    ///< engine: λ1
  EnginePower = 5,     ///< engine: its share of λ^k
  WeightMask = 6,      ///< dealer and engine: A
  ClientFactor = 7,    ///< client: a, the factor or its mask
  EngineFactor = 8,    ///< engine: b
  EngineSum = 9,       ///< engine: its share of a sum of products
};

Expander stream(const Seed& seed, Purpose purpose, std::uint64_t number, std::uint64_t power = 0) {
  return {seed, (static_cast<std::uint64_t>(purpose) << 56) | (power << 48) | number};
}

Words expandWords(const Seed& seed, Purpose purpose, std::uint64_t number, std::size_t count,
                  std::uint64_t which = 0) {
  Words words(count);
  stream(seed, purpose, number, which).fill(std::span<std::uint64_t>(words));
  return words;
}

SecureVector<U128> expandPower(const Seed& engineSeed, std::uint64_t stage, std::uint32_t k,
                               std::size_t count) {
  SecureVector<U128> values(count);
  stream(engineSeed, Purpose::EnginePower, stage, k).fill(std::span<U128>(values));
  return values;
}

std::span<std::uint64_t> asWords(std::span<U128> values) {
  return {reinterpret_cast<std::uint64_t*>(values.data()), 2 * values.size()};
}

Status sendChunked(std::span<const std::uint64_t> words, const WordSink& sink) {
  return inPieces(words.size(), kChunkWords, [&](std::size_t first, std::size_t count) {
    return sink(words.subspan(first, count));
  });
}

Status receiveChunked(std::span<std::uint64_t> words, const WordSource& source) {
  return inPieces(words.size(), kChunkWords, [&](std::size_t first, std::size_t count) {
    return source(words.subspan(first, count));
  });
}

/// The client's masks, narrow: [0] of the image, [k] of stage k-1's activation.
std::vector<Words> activationMasks(const PublicModel& model, const Seed& clientSeed) {
  std::vector<Words> masks;
  masks.push_back(expandWords(clientSeed, Purpose::ActivationMask, 0, model.input.size()));
  for (std::size_t s = 0; s + 1 < model.stages.size(); ++s) {
    masks.push_back(
        expandWords(clientSeed, Purpose::ActivationMask, s + 1, model.stages[s].output.size()));
  }
  for (Words& mask : masks) ring::narrow(mask);
  return masks;
}

/// L(r) of one stage with wide weights.
Words applyToMasks(const Stage& stage, const std::vector<Words>& masks, const WideWeights& weights,
                   kernels::Paths paths) {
  std::vector<std::span<const std::uint64_t>> inputs;
  for (const std::uint32_t input : stage.inputs) inputs.emplace_back(masks[input]);
  Words out(stage.output.size());
  kernels::applyStage(
      stage, inputs, [&](std::uint32_t index) { return weights.tensor(index); }, paths, out);
  return out;
}

std::uint64_t weightCountOf(const PublicModel& model, std::uint32_t weightIndex) {
  for (const Stage& stage : model.stages) {
    for (const models::LinearOp& op : stage.ops) {
      if (op.hasWeights() && op.weightIndex == weightIndex) return op.weightCount();
    }
  }
  return 0;
}

std::uint32_t weightTensors(const PublicModel& model) {
  std::uint32_t count = 0;
  for (const Stage& stage : model.stages) {
    for (const models::LinearOp& op : stage.ops) {
      if (op.hasWeights()) count = std::max(count, op.weightIndex + 1);
    }
  }
  return count;
}

}  // namespace

WideWeights WideWeights::expand(const PublicModel& model, const Seed& seed) {
  WideWeights result;
  for (std::uint32_t i = 0; i < weightTensors(model); ++i) {
    result.m_tensors.push_back(expandWords(seed, Purpose::WeightMask, i, weightCountOf(model, i)));
  }
  return result;
}

WideWeights WideWeights::plain(const PublicModel& model, const models::ModelWeights& weights) {
  WideWeights result;
  for (std::uint32_t i = 0; i < weightTensors(model); ++i) {
    const std::vector<std::int32_t>& tensor = weights.weights.at(i);
    Words& words = result.m_tensors.emplace_back(tensor.size());
    std::transform(tensor.begin(), tensor.end(), words.begin(), [](std::int32_t w) {
      return static_cast<std::uint64_t>(static_cast<std::int64_t>(w));
    });
  }
  return result;
}

WideWeights WideWeights::masked(const PublicModel& model, const models::ModelWeights& weights,
                                const Seed& seed) {
  WideWeights result = plain(model, weights);
  for (std::uint32_t i = 0; i < result.count(); ++i) {
    Words& words = result.m_tensors[i];
    const Words mask = expandWords(seed, Purpose::WeightMask, i, words.size());
    for (std::size_t w = 0; w < words.size(); ++w) words[w] -= mask[w];
  }
  return result;
}

Result<WideWeights> WideWeights::fromWords(const PublicModel& model, const WordSource& source) {
  WideWeights result;
  for (std::uint32_t i = 0; i < weightTensors(model); ++i) {
    PILLARBOX_TRY(receiveChunked(result.m_tensors.emplace_back(weightCountOf(model, i)), source));
  }
  return result;
}

Status WideWeights::toWords(const WordSink& sink) const {
  for (const Words& tensor : m_tensors) PILLARBOX_TRY(sendChunked(tensor, sink));
  return {};
}

OfflineCost DealtActivation::cost() const {
  OfflineCost cost;
  const std::uint64_t n = values, degree = polynomial.degree();
  if (products == nullptr) {
    cost.correctionWords = 2 * degree * n;
    cost.clientWords = n;
    cost.clientMemoryBytes = 16 * degree * n;
    cost.engineMemoryBytes = (8 + 16 * degree) * n;
    return cost;
  }
  const std::uint64_t sums = products->sums.size();
  cost.correctionWords = sums * n;
  cost.clientWords = products->derive ? products->clientFactors * n : 0;
  cost.clientMemoryBytes = 8 * (1 + products->clientUniform() + sums) * n;
  cost.engineMemoryBytes = 8 * (products->engineFactors + sums) * n;
  return cost;
}

Status DealtActivation::deal(const Seed& clientSeed, const Seed& engineSeed,
                             const WordSink& toClient) const {
  if (products != nullptr) {
    std::vector<Words> client, engine;
    for (std::uint32_t i = 0; i < products->clientFactors; ++i) {
      client.push_back(expandWords(clientSeed, Purpose::ClientFactor, stage, values, i));
    }
    for (std::uint32_t i = 0; i < products->engineFactors; ++i) {
      engine.push_back(expandWords(engineSeed, Purpose::EngineFactor, stage, values, i));
    }
    for (std::size_t s = 0; s < products->sums.size(); ++s) {
      Words sum = expandWords(engineSeed, Purpose::EngineSum, stage, values, s);
      for (std::uint64_t& word : sum) word = 0 - word;
      for (const ProductPlan::Term& term : products->sums[s]) {
        const Words &a = client[term.client], &b = engine[term.engine];
        for (std::size_t i = 0; i < values; ++i) sum[i] += a[i] * b[i];
      }
      PILLARBOX_TRY(sendChunked(sum, toClient));
    }
    return {};
  }
  // λ is the signed representative of λ0 + λ1 mod 2^56; its powers are taken mod 2^128.
  Words lambda = expandWords(clientSeed, Purpose::ClientLambda, stage, values);
  const Words engineLambda = expandWords(engineSeed, Purpose::EngineLambda, stage, values);
  for (std::size_t i = 0; i < values; ++i) lambda[i] = ring::narrow(lambda[i] + engineLambda[i]);
  SecureVector<U128> power(values, 1);
  for (std::uint32_t k = 1; k <= polynomial.degree(); ++k) {
    SecureVector<U128> share = expandPower(engineSeed, stage, k, values);
    for (std::size_t i = 0; i < values; ++i) {
      power[i] *= static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(lambda[i])));
      share[i] = power[i] - share[i];
    }
    PILLARBOX_TRY(sendChunked(asWords(share), toClient));
  }
  return {};
}

Result<ClientStage> DealtActivation::assembleClient(Words share, const Seed& clientSeed,
                                                    const WordSource& fromDealer,
                                                    const WordSink& toEngine) const {
  ClientStage correlations;
  if (products != nullptr) {
    for (std::size_t s = 0; s < products->sums.size(); ++s) {
      Words& sum = correlations.products.sums.emplace_back(values);
      PILLARBOX_TRY(receiveChunked(sum, fromDealer));
    }
    for (std::uint32_t i = 0; i < products->clientFactors; ++i) {
      Words factor = expandWords(clientSeed, Purpose::ClientFactor, stage, values, i);
      if (!products->derive) {
        correlations.products.factors.push_back(std::move(factor));
        continue;
      }
      Words masked(values);
      products->derive(i, share, masked);
      for (std::size_t v = 0; v < values; ++v) masked[v] -= factor[v];
      PILLARBOX_TRY(sendChunked(masked, toEngine));
    }
    correlations.share = std::move(share);
    return correlations;
  }
  auto& shares = correlations.coefficients;  // of the powers, at first
  for (std::uint32_t k = 1; k <= polynomial.degree(); ++k) {
    PILLARBOX_TRY(receiveChunked(asWords(shares.emplace_back(values)), fromDealer));
  }
  powersToCoefficients(polynomial, precisionBits, Party::Client, shares);
  const Words lambda = expandWords(clientSeed, Purpose::ClientLambda, stage, values);
  for (std::size_t i = 0; i < values; ++i) share[i] -= lambda[i];
  PILLARBOX_TRY(sendChunked(share, toEngine));
  return correlations;
}

Result<EngineStage> DealtActivation::assembleEngine(const Seed& engineSeed,
                                                    const WordSource& fromClient) const {
  EngineStage correlations;
  if (products != nullptr) {
    ProductShares& own = correlations.products;
    for (std::uint32_t i = 0; i < products->engineFactors; ++i) {
      own.factors.push_back(expandWords(engineSeed, Purpose::EngineFactor, stage, values, i));
    }
    for (std::size_t s = 0; s < products->sums.size(); ++s) {
      own.sums.push_back(expandWords(engineSeed, Purpose::EngineSum, stage, values, s));
    }
    if (!products->derive) return correlations;
    Words masked(values);
    for (std::uint32_t factor = 0; factor < products->clientFactors; ++factor) {
      PILLARBOX_TRY(receiveChunked(masked, fromClient));
      for (std::size_t s = 0; s < products->sums.size(); ++s) {
        for (const ProductPlan::Term& term : products->sums[s]) {
          if (term.client != factor) continue;
          const Words& b = own.factors[term.engine];
          for (std::size_t v = 0; v < values; ++v) own.sums[s][v] += masked[v] * b[v];
        }
      }
    }
    return correlations;
  }
  correlations.openingMask.resize(values);
  PILLARBOX_TRY(receiveChunked(correlations.openingMask, fromClient));
  const Words lambda = expandWords(engineSeed, Purpose::EngineLambda, stage, values);
  for (std::size_t i = 0; i < values; ++i) correlations.openingMask[i] -= lambda[i];
  auto& shares = correlations.coefficients;  // of the powers, at first
  for (std::uint32_t k = 1; k <= polynomial.degree(); ++k) {
    shares.push_back(expandPower(engineSeed, stage, k, values));
  }
  powersToCoefficients(polynomial, precisionBits, Party::Engine, shares);
  return correlations;
}

namespace {

DealtActivation activationOf(const PublicModel& model, const CorrelationPlan& plan, std::size_t s) {
  const Stage& stage = model.stages[s];
  return {*stage.activation, model.precisionBits, plan.of(s), s, stage.output.size()};
}

}  // namespace

OfflineCost offlineCost(const PublicModel& model, const CorrelationPlan& plan) {
  OfflineCost cost;
  cost.clientMemoryBytes = 8 * model.input.size();
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const std::uint64_t n = model.stages[s].output.size();
    cost.correctionWords += n;
    cost.clientMemoryBytes += 8 * n;
    cost.engineMemoryBytes += 8 * n;
    if (!model.stages[s].activation) continue;
    const OfflineCost activation = activationOf(model, plan, s).cost();
    cost.correctionWords += activation.correctionWords;
    cost.clientWords += activation.clientWords;
    cost.clientMemoryBytes += activation.clientMemoryBytes;
    cost.engineMemoryBytes += activation.engineMemoryBytes;
  }
  return cost;
}

Status dealSet(const PublicModel& model, const WideWeights& weightMask, const Seed& clientSeed,
               const Seed& engineSeed, const WordSink& toClient, const CorrelationPlan& plan) {
  const std::vector<Words> masks = activationMasks(model, clientSeed);
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    const std::size_t n = stage.output.size();
    Words correction = applyToMasks(stage, masks, weightMask, kernels::Paths::All);
    const Words outputMask = expandWords(engineSeed, Purpose::OutputMask, s, n);
    for (std::size_t i = 0; i < n; ++i) correction[i] -= outputMask[i];
    PILLARBOX_TRY(sendChunked(correction, toClient));
    if (!stage.activation) continue;
    PILLARBOX_TRY(activationOf(model, plan, s).deal(clientSeed, engineSeed, toClient));
  }
  return {};
}

Result<ClientSet> assembleClientSet(const PublicModel& model, const WideWeights* maskedWeights,
                                    std::uint64_t index, const Seed& clientSeed,
                                    const WordSource& fromDealer, const WordSink& toEngine,
                                    const CorrelationPlan& plan) {
  std::vector<Words> masks = activationMasks(model, clientSeed);
  ClientSet set;
  set.index = index;
  set.protocol = plan.protocol;
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    const std::size_t n = stage.output.size();

    // z0 = L_E(r) + u; the shortcuts without weights are already in u.
    Words share(n);
    PILLARBOX_TRY(receiveChunked(share, fromDealer));
    if (maskedWeights != nullptr) {
      const Words masked = applyToMasks(stage, masks, *maskedWeights, kernels::Paths::Weighted);
      for (std::size_t i = 0; i < n; ++i) share[i] += masked[i];
    }
    ring::truncateClient(share, stage.truncation);
    if (!stage.activation) {
      set.logitShare = std::move(share);
      continue;
    }
    PILLARBOX_ASSIGN(ClientStage correlations,
                     activationOf(model, plan, s)
                         .assembleClient(std::move(share), clientSeed, fromDealer, toEngine));
    set.stages.push_back(std::move(correlations));
  }
  for (std::size_t s = 0; s < set.stages.size(); ++s) set.stages[s].mask = std::move(masks[s + 1]);
  set.inputMask = std::move(masks[0]);
  return set;
}

Result<EngineSet> assembleEngineSet(const PublicModel& model, std::uint64_t index,
                                    const Seed& engineSeed, const WordSource& fromClient,
                                    const CorrelationPlan& plan) {
  EngineSet set;
  set.index = index;
  set.protocol = plan.protocol;
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    EngineStage correlations;
    if (stage.activation) {
      PILLARBOX_ASSIGN(correlations,
                       activationOf(model, plan, s).assembleEngine(engineSeed, fromClient));
    }
    correlations.outputMask = expandWords(engineSeed, Purpose::OutputMask, s, stage.output.size());
    set.stages.push_back(std::move(correlations));
  }
  return set;
}

}  // namespace pillarbox::offline
