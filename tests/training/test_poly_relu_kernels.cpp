// The activation's GPU kernels, in emulation, against the processor's passes and the composition of
// tensor operations: random lengths, layouts and polynomials, and every kind of number.
#include "tests/support/cuda_emulator.h"
// The words of CUDA come first.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "models/pillar/cuda/poly_relu.cuh"
#include "models/pillar/poly_relu.h"
#include "tests/training/expect.h"

namespace {

using namespace pillarbox::pillar;
using cuda::Element;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

constexpr auto kEmulated = [](auto kernel, dim3 grid, const auto&... arguments) {
  pillarbox::testing::runGrid(grid, cuda::kThreads, [&] { kernel(arguments...); });
};

std::mt19937& generator() {
  static std::mt19937 g = [] {
    const unsigned seed = std::random_device{}();
    std::cout << "seed " << seed << "\n";
    torch::manual_seed(seed);
    return std::mt19937(seed);
  }();
  return g;
}
std::int64_t draw(std::int64_t first, std::int64_t last) {
  return std::uniform_int_distribution<std::int64_t>(first, last)(generator());
}

/// "Device" memory that a tensor's values are in, `shift` values after a multiple of 16 bytes, with
/// others before and after them that nobody may change.
class Memory {
 public:
  Memory(const torch::Tensor& values, std::int64_t shift)
      : m_first(kGuard + shift), m_count(values.numel()) {
    m_all = torch::full({m_first + m_count + kGuard}, 77, values.options());
    m_all.slice(0, m_first, m_first + m_count).copy_(values.reshape({-1}));
    EXPECT(reinterpret_cast<std::uintptr_t>(m_all.data_ptr()) % 16 == 0);
  }
  void* data() {
    return static_cast<char*>(m_all.data_ptr()) +
           static_cast<std::size_t>(m_first) * m_all.element_size();
  }
  torch::Tensor values() const { return m_all.slice(0, m_first, m_first + m_count).clone(); }
  bool isIntact() const {
    return (m_all.slice(0, 0, m_first) == 77).all().item<bool>() &&
           (m_all.slice(0, m_first + m_count) == 77).all().item<bool>();
  }

