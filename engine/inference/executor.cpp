#include "engine/inference/executor.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "engine/core/chunks.h"
#include "engine/kernels/elementwise.h"
#include "engine/ring/fixed_point.h"
#include "engine/ring/narrow.h"

namespace pillarbox::inference {

namespace {

using models::PublicModel;
using models::Stage;
using protocol::HoneyBadger;
using Words = SecureVector<std::uint64_t>;
using Clock = std::chrono::steady_clock;

constexpr double kPixelLimit = 1024;  // normalised pixels are a few units; anything larger is a bug

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::uint64_t chunks(std::uint64_t words) {
  return (words + kChunkWords - 1) / kChunkWords;
}

std::uint64_t wireBytes(std::uint64_t values, std::uint64_t bytesEach) {
  return bytesEach * values + chunks(values) * net::kFrameHeaderBytes;
}

using Packet = SecureVector<std::byte>;

/// A chunk of narrow values: sent from `words`, modulo 2^56.
Status sendNarrow(net::Channel& channel, std::span<const std::uint64_t> words, Packet& packet) {
  packet.resize(ring::kNarrowBytes * words.size());
  ring::pack(words, packet);
  return channel.send(net::FrameKind::Bytes, packet);
}

/// Received into `words`, as signed representatives.
Status receiveNarrow(net::Channel& channel, std::span<std::uint64_t> words, Packet& packet) {
  packet.resize(ring::kNarrowBytes * words.size());
  PILLARBOX_TRY(channel.receiveBytes(packet));
  ring::unpack(packet, words);
  return {};
}

template <typename Step>
Status chunked(std::size_t count, const Step& step) {
  return inPieces(count, kChunkWords, step);
}

protocol::Wire wireOf(net::Channel& channel) {
  return {[&channel](std::span<const std::uint64_t> words) { return channel.sendWords(words); },
          [&channel](std::span<std::uint64_t> words) { return channel.receiveWords(words); }};
}

/// Pointers to the shares of every coefficient, from one element on.
class Coefficients {
 public:
  Coefficients(const std::vector<SecureVector<U128>>& tensors, std::size_t first)
      : m_count(tensors.size()) {
    for (std::size_t i = 0; i < m_count; ++i) m_pointers.at(i) = tensors[i].data() + first;
  }
  operator std::span<const U128* const>() const { return {m_pointers.data(), m_count}; }

