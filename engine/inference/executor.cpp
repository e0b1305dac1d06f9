#include "engine/inference/executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/kernels/elementwise.h"
#include "engine/kernels/stage.h"
#include "engine/protocol/honeybadger.h"
#include "engine/ring/fixed_point.h"

namespace pillarbox::inference {

namespace {

using models::PublicModel;
using models::Stage;
using protocol::HoneyBadger;
using Words = SecureVector<std::uint64_t>;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kChunkWords = std::size_t{1} << 15;
constexpr double kPixelLimit = 1024;  // normalised pixels are a few units; anything larger is a bug

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::uint64_t chunks(std::uint64_t words) {
  return (words + kChunkWords - 1) / kChunkWords;
}

std::uint64_t wireBytes(std::uint64_t words) {
  return 8 * words + chunks(words) * net::kFrameHeaderBytes;
}

template <typename Step>
Status chunked(std::size_t count, const Step& step) {
  for (std::size_t first = 0; first < count; first += kChunkWords) {
    PILLARBOX_TRY(step(first, std::min(kChunkWords, count - first)));
  }
  return {};
}

/// Pointers to the shares of every power, from element `first` on.
std::vector<const U128*> powersFrom(const std::vector<SecureVector<U128>>& powers,
                                    std::size_t first) {
  std::vector<const U128*> pointers;
  pointers.reserve(powers.size());
  for (const auto& power : powers) pointers.push_back(power.data() + first);
  return pointers;
}

/// For every activation, the last stage that reads it: its tensor is released after that.
std::vector<std::size_t> lastUses(const PublicModel& model) {
  std::vector<std::size_t> last(model.stages.size(), 0);
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    for (const std::uint32_t input : model.stages[s].inputs) last[input] = s;
  }
  return last;
}

std::vector<double> softmax(const std::vector<double>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> result;
  double sum = 0;
  for (const double logit : logits) sum += result.emplace_back(std::exp(logit - top));
  for (double& value : result) value /= sum;
  return result;
}

Status checkSet(const PublicModel& model, const offline::ClientSet& set) {
  bool fits = set.inputMask.size() == model.input.size() &&
              set.stages.size() + 1 == model.stages.size() &&
              set.logitShare.size() == model.stages.back().output.size();
  for (std::size_t s = 0; fits && s < set.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    fits = set.stages[s].mask.size() == stage.output.size() &&
           set.stages[s].powers.size() == stage.activation->degree();
    for (const auto& power : set.stages[s].powers)
      fits = fits && power.size() == stage.output.size();
  }
  if (fits) return {};
  return Error{ErrorCode::Internal, "the correlation set was made for another model"};
}

Status checkSet(const PublicModel& model, const offline::EngineSet& set) {
  bool fits = set.stages.size() == model.stages.size();
  for (std::size_t s = 0; fits && s < set.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    const std::size_t degree = stage.activation ? stage.activation->degree() : 0;
    const std::size_t openings = stage.activation ? stage.output.size() : 0;
    fits = set.stages[s].outputMask.size() == stage.output.size() &&
           set.stages[s].openingMask.size() == openings && set.stages[s].powers.size() == degree;
    for (const auto& power : set.stages[s].powers)
      fits = fits && power.size() == stage.output.size();
  }
  if (fits) return {};
  return Error{ErrorCode::Internal, "the correlation set was made for another model"};
}

}  // namespace

OnlineCost onlineCost(const PublicModel& model) {
  OnlineCost cost;
  cost.rounds = static_cast<std::uint32_t>(model.stages.size());
  cost.bytesToEngine = wireBytes(model.input.size());
  for (const Stage& stage : model.stages) {
    cost.multiplyAdds += kernels::multiplyAdds(stage);
    const std::uint64_t n = stage.output.size();
    if (stage.activation) {
      cost.bytesToClient += wireBytes(HoneyBadger::cost(n).bytesToClient / 8);  // the opening
      cost.bytesToEngine += wireBytes(n);                                       // y0 - r
    } else {
      cost.bytesToClient += wireBytes(n);
    }
  }
  return cost;
}