 private:
  static constexpr std::int64_t kGuard = 64;
  std::int64_t m_first, m_count;
  torch::Tensor m_all;
};

Constants constantsFor(const ActivationSettings& s) {
  Constants k;
  k.degree = static_cast<int>(s.coefficients.size()) - 1;
  for (int i = 0; i <= k.degree; ++i) {
    const double c = s.coefficients[static_cast<std::size_t>(i)];
    k.coefficients[i] = static_cast<float>(c);
    if (i > 0) k.derivative[i - 1] = static_cast<float>(i * c);
  }
  k.range = static_cast<float>(s.range);
  k.clipTo = s.clip ? k.range : kInfinity;
  k.inversePenaltyRange = static_cast<float>(1 / s.penaltyRange);
  k.exponent = s.penaltyExponent;
  return k;
}

struct Case {
  ActivationSettings settings;
  Element element = Element::Float32;
  std::int64_t shift = 0;          ///< of x, in values; other tensors have their own
  bool coefficientsApart = false;  ///< on the device, not among the constants
};

struct Results {
  torch::Tensor y, dx;
  float penalty = 0;
  double outside = 0, largest = 0;
};

torch::ScalarType typeOf(Element element) {
  return element == Element::BFloat16 ? torch::kBFloat16 : torch::kFloat;
}

/// Forward and backward by the kernels; x and dy have the element's type.
Results byKernels(const Case& c, const torch::Tensor& x, const torch::Tensor& dy,
                  float penaltyGradient) {
  Results r;
  Constants k = constantsFor(c.settings);
  std::vector<double> apart;
  if (c.coefficientsApart) {
    apart = c.settings.coefficients;
    for (float& v : k.coefficients) v = kNan;
    for (float& v : k.derivative) v = kNan;
  }
  const double* coefficients = apart.empty() ? nullptr : apart.data();
  Memory in(x, c.shift), out(torch::zeros_like(x), draw(0, 1) * c.shift);
  Memory gradient(dy, draw(0, 1) * c.shift), slope(torch::zeros_like(x), c.shift);
  const auto count = static_cast<std::uint64_t>(x.numel());
  std::vector<cuda::Partial> partials(cuda::blocksFor(count, c.element), {-1, 99, kNan});
  double seen[2] = {-1, -1};
  r.penalty = -1;
  cuda::launchForward(kEmulated, {.constants = k,
                                  .coefficients = coefficients,
                                  .x = in.data(),
                                  .y = out.data(),
                                  .element = c.element,
                                  .count = count,
                                  .rows = 1,
                                  .partials = partials.data(),
                                  .penalty = &r.penalty,
                                  .seen = seen});
  cuda::launchBackward(kEmulated, {.constants = k,
                                   .coefficients = coefficients,
                                   .penaltyGradient = &penaltyGradient,
                                   .x = in.data(),
                                   .dy = gradient.data(),
                                   .dx = slope.data(),
                                   .element = c.element,
                                   .count = count});
  EXPECT(in.isIntact() && out.isIntact() && gradient.isIntact() && slope.isIntact());
  EXPECT(torch::equal(gradient.values(), dy));
  r.y = out.values();
  r.dx = slope.values();
  r.outside = seen[0];
  r.largest = seen[1];
  return r;
}

/// The same by the processor's pass or by tensor operations, in single precision.
Results expected(const ActivationSettings& settings, const torch::Tensor& x,
                 const torch::Tensor& dy, float penaltyGradient, bool fused) {
  const torch::Tensor in = x.to(torch::kFloat).detach().clone().requires_grad_();
  ActivationStatistics seen;
  const auto out = fused ? polyRelu(in, settings, &seen) : polyReluReference(in, settings);
  std::vector<torch::Tensor> outputs{out.value}, gradients{dy.to(torch::kFloat)};
  if (out.penalty.requires_grad()) {
    outputs.push_back(out.penalty);
    gradients.push_back(torch::tensor(penaltyGradient));
  }
  const auto slopes = torch::autograd::grad(outputs, {in}, gradients);
  if (!fused) seen = measure(in, settings.range);
  return {out.value.detach(), slopes[0], out.penalty.item<float>(),
          static_cast<double>(seen.outOfRange()), seen.largest()};
}

bool sameNumber(double a, double b, double tolerance) {
  if (std::isnan(b)) return std::isnan(a);
  if (std::isinf(b)) return a == b;
  return std::abs(a - b) <= tolerance * std::abs(b);
}

/// What terms of either sign could add up to: results differ in how these are rounded on the way.
Results scaleOf(ActivationSettings settings, const torch::Tensor& x, const torch::Tensor& dy,
                float penaltyGradient) {
  for (double& c : settings.coefficients) c = std::abs(c);
  return expected(settings, x.abs(), dy.abs(), penaltyGradient, false);
}

bool near(const torch::Tensor& a, const torch::Tensor& b, const torch::Tensor& scale,
          Element element) {
  const torch::Tensor wide = a.to(torch::kFloat);
  // bfloat16 keeps eight bits.
  const double kept = element == Element::BFloat16 ? 1.0 / 128 : 0;
  const torch::Tensor close =
      ((wide - b).abs() <= kept * b.abs() + 1e-5 * scale + 1e-6).logical_and(scale.isfinite());
  return (close | (wide == b) | (wide.isnan() & b.isnan())).all().item<bool>();
}

void compare(const Results& a, const Results& b, const Results& scale, Element element) {
  EXPECT(near(a.y, b.y, scale.y, element));
  EXPECT(near(a.dx, b.dx, scale.dx, element));
  EXPECT(sameNumber(a.penalty, b.penalty, 1e-4));
  EXPECT_EQUAL(a.outside, b.outside);
  EXPECT_EQUAL(a.largest, b.largest);
}

ActivationSettings settingsFor(int degree, int exponent, bool clip) {
  ActivationSettings settings;
  settings.clip = clip;
  settings.penaltyExponent = exponent;
  settings.coefficients.clear();
  for (int i = 0; i <= degree; ++i) {
    const double size = static_cast<double>(draw(200, 900)) / 1000 / (1 + i * i * i);
    settings.coefficients.push_back(draw(0, 1) ? size : -size);
  }
  return settings;
}

/// Most in range, some outside, some beyond the penalty's knee.
torch::Tensor inputs(std::int64_t count, Element element) {
  torch::Tensor x = torch::randn({count}) * 3;
  const std::vector<float> special{0.0F,  5.0F,   -5.0F, 4.8F,   -4.8F,
                                   14.4F, -14.4F, 20.0F, -40.0F, -0.0F};
  for (std::size_t i = 0; i < special.size() && count > 0; ++i) x[draw(0, count - 1)] = special[i];
  return x.to(typeOf(element));
}

// Lengths around the sizes of a pack, a block and several blocks.
std::int64_t someCount() {
  const std::int64_t counts[] = {
      1, 3, 4, 8, 9, 31, 255, 1023, 1024, 2048, 2055, 4 * 1024 + 3, draw(1, 20000)};
  return counts[draw(0, static_cast<std::int64_t>(std::size(counts)) - 1)];
}

void everyPolynomial() {
  for (int degree = 1; degree <= 8; ++degree) {
    for (int exponent = 0; exponent <= 16; exponent += 2) {
      for (const Element element : {Element::Float32, Element::BFloat16}) {
        const Case c{settingsFor(degree, exponent, draw(0, 1) != 0), element, draw(0, 3),
                     draw(0, 1) != 0};
        const torch::Tensor x = inputs(someCount(), element);
        const torch::Tensor dy = torch::randn_like(x);
        // Small, so that the penalty's slope far outside does not drown the polynomial's.
        const float weight = std::pow(3.0F, static_cast<float>(-exponent));
        const Results r = byKernels(c, x, dy, weight);
        const Results scale = scaleOf(c.settings, x, dy, weight);
        for (const bool fused : {false, true}) {
          compare(r, expected(c.settings, x, dy, weight, fused), scale, element);
        }
      }
    }
  }
}

void everyKindOfNumber() {
  const float most = std::numeric_limits<float>::max();
  torch::Tensor x = torch::tensor({kNan, -kNan, kInfinity, -kInfinity, most, -most, 1e9F, 1e-38F,
                                   std::numeric_limits<float>::denorm_min(), -0.0F, 5.0F, 5.0001F});
  for (const Element element : {Element::Float32, Element::BFloat16}) {
    for (const bool clip : {false, true}) {
      for (const float weight : {0.0F, 1e-6F}) {
        for (std::int64_t i = 0; i <= x.numel(); ++i) {  // one kind at a time, then all
          torch::Tensor some = torch::randn({41});
          if (i < x.numel()) {
            some[draw(0, 40)] = x[i];
          } else {
            some.slice(0, 20, 20 + x.numel()).copy_(x);
          }
          some = some.to(typeOf(element));
          const torch::Tensor dy = torch::randn_like(some);
          const Case c{settingsFor(4, 10, clip), element, draw(0, 1), false};
          const Results a = byKernels(c, some, dy, weight);
          const Results b = expected(c.settings, some, dy, weight, true);
          compare(a, b, scaleOf(c.settings, some, dy, weight), element);
          EXPECT(torch::equal(torch::isfinite(a.dx), torch::isfinite(b.dx.to(typeOf(element)))));
        }
      }
    }
  }
}

void narrowsLikeLibTorch() {
  // Every bit pattern near a tie, and random ones, as values of the identity.
  std::vector<float> values;
  for (int i = 0; i < 4000; ++i) {
    const auto high = static_cast<std::uint32_t>(draw(0, 65535)) << 16;
    for (const std::uint32_t low : {0x0000U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      const std::uint32_t bits = high | low;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      values.push_back(value);
    }
  }
  const torch::Tensor narrowed = torch::tensor(values).to(torch::kBFloat16);
  const auto* bits = static_cast<const std::uint16_t*>(narrowed.data_ptr());
  bool same = true;
  for (std::size_t i = 0; i < values.size(); ++i) {
    same = same &&
           (std::isnan(values[i])
                ? std::isnan(cuda::StoredBFloat16::load(cuda::StoredBFloat16::store(values[i])))
                : cuda::StoredBFloat16::store(values[i]) == bits[i]);
  }
  EXPECT(same);
}

void manyBlocksAlwaysTheSame() {
  // More than one turn for every thread, and an end that fills no pack.
  const std::int64_t count = std::int64_t{cuda::kMostBlocks} * cuda::kThreads * 4 + 4 * 777 + 3;
  const Case c{settingsFor(4, 10, true), Element::Float32, 0, false};
  const torch::Tensor x = inputs(count, c.element), dy = torch::randn_like(x);
  const Results first = byKernels(c, x, dy, 1e-3F), second = byKernels(c, x, dy, 1e-3F);
  compare(first, expected(c.settings, x, dy, 1e-3F, true), scaleOf(c.settings, x, dy, 1e-3F),
          c.element);
  EXPECT(first.penalty == second.penalty);
  EXPECT(torch::equal(first.dx, second.dx));
}

void countsByRow() {
  for (const Element element : {Element::Float32, Element::BFloat16}) {
    for (const std::int64_t count : {std::int64_t{0}, std::int64_t{5}, std::int64_t{1001},
                                     std::int64_t{2048}, draw(1, 9000)}) {
      const std::int64_t rows = draw(1, 9);
      const torch::Tensor x = inputs(rows * count, element).view({rows, count}) * 2;
      Memory in(x, draw(0, 1));
      Constants k;
      k.range = 5;
      std::vector<cuda::Partial> partials(
          static_cast<std::size_t>(rows) *
          cuda::blocksFor(static_cast<std::uint64_t>(count), element));
      std::vector<double> seen(2 * static_cast<std::size_t>(rows), -1);
      cuda::launchForward(kEmulated, {.constants = k,
                                      .coefficients = nullptr,
                                      .x = in.data(),
                                      .y = nullptr,
                                      .element = element,
                                      .count = static_cast<std::uint64_t>(count),
                                      .rows = static_cast<std::uint32_t>(rows),
                                      .partials = partials.data(),
                                      .penalty = nullptr,
                                      .seen = seen.data()});
      for (std::int64_t row = 0; row < rows; ++row) {
        const auto expected = measure(x[row], 5);
        EXPECT_EQUAL(seen[static_cast<std::size_t>(2 * row)],
                     static_cast<double>(expected.outOfRange()));
        EXPECT_EQUAL(seen[static_cast<std::size_t>(2 * row + 1)], double{expected.largest()});
      }
    }
  }
}

void onlyWhatIsWanted() {
  // Values alone: no sums are written anywhere.
  const Case c{settingsFor(3, 0, false), Element::Float32, 0, false};
  const torch::Tensor x = inputs(1500, c.element);
  Memory in(x, 0), out(torch::zeros_like(x), 0);
  const cuda::ForwardArguments arguments{.constants = constantsFor(c.settings),
                                         .coefficients = nullptr,
                                         .x = in.data(),
                                         .y = out.data(),
                                         .element = c.element,
                                         .count = 1500,
                                         .rows = 1,
                                         .partials = nullptr,
                                         .penalty = nullptr,
                                         .seen = nullptr};
  cuda::launchForward(kEmulated, arguments);
  EXPECT(torch::allclose(out.values(), polyReluReference(x, c.settings).value, 1e-4, 1e-4));
}

void sumsPowers() {
  for (const Element element : {Element::Float32, Element::BFloat16}) {
    for (std::int64_t powers = 1; powers <= 9; ++powers) {
      for (const bool weighted : {false, true}) {
        const torch::Tensor x = inputs(someCount(), element), dy = torch::randn_like(x);
        const float limit = draw(0, 1) ? kInfinity : 3.0F;
        const auto count = static_cast<std::uint64_t>(x.numel());
        const std::int64_t shift = draw(0, 1);
        Memory in(x, shift), gradient(dy, shift);
        std::vector<double> partials(kMaxCoefficients * cuda::blocksFor(count, element), 1e9);
        std::vector<double> sums(10, -7);
        cuda::launchPowers(kEmulated, {.limit = limit,
                                       .powers = static_cast<std::int32_t>(powers),
                                       .x = in.data(),
                                       .dy = weighted ? gradient.data() : nullptr,
                                       .element = element,
                                       .count = count,
                                       .partials = partials.data(),
                                       .sums = sums.data()});
        const torch::Tensor v = x.to(torch::kDouble).clamp(-limit, limit);
        torch::Tensor term = weighted ? dy.to(torch::kDouble) : torch::ones_like(v);
        for (std::int64_t j = 0; j < powers; ++j) {
          const double size = term.abs().sum().item<double>();
          EXPECT(std::abs(sums[static_cast<std::size_t>(j)] - term.sum().item<double>()) <=
                 1e-5 * size);
          term = term * v;
        }
        EXPECT_EQUAL(sums[static_cast<std::size_t>(powers)], -7.0);
      }
    }
  }
}

}  // namespace

int main() {
  at::set_num_threads(2);
  return pillarbox::test::run({{"every degree and exponent", everyPolynomial},
                               {"NaN, infinities and other extremes", everyKindOfNumber},
                               {"bfloat16 is rounded to nearest even", narrowsLikeLibTorch},
                               {"many blocks, and always the same", manyBlocksAlwaysTheSame},
                               {"statistics by row", countsByRow},
                               {"values alone", onlyWhatIsWanted},
                               {"sums of powers", sumsPowers}});
}
