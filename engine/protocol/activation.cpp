#include "engine/protocol/activation.h"

#include <algorithm>
#include <stdexcept>

#include "engine/protocol/espn.h"
#include "engine/protocol/horner.h"
#include "engine/protocol/square_multiply.h"

namespace pillarbox::protocol {

namespace {

using random::Seed;

/// HoneyBadger (honeybadger.h) with dealt masks and powers, as engine/offline/dealing.h deals them.
class HoneyBadgerActivation final : public Activation {
 public:
  HoneyBadgerActivation(const models::Polynomial& polynomial, std::uint32_t f)
      : m_evaluation(polynomial, f) {}

  Cost cost(std::uint64_t values) const override { return HoneyBadger::cost(values); }
  ActivationOfflineCost offlineCost(std::uint64_t values) const override {
    return {2 * m_evaluation.degree() * values, values};
  }
  double errorBound() const override { return 1; }

  Words deal(std::size_t values, const Seed& clientSeed, const Seed& engineSeed) const override {
    Words lambda = expand(clientSeed, 0, values);
    const Words other = expand(engineSeed, 0, values);
    for (std::size_t i = 0; i < values; ++i) lambda[i] += other[i];
    Words corrections;
    SecureVector<U128> power(values, 1);
    for (std::uint32_t k = 1; k <= m_evaluation.degree(); ++k) {
      const SecureVector<U128> share = powerShare(engineSeed, k, values);
      for (std::size_t i = 0; i < values; ++i) {
        power[i] *= static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(lambda[i])));
        const U128 correction = power[i] - share[i];
        corrections.push_back(static_cast<std::uint64_t>(correction));
        corrections.push_back(static_cast<std::uint64_t>(correction >> 64));
      }
    }
    return corrections;
  }

  std::unique_ptr<ClientActivation> client(std::span<const std::uint64_t> share,
                                           const Seed& clientSeed,
                                           std::span<const std::uint64_t> corrections,
                                           Words& toEngine) const override {
    auto half = std::make_unique<Client>(m_evaluation);
    toEngine = expand(clientSeed, 0, share.size());
    for (std::size_t i = 0; i < share.size(); ++i) toEngine[i] = share[i] - toEngine[i];
    for (std::uint32_t k = 0; k < m_evaluation.degree(); ++k) {
      SecureVector<U128>& power = half->powers.emplace_back(share.size());
      const auto words = corrections.subspan(2 * k * share.size(), 2 * share.size());
      for (std::size_t i = 0; i < share.size(); ++i) {
        power[i] = (static_cast<U128>(words[2 * i + 1]) << 64) | words[2 * i];
      }
    }
    return half;
  }

  std::unique_ptr<EngineActivation> engine(
      std::size_t values, const Seed& engineSeed,
      std::span<const std::uint64_t> fromClient) const override {
    auto half = std::make_unique<Engine>(m_evaluation);
    half->openingMask.assign(fromClient.begin(), fromClient.end());
    const Words lambda = expand(engineSeed, 0, values);
    for (std::size_t i = 0; i < values; ++i) half->openingMask[i] -= lambda[i];
    for (std::uint32_t k = 1; k <= m_evaluation.degree(); ++k) {
      half->powers.push_back(powerShare(engineSeed, k, values));
    }
    return half;
  }

 private:
  static SecureVector<U128> powerShare(const Seed& seed, std::uint32_t k, std::size_t values) {
    SecureVector<U128> share(values);
    random::Expander(seed, k).fill(std::span<U128>(share));
    return share;
  }

  struct Half {
    explicit Half(const HoneyBadger& evaluation) : polynomial(evaluation) {}
    std::vector<const U128*> pointers(std::size_t first) const {
      std::vector<const U128*> result;
      for (const auto& power : powers) result.push_back(power.data() + first);
      return result;
    }
    HoneyBadger polynomial;
    std::vector<SecureVector<U128>> powers;
  };
  struct Client final : ClientActivation, Half {
    using Half::Half;
    Status evaluate(const Wire& wire, std::span<std::uint64_t> out) override {
      for (std::size_t first = 0; first < out.size(); first += kFrameWords) {
        const auto piece = out.subspan(first, std::min(kFrameWords, out.size() - first));
        PILLARBOX_TRY(wire.receive(piece));
        polynomial.evaluateClient(piece, pointers(first), piece);
      }
      return {};
    }
  };
  struct Engine final : EngineActivation, Half {
    using Half::Half;
    Status evaluate(const Wire& wire, std::span<const std::uint64_t> share,
                    std::span<std::uint64_t> out) override {
      for (std::size_t i = 0; i < share.size(); ++i) out[i] = share[i] + openingMask[i];
      PILLARBOX_TRY(sendAll(wire, out));
      polynomial.evaluateEngine(out, pointers(0), out);
      return {};
    }
    Words openingMask;
  };

  HoneyBadger m_evaluation;
};

}  // namespace

std::vector<Protocol> allProtocols() {
  return {Protocol::HoneyBadger, Protocol::Espn, Protocol::SquareMultiply, Protocol::Horner};
}

const char* toString(Protocol protocol) {
  switch (protocol) {
    case Protocol::HoneyBadger:
      return "HoneyBadger";
    case Protocol::Espn:
      return "ESPN";
    case Protocol::SquareMultiply:
      return "square-multiply";
    case Protocol::Horner:
      return "Horner";
  }
  return "unknown";
}

Status sendAll(const Wire& wire, std::span<const std::uint64_t> words) {
  for (std::size_t first = 0; first < words.size(); first += kFrameWords) {
    PILLARBOX_TRY(wire.send(words.subspan(first, std::min(kFrameWords, words.size() - first))));
  }
  return {};
}

Status receiveAll(const Wire& wire, std::span<std::uint64_t> words) {
  for (std::size_t first = 0; first < words.size(); first += kFrameWords) {
    PILLARBOX_TRY(wire.receive(words.subspan(first, std::min(kFrameWords, words.size() - first))));
  }
  return {};
}

Words expand(const Seed& seed, std::uint64_t stream, std::size_t values) {
  Words words(values);
  random::Expander(seed, stream).fill(std::span<std::uint64_t>(words));
  return words;
}

std::unique_ptr<const Activation> Activation::make(Protocol protocol,
                                                   const models::Polynomial& polynomial,
                                                   std::uint32_t f, double bound) {
  if (polynomial.degree() < 1 || polynomial.degree() > models::Limits::kMaxDegree || !(bound > 0)) {
    throw std::logic_error("an activation needs a degree of 1 to 8 and a bound");
  }
  switch (protocol) {
    case Protocol::HoneyBadger:
      return std::make_unique<HoneyBadgerActivation>(polynomial, f);
    case Protocol::Espn:
      return std::make_unique<Espn>(polynomial, f, bound);
    case Protocol::SquareMultiply:
      return std::make_unique<SquareMultiply>(polynomial, f, bound);
    case Protocol::Horner:
      return std::make_unique<Horner>(polynomial, f, bound);
  }
  throw std::logic_error("no such protocol");
}

}  // namespace pillarbox::protocol