EngineModel::EngineModel(PublicModel description, models::ModelWeights weights)
    : m_description(std::move(description)),
      m_weights(std::move(weights)),
      m_packed(kernels::packWeights(m_description.stages, m_weights.weights)),
      m_hash(models::modelHash(m_description)) {}

EngineModel::~EngineModel() = default;

Result<ClientOutcome> runClient(net::Channel& channel, const PublicModel& model,
                                offline::ClientSet set, std::span<const float> image,
                                const ProgressSink& progress) {
  PILLARBOX_TRY(checkSet(model, set));
  if (image.size() != model.input.size()) {
    return Error{ErrorCode::InvalidArgument, "the image does not have the model's input size"};
  }
  const auto start = Clock::now();
  const net::MeterReading before = channel.meter();
  const std::size_t last = model.stages.size() - 1;

  std::size_t largest = image.size();
  for (const Stage& stage : model.stages) largest = std::max(largest, stage.output.size());
  Words buffer(largest);

  for (std::size_t i = 0; i < image.size(); ++i) {
    if (!(std::abs(image[i]) < kPixelLimit)) {
      return Error{ErrorCode::InvalidArgument, "the image has a value that is not a number"};
    }
    buffer[i] = ring::encode(image[i], model.precisionBits) - set.inputMask[i];
  }
  auto roundStart = Clock::now();
  PILLARBOX_TRY(chunked(image.size(), [&](std::size_t first, std::size_t count) {
    return channel.sendWords(std::span<const std::uint64_t>(buffer).subspan(first, count));
  }));

  ClientOutcome outcome;
  for (std::size_t s = 0; s <= last; ++s) {
    const Stage& stage = model.stages[s];
    const std::size_t n = stage.output.size();
    const std::span<std::uint64_t> words(buffer.data(), n);
    auto nextRoundStart = roundStart;
    double roundSeconds = 0;
    if (s < last) {
      const HoneyBadger polynomial(*stage.activation, model.precisionBits);
      const offline::ClientStage& correlations = set.stages[s];
      PILLARBOX_TRY(chunked(n, [&](std::size_t first, std::size_t count) -> Status {
        const std::span<std::uint64_t> piece = words.subspan(first, count);
        PILLARBOX_TRY(channel.receiveWords(piece));
        roundSeconds = secondsSince(roundStart);
        if (first == 0) nextRoundStart = Clock::now();
        polynomial.evaluateClient(piece, powersFrom(correlations.powers, first), piece);
        for (std::size_t i = 0; i < count; ++i) piece[i] -= correlations.mask[first + i];
        return channel.sendWords(piece);
      }));
    } else {
      PILLARBOX_TRY(chunked(n, [&](std::size_t first, std::size_t count) {
        return channel.receiveWords(words.subspan(first, count));
      }));
      roundSeconds = secondsSince(roundStart);
      for (std::size_t i = 0; i < n; ++i) {
        outcome.logits.push_back(ring::decode(words[i] + set.logitShare[i], model.outputBits));
      }
    }
    if (progress) {
      progress({static_cast<std::uint32_t>(s + 1), static_cast<std::uint32_t>(last + 1),
                roundSeconds, channel.meter()});
    }
    roundStart = nextRoundStart;
  }

  const net::MeterReading after = channel.meter();
  outcome.probabilities = softmax(outcome.logits);
  if (std::any_of(outcome.logits.begin(), outcome.logits.end(),
                  [](double logit) { return std::abs(logit) > kPlausibleLogit; })) {
    outcome.warning =
        "the network's values left the range it was trained for on this image; do not rely on the "
        "answer";
  }
  outcome.rounds = net::roundsBetween(before, after);
  outcome.bytesSent = after.bytesSent - before.bytesSent;
  outcome.bytesReceived = after.bytesReceived - before.bytesReceived;
  outcome.seconds = secondsSince(start);
  return outcome;
}

