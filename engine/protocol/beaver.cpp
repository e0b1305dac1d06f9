#include "engine/protocol/beaver.h"

#include <stdexcept>

#include "engine/ring/fixed_point.h"

namespace pillarbox::protocol {

namespace {

using random::Seed;

/// Streams of a seed: masks from 0, the engine's shares of products from here.
constexpr std::uint64_t kProductStreams = 1024;

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

ActivationOfflineCost BeaverActivation::offlineCost(std::uint64_t values) const {
  return {m_products.size() * values, 0};
}

Words BeaverActivation::deal(std::size_t values, const Seed& clientSeed,
                             const Seed& engineSeed) const {
  std::vector<Words> masks;
  for (std::size_t m = 0; m < m_masks; ++m) {
    Words& mask = masks.emplace_back(expand(clientSeed, m, values));
    const Words other = expand(engineSeed, m, values);
    for (std::size_t i = 0; i < values; ++i) mask[i] += other[i];
  }
  Words corrections;
  for (std::size_t p = 0; p < m_products.size(); ++p) {
    const Words &left = masks[m_products[p].first], &right = masks[m_products[p].second];
    Words share = expand(engineSeed, kProductStreams + p, values);
    for (std::size_t i = 0; i < values; ++i) share[i] = left[i] * right[i] - share[i];
    corrections.insert(corrections.end(), share.begin(), share.end());
  }
  return corrections;
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
    std::span<const std::uint64_t> share, const Seed& clientSeed,
    std::span<const std::uint64_t> corrections, Words& toEngine) const {
  const std::size_t n = share.size();
  toEngine.clear();
  auto half = std::make_unique<Client>(*this);
  half->share.assign(share.begin(), share.end());
  for (std::size_t m = 0; m < m_masks; ++m) {
    half->multiplier.masks.push_back(expand(clientSeed, m, n));
  }
  for (std::size_t p = 0; p < m_products.size(); ++p) {
    const auto dealt = corrections.subspan(p * n, n);
    half->multiplier.products.emplace_back(dealt.begin(), dealt.end());
  }
  return half;
}

std::unique_ptr<EngineActivation> BeaverActivation::engine(std::size_t values,
                                                           const Seed& engineSeed,
                                                           std::span<const std::uint64_t>) const {
  auto half = std::make_unique<Engine>(*this);
  for (std::size_t m = 0; m < m_masks; ++m) {
    half->multiplier.masks.push_back(expand(engineSeed, m, values));
  }
  for (std::size_t p = 0; p < m_products.size(); ++p) {
    half->multiplier.products.push_back(expand(engineSeed, kProductStreams + p, values));
  }
  return half;
}

}  // namespace pillarbox::protocol
