#include "engine/protocol/beaver.h"

#include <stdexcept>

#include "engine/ring/fixed_point.h"

namespace pillarbox::protocol {

namespace {

class ClientMultiplier final : public Multiplier {
 public:
  void truncate(std::span<std::uint64_t> share, std::uint32_t bits) const override {
    ring::truncateClient(share, bits);
  }
  void addConstant(std::span<std::uint64_t>, std::uint64_t) const override {}

 private:
  void addOpened(std::span<const std::uint64_t>, std::span<const std::uint64_t>,
                 std::span<std::uint64_t>) const override {}
};

class EngineMultiplier final : public Multiplier {
 public:
  void truncate(std::span<std::uint64_t> share, std::uint32_t bits) const override {
    ring::truncateEngine(share, bits);
  }
  void addConstant(std::span<std::uint64_t> share, std::uint64_t constant) const override {
    for (std::uint64_t& word : share) word += constant;
  }

 private:
  void addOpened(std::span<const std::uint64_t> left, std::span<const std::uint64_t> right,
                 std::span<std::uint64_t> share) const override {
    for (std::size_t i = 0; i < share.size(); ++i) share[i] += left[i] * right[i];
  }
};

}  // namespace

Status Multiplier::open(const Wire& wire, std::span<const Factor> factors) {
  m_opened.resize(masks.size());
  for (const Factor& factor : factors) {
    Words& opened = m_opened[factor.mask];
    opened.assign(factor.share.begin(), factor.share.end());
    const Words& mask = masks[factor.mask];
    for (std::size_t i = 0; i < opened.size(); ++i) opened[i] -= mask[i];
    PILLARBOX_TRY(sendAll(wire, opened));
  }
  for (const Factor& factor : factors) {
    Words& opened = m_opened[factor.mask];
    Words other(opened.size());
    PILLARBOX_TRY(receiveAll(wire, other));
    for (std::size_t i = 0; i < opened.size(); ++i) opened[i] += other[i];
  }
  return {};
}

Words Multiplier::multiply(std::size_t product, std::size_t left, std::size_t right) const {
  const Words &openedLeft = m_opened.at(left), &openedRight = m_opened.at(right);
  const Words &maskLeft = masks[left], &maskRight = masks[right];
  if (openedLeft.empty() || openedRight.empty()) throw std::logic_error("a factor is not open");
  Words share = products[product];
  for (std::size_t i = 0; i < share.size(); ++i) {
    share[i] += openedLeft[i] * maskRight[i] + openedRight[i] * maskLeft[i];
  }
  addOpened(openedLeft, openedRight, share);
  return share;
}

BeaverActivation::BeaverActivation(const models::Polynomial& polynomial, std::uint32_t f,
                                   double bound)
    : m_polynomial(polynomial), m_f(f), m_bound(bound) {}

Cost BeaverActivation::cost(std::uint64_t values) const {
  const std::uint64_t bytes = 8 * m_masks * values;
  return {m_levels, bytes, bytes};
}

void BeaverActivation::finish() {
  m_plan.clientFactors = m_plan.engineFactors = static_cast<std::uint32_t>(m_masks);
  for (const auto& [left, right] : m_products) {
    const auto l = static_cast<std::uint32_t>(left), r = static_cast<std::uint32_t>(right);
    auto& sum = m_plan.sums.emplace_back();
    sum.push_back({l, r});
    if (l != r) sum.push_back({r, l});  // a square's is doubled
  }
}

void Multiplier::take(offline::ProductShares shares,
                      std::span<const std::pair<std::size_t, std::size_t>> pairs) {
  masks = std::move(shares.factors);
  products = std::move(shares.sums);
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    const auto [left, right] = pairs[p];
    const std::uint64_t times = left == right ? 2 : 1;
    Words& product = products[p];
    const Words &a = masks[left], &b = masks[right];
    for (std::size_t i = 0; i < product.size(); ++i) {
      product[i] = times * product[i] + a[i] * b[i];
    }
  }
}

struct BeaverActivation::Client final : ClientActivation {
  explicit Client(const BeaverActivation& owner) : protocol(owner) {}
  Status evaluate(const Wire& wire, std::span<std::uint64_t> out) override {
    return protocol.run(wire, multiplier, share, out);
  }
  const BeaverActivation& protocol;
  ClientMultiplier multiplier;
  Words share;
};

struct BeaverActivation::Engine final : EngineActivation {
  explicit Engine(const BeaverActivation& owner) : protocol(owner) {}
  Status evaluate(const Wire& wire, std::span<const std::uint64_t> share,
                  std::span<std::uint64_t> out) override {
    return protocol.run(wire, multiplier, share, out);
  }
  const BeaverActivation& protocol;
  EngineMultiplier multiplier;
};

std::unique_ptr<ClientActivation> BeaverActivation::client(
    offline::ClientStage correlations) const {
  auto half = std::make_unique<Client>(*this);
  half->share = std::move(correlations.share);
  half->multiplier.take(std::move(correlations.products), m_products);
  return half;
}

std::unique_ptr<EngineActivation> BeaverActivation::engine(
    offline::EngineStage correlations) const {
  auto half = std::make_unique<Engine>(*this);
  half->multiplier.take(std::move(correlations.products), m_products);
  return half;
}

}  // namespace pillarbox::protocol