Words EngineMemory::take(std::size_t words) {
  // The smallest that is large enough, otherwise the largest there is, grown.
  std::size_t best = m_free.size();
  for (std::size_t i = 0; i < m_free.size(); ++i) {
    const std::size_t capacity = m_free[i].capacity();
    const std::size_t bestCapacity = best < m_free.size() ? m_free[best].capacity() : 0;
    const bool better = bestCapacity < words ? capacity > bestCapacity
                                             : capacity >= words && capacity < bestCapacity;
    if (best == m_free.size() || better) best = i;
  }
  Words tensor;
  if (best < m_free.size()) {
    tensor = std::move(m_free[best]);
    m_free.erase(m_free.begin() + static_cast<std::ptrdiff_t>(best));
    if (tensor.capacity() < words) tensor.clear();  // nothing to copy when it grows
  }
  tensor.resize(words);
  return tensor;
}

void EngineMemory::giveBack(SecureVector<std::uint64_t>&& tensor) {
  m_free.push_back(std::move(tensor));
}

Status runEngine(net::Channel& channel, const EngineModel& model, offline::EngineSet set,
                 EngineMemory* memory) {
  const PublicModel& description = model.description();
  PILLARBOX_TRY(checkSet(description, set));
  const std::size_t last = description.stages.size() - 1;
  const std::vector<std::size_t> lastUse = lastUses(description);
  EngineMemory local;
  EngineMemory& own = memory != nullptr ? *memory : local;

  std::vector<Words> masked(description.stages.size());  // ŷ by activation number
  masked[0] = own.take(description.input.size());
  PILLARBOX_TRY(chunked(masked[0].size(), [&](std::size_t first, std::size_t count) {
    return channel.receiveWords(std::span<std::uint64_t>(masked[0]).subspan(first, count));
  }));

  for (std::size_t s = 0; s <= last; ++s) {
    const Stage& stage = description.stages[s];
    const std::size_t n = stage.output.size();
    offline::EngineStage correlations = std::move(set.stages[s]);

    // z1 = L(ŷ) + bias + s, truncated.
    std::vector<std::span<const std::uint64_t>> inputs;
    for (const std::uint32_t input : stage.inputs) inputs.emplace_back(masked[input]);
    Words share = own.take(n);
    kernels::applyStage(stage, inputs, model.packedWeights(), own.workspace, share);
    kernels::finishShare(share, correlations.outputMask, model.weights().bias[s], stage.truncation,
                         correlations.openingMask);
    for (std::size_t a = 0; a <= s; ++a) {
      if (lastUse[a] == s) own.giveBack(std::move(masked[a]));
    }

    PILLARBOX_TRY(chunked(n, [&](std::size_t first, std::size_t count) {
      return channel.sendWords(std::span<const std::uint64_t>(share).subspan(first, count));
    }));
    if (s < last) {
      const HoneyBadger polynomial(*stage.activation, description.precisionBits);
      // The engine's own share first, and what is used up overwritten, while the client's answer is
      // on its way.
      polynomial.evaluateEngine(share, powersFrom(correlations.powers, 0), share);
      correlations = {};
      Words& next = masked[s + 1] = own.take(n);
      PILLARBOX_TRY(chunked(n, [&](std::size_t first, std::size_t count) -> Status {
        const std::span<std::uint64_t> piece = std::span<std::uint64_t>(next).subspan(first, count);
        PILLARBOX_TRY(channel.receiveWords(piece));
        for (std::size_t i = 0; i < count; ++i) piece[i] += share[first + i];
        return {};
      }));
    }
    own.giveBack(std::move(share));
  }
  return {};
}

}  // namespace pillarbox::inference