 private:
  std::array<const U128*, HoneyBadger::kMaxDegree> m_pointers{};
  std::size_t m_count;
};

std::vector<HoneyBadger> polynomialsOf(const PublicModel& model) {
  std::vector<HoneyBadger> polynomials;
  for (const Stage& stage : model.stages) {
    if (stage.activation) polynomials.emplace_back(*stage.activation, model.precisionBits);
  }
  return polynomials;
}

std::vector<std::size_t> lastUsesOf(const PublicModel& model) {
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

offline::Protocol protocolOf(const Activations* activations) {
  return activations == nullptr ? offline::Protocol::HoneyBadger : activations->protocol();
}

/// Null: HoneyBadger.
const offline::ProductPlan* productsOf(const Activations* activations, std::size_t stage) {
  return activations == nullptr ? nullptr : activations->correlations().of(stage);
}

Error wrongSet(const char* what) {
  return {ErrorCode::Internal, std::string("the correlation set was made for another ") + what};
}

bool allHave(const std::vector<Words>& tensors, std::size_t count, std::size_t values) {
  return tensors.size() == count &&
         std::all_of(tensors.begin(), tensors.end(),
                     [values](const Words& tensor) { return tensor.size() == values; });
}

Status checkSet(const PublicModel& model, const offline::ClientSet& set,
                const Activations* activations) {
  if (set.protocol != protocolOf(activations)) return wrongSet("activation protocol");
  bool fits = set.inputMask.size() == model.input.size() &&
              set.stages.size() + 1 == model.stages.size() &&
              set.logitShare.size() == model.stages.back().output.size();
  for (std::size_t s = 0; fits && s < set.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    const std::size_t n = stage.output.size();
    if (const auto* products = productsOf(activations, s)) {
      const offline::ClientStage& own = set.stages[s];
      fits = own.mask.size() == n && own.share.size() == n &&
             allHave(own.products.factors, products->clientUniform(), n) &&
             allHave(own.products.sums, products->sums.size(), n);
      continue;
    }
    fits = set.stages[s].mask.size() == n &&
           set.stages[s].share.size() == (set.integerMasks ? n : 0) &&
           set.stages[s].coefficients.size() == stage.activation->degree();
    for (const auto& tensor : set.stages[s].coefficients) fits = fits && tensor.size() == n;
  }
  return fits ? Status() : Status(wrongSet("model"));
}

Status checkSet(const PublicModel& model, const offline::EngineSet& set,
                const Activations* activations) {
  if (set.protocol != protocolOf(activations)) return wrongSet("activation protocol");
  bool fits = set.stages.size() == model.stages.size();
  for (std::size_t s = 0; fits && s < set.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    if (const auto* products = stage.activation ? productsOf(activations, s) : nullptr) {
      const std::size_t n = stage.output.size();
      const offline::EngineStage& own = set.stages[s];
      fits = own.outputMask.size() == n &&
             allHave(own.products.factors, products->engineFactors, n) &&
             allHave(own.products.sums, products->sums.size(), n);
      continue;
    }
    const std::size_t degree = stage.activation ? stage.activation->degree() : 0;
    const std::size_t openings = stage.activation ? stage.output.size() : 0;
    fits = set.stages[s].outputMask.size() == stage.output.size() &&
           set.stages[s].openingMask.size() == openings &&
           set.stages[s].coefficients.size() == degree;
    for (const auto& tensor : set.stages[s].coefficients)
      fits = fits && tensor.size() == stage.output.size();
  }
  return fits ? Status() : Status(wrongSet("model"));
}

}  // namespace

OnlineCost onlineCost(const PublicModel& model, const Activations* activations) {
  OnlineCost cost;
  cost.bytesToEngine = wireBytes(model.input.size(), ring::kNarrowBytes);
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    cost.multiplyAdds += kernels::multiplyAdds(stage);
    const std::uint64_t n = stage.output.size();
    if (stage.activation && productsOf(activations, s) != nullptr) {
      const protocol::Cost own = activations->of(s).cost(n);
      const auto wire = [n](std::uint64_t payload) {  // tensors of n words, framed each by itself
        const std::uint64_t frames = (n + protocol::kFrameWords - 1) / protocol::kFrameWords;
        return payload + payload / (8 * n) * frames * net::kFrameHeaderBytes;
      };
      cost.rounds += (own.messages + 1) / 2;
      cost.bytesToClient += wire(own.bytesToClient);
      cost.bytesToEngine += wire(own.bytesToEngine) + wireBytes(n, ring::kNarrowBytes);
      continue;
    }
    ++cost.rounds;
    if (stage.activation) {
      cost.bytesToClient += wireBytes(n, ring::kNarrowBytes);  // the opening
      cost.bytesToEngine += wireBytes(n, ring::kNarrowBytes);  // y0 - r
    } else {
      cost.bytesToClient += wireBytes(n, 8);
    }
  }
  return cost;
}

EngineModel::EngineModel(PublicModel description, models::ModelWeights weights)
    : m_description(std::move(description)),
      m_weights(std::move(weights)),
      m_packed(kernels::packWeights(m_description.stages, m_weights.weights)),
      m_polynomials(polynomialsOf(m_description)),
      m_lastUses(lastUsesOf(m_description)),
      m_hash(models::modelHash(m_description)) {
  for (const offline::Protocol protocol : offline::allProtocols()) {
    m_activations.push_back(Activations::make(m_description, protocol));
  }
}

EngineModel::~EngineModel() = default;

Result<std::shared_ptr<const Activations>> EngineModel::activations(
    offline::Protocol protocol) const {
  const auto protocols = offline::allProtocols();
  const auto place = std::find(protocols.begin(), protocols.end(), protocol) - protocols.begin();
  return m_activations.at(static_cast<std::size_t>(place));
}

Result<ClientOutcome> runClient(net::Channel& channel, const PublicModel& model,
                                offline::ClientSet set, std::span<const float> image,
                                const ProgressSink& progress, const Activations* activations) {
  PILLARBOX_TRY(checkSet(model, set, activations));
  if (image.size() != model.input.size()) {
    return Error{ErrorCode::InvalidArgument, "the image does not have the model's input size"};
  }
  const auto start = Clock::now();
  const net::MeterReading before = channel.meter();
  const std::size_t last = model.stages.size() - 1;

  std::size_t largest = image.size();
  for (const Stage& stage : model.stages) largest = std::max(largest, stage.output.size());
  Words buffer(largest);
  Packet packet;
  packet.reserve(ring::kNarrowBytes * kChunkWords);

  for (std::size_t i = 0; i < image.size(); ++i) {
    if (!(std::abs(image[i]) < kPixelLimit)) {
      return Error{ErrorCode::InvalidArgument, "the image has a value that is not a number"};
    }
    buffer[i] = ring::encode(image[i], model.precisionBits) - set.inputMask[i];
  }
  auto roundStart = Clock::now();
  PILLARBOX_TRY(chunked(image.size(), [&](std::size_t first, std::size_t count) {
    return sendNarrow(channel, std::span<const std::uint64_t>(buffer).subspan(first, count),
                      packet);
  }));

  ClientOutcome outcome;
  for (std::size_t s = 0; s <= last; ++s) {
    const Stage& stage = model.stages[s];
    const std::size_t n = stage.output.size();
    const std::span<std::uint64_t> words(buffer.data(), n);
    auto nextRoundStart = roundStart;
    double roundSeconds = 0;
    if (s < last && productsOf(activations, s) != nullptr) {
      const Words mask = std::move(set.stages[s].mask);
      const auto half = activations->of(s).client(std::move(set.stages[s]));
      PILLARBOX_TRY(half->evaluate(wireOf(channel), words));
      roundSeconds = secondsSince(roundStart);
      nextRoundStart = Clock::now();
      for (std::size_t i = 0; i < n; ++i) words[i] -= mask[i];
      PILLARBOX_TRY(chunked(n, [&](std::size_t first, std::size_t count) {
        return sendNarrow(channel, words.subspan(first, count), packet);
      }));
    } else if (s < last) {
      const HoneyBadger polynomial(*stage.activation, model.precisionBits);
      const offline::ClientStage& correlations = set.stages[s];
      PILLARBOX_TRY(chunked(n, [&](std::size_t first, std::size_t count) -> Status {
        const std::span<std::uint64_t> piece = words.subspan(first, count);
        PILLARBOX_TRY(receiveNarrow(channel, piece, packet));
        roundSeconds = secondsSince(roundStart);
        if (first == 0) nextRoundStart = Clock::now();
        if (set.integerMasks) {
          // δ + λ0 = z - λ1 is narrow, but for λ1 within |z| of an end; δ has a bit more.
          for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t own = correlations.share[first + i];
            piece[i] = ring::narrow(piece[i] + own) - own;
          }
        }
        polynomial.evaluateClient(piece, Coefficients(correlations.coefficients, first), piece);
        for (std::size_t i = 0; i < count; ++i) piece[i] -= correlations.mask[first + i];
        return sendNarrow(channel, piece, packet);
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

namespace {

/// The engine's side of one inference, stage by stage.
class EngineRun {
 public:
  EngineRun(net::Channel& channel, const EngineModel& model, offline::EngineSet& set,
            EngineMemory& memory, const Activations* activations)
      : m_channel(channel),
        m_model(model),
        m_set(set),
        m_memory(memory),
        m_activations(activations) {
    m_memory.masked.resize(model.description().stages.size());
  }

  Status run() {
    const PublicModel& description = m_model.description();
    Words share;
    for (std::size_t s = 0; s < description.stages.size(); ++s) {
      Words previous = std::exchange(share, m_memory.take(description.stages[s].output.size()));
      m_memory.masked[s] = m_memory.take(s == 0 ? description.input.size() : previous.size());
      const Status received = receiveAndAccumulate(s, previous, share);
      m_memory.giveBack(std::move(previous));
      PILLARBOX_TRY(received);
      const bool last = s + 1 == description.stages.size();
      const bool streamed = last || productsOf(m_activations, s) == nullptr;
      PILLARBOX_TRY(finish(s, share, streamed));
      for (std::size_t a = 0; a <= s; ++a) {
        if (m_model.lastUses()[a] == s) m_memory.giveBack(std::move(m_memory.masked[a]));
      }
      if (last) break;
      if (!streamed) {
        PILLARBOX_TRY(evaluate(s, share));
        continue;
      }
      // The engine's own share first, and what is used up overwritten, while the client's answer is
      // on its way.
      m_model.polynomials()[s].evaluateEngine(share, Coefficients(m_set.stages[s].coefficients, 0),
                                              share);
      m_set.stages[s] = {};
    }
    m_memory.giveBack(std::move(share));
    return {};
  }

 private:
  /// Receives activation `s`, adds the engine's share of it, and takes it into stage `s`.
  Status receiveAndAccumulate(std::size_t s, std::span<const std::uint64_t> ownShare,
                              std::span<std::uint64_t> out) {
    const Stage& stage = m_model.description().stages[s];
    const std::span<std::uint64_t> masked = m_memory.masked[s];
    m_memory.inputs.clear();
    std::size_t arriving = kernels::StageStream::kNone;
    for (const std::uint32_t input : stage.inputs) {
      if (input == s) arriving = m_memory.inputs.size();
      m_memory.inputs.emplace_back(m_memory.masked[input]);
    }
    kernels::StageStream& stream = m_memory.stream;
    stream.begin(stage, m_memory.inputs, arriving, m_model.packedWeights(), m_memory.workspace,
                 out);
    return chunked(masked.size(), [&](std::size_t first, std::size_t count) -> Status {
      const std::span<std::uint64_t> piece = masked.subspan(first, count);
      PILLARBOX_TRY(receiveNarrow(m_channel, piece, m_memory.packet));
      if (!ownShare.empty()) {
        for (std::size_t i = 0; i < count; ++i) {
          piece[i] = ring::narrow(piece[i] + ownShare[first + i]);
        }
      }
      stream.arrived(first + count);
      return {};
    });
  }

  /// The activation by a protocol that is not streamed, in place.
  Status evaluate(std::size_t s, Words& share) {
    Words value = m_memory.take(share.size());
    const auto half = m_activations->of(s).engine(std::move(m_set.stages[s]));
    const Status status = half->evaluate(wireOf(m_channel), share, value);
    std::swap(share, value);
    m_memory.giveBack(std::move(value));
    return status;
  }

  /// z1 = L(ŷ) + bias + s, truncated, masked for the opening; sends it as far as it is computed, if
  /// it is to be sent.
  Status finish(std::size_t s, std::span<std::uint64_t> share, bool send) {
    const Stage& stage = m_model.description().stages[s];
    const offline::EngineStage& correlations = m_set.stages[s];
    const std::span<const std::int64_t> bias = m_model.weights().bias[s];
    const std::size_t n = share.size(), area = n / stage.output.channels, run = n / bias.size();
    std::size_t done = 0, sent = 0;
    while (sent < n) {
      if (done < n) {
        const std::size_t end = m_memory.stream.finish() * area, count = end - done;
        const auto piece = [&](auto tensor) {
          return tensor.empty() ? tensor : tensor.subspan(done, count);
        };
        kernels::finishShare(piece(share),
                             piece(std::span<const std::uint64_t>(correlations.outputMask)),
                             bias.subspan(done / run, count / run), stage.truncation,
                             piece(std::span<const std::uint64_t>(correlations.openingMask)));
        if (send && stage.activation && !m_set.integerMasks) ring::narrow(piece(share));
        done = end;
        if (!send) sent = done;
      }
      while (sent < done && (done == n || done - sent >= kChunkWords)) {
        const std::size_t count = std::min(kChunkWords, n - sent);
        const std::span<const std::uint64_t> chunk = share.subspan(sent, count);
        PILLARBOX_TRY(stage.activation ? sendNarrow(m_channel, chunk, m_memory.packet)
                                       : m_channel.sendWords(chunk));
        sent += count;
      }
    }
    return {};
  }

  net::Channel& m_channel;
  const EngineModel& m_model;
  offline::EngineSet& m_set;
  EngineMemory& m_memory;
  const Activations* const m_activations;
};

}  // namespace

Status runEngine(net::Channel& channel, const EngineModel& model, offline::EngineSet set,
                 EngineMemory* memory, const Activations* activations) {
  PILLARBOX_TRY(checkSet(model.description(), set, activations));
  EngineMemory local;
  return EngineRun(channel, model, set, memory != nullptr ? *memory : local, activations).run();
}

}  // namespace pillarbox::inference
