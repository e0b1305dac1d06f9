#include "engine/protocol/activation.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "engine/core/chunks.h"
#include "engine/protocol/espn.h"
#include "engine/protocol/horner.h"
#include "engine/protocol/square_multiply.h"
#include "engine/ring/narrow.h"

namespace pillarbox::protocol {

namespace {

/// HoneyBadger (honeybadger.h) with dealt masks.
class HoneyBadgerActivation final : public Activation {
 public:
  HoneyBadgerActivation(const models::Polynomial& polynomial, std::uint32_t f, double bound)
      : m_evaluation(polynomial, f),
        m_failure(std::ldexp(
            largestValue(polynomial, 0, bound),
            static_cast<int>(polynomial.degree() * f + polynomial.fractionBits) - 128)) {}

  Cost cost(std::uint64_t values) const override { return HoneyBadger::cost(values); }
  double errorBound() const override { return 1; }
  double failureBound() const override { return m_failure; }

  std::unique_ptr<ClientActivation> client(offline::ClientStage correlations) const override {
    return std::make_unique<Client>(m_evaluation, std::move(correlations.coefficients));
  }
  std::unique_ptr<EngineActivation> engine(offline::EngineStage correlations) const override {
    return std::make_unique<Engine>(m_evaluation, std::move(correlations));
  }

 private:
  using Coefficients = std::vector<SecureVector<U128>>;
  static std::vector<const U128*> pointers(const Coefficients& coefficients, std::size_t first) {
    std::vector<const U128*> result;
    for (const auto& tensor : coefficients) result.push_back(tensor.data() + first);
    return result;
  }

  class Client final : public ClientActivation {
   public:
    Client(const HoneyBadger& evaluation, Coefficients coefficients)
        : m_polynomial(evaluation), m_coefficients(std::move(coefficients)) {}
    Status evaluate(const Wire& wire, std::span<std::uint64_t> out) override {
      return inPieces(out.size(), kFrameWords, [&](std::size_t first, std::size_t count) -> Status {
        const auto piece = out.subspan(first, count);
        PILLARBOX_TRY(wire.receive(piece));
        m_polynomial.evaluateClient(piece, pointers(m_coefficients, first), piece);
        return {};
      });
    }

   private:
    const HoneyBadger& m_polynomial;
    Coefficients m_coefficients;
  };

  class Engine final : public EngineActivation {
   public:
    Engine(const HoneyBadger& evaluation, offline::EngineStage correlations)
        : m_polynomial(evaluation), m_correlations(std::move(correlations)) {}
    Status evaluate(const Wire& wire, std::span<const std::uint64_t> share,
                    std::span<std::uint64_t> out) override {
      for (std::size_t i = 0; i < share.size(); ++i) {
        out[i] = ring::narrow(share[i] + m_correlations.openingMask[i]);
      }
      PILLARBOX_TRY(sendAll(wire, out));
      m_polynomial.evaluateEngine(out, pointers(m_correlations.coefficients, 0), out);
      return {};
    }

   private:
    const HoneyBadger& m_polynomial;
    offline::EngineStage m_correlations;
  };

  HoneyBadger m_evaluation;
  double m_failure;
};

}  // namespace

Status sendAll(const Wire& wire, std::span<const std::uint64_t> words) {
  return inPieces(words.size(), kFrameWords, [&](std::size_t first, std::size_t count) {
    return wire.send(words.subspan(first, count));
  });
}

Status receiveAll(const Wire& wire, std::span<std::uint64_t> words) {
  return inPieces(words.size(), kFrameWords, [&](std::size_t first, std::size_t count) {
    return wire.receive(words.subspan(first, count));
  });
}

double largestValue(const models::Polynomial& polynomial, std::uint32_t lowest, double bound) {
  constexpr int kSteps = 1024;
  double largest = 0;
  for (int i = -kSteps; i <= kSteps; ++i) {
    const double z = bound * i / kSteps;
    double value = 0;
    for (std::size_t j = polynomial.coefficients.size(); j-- > lowest;) {
      value = value * z + static_cast<double>(polynomial.coefficients[j]);
    }
    largest = std::max(largest, std::abs(value));
  }
  return std::ldexp(largest, -static_cast<int>(polynomial.fractionBits));
}

std::unique_ptr<const Activation> Activation::make(Protocol protocol,
                                                   const models::Polynomial& polynomial,
                                                   std::uint32_t f, double bound) {
  if (polynomial.degree() < 1 || polynomial.degree() > models::Limits::kMaxDegree || !(bound > 0)) {
    throw std::logic_error("an activation needs a degree of 1 to 8 and a bound");
  }
  switch (protocol) {
    case Protocol::HoneyBadger:
      return std::make_unique<HoneyBadgerActivation>(polynomial, f, bound);
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
