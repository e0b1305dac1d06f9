#include "models/pillar/poly_relu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <stdexcept>

#include <ATen/Parallel.h>

#include "models/pillar/cuda/pass.h"

// Builds each loop for the wide vector units as well and picks at run time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define PILLARBOX_CLONES \
  __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define PILLARBOX_CLONES
#endif
#define PILLARBOX_INLINE inline __attribute__((always_inline))

namespace pillarbox::pillar {
namespace {

constexpr std::int64_t kBlock = 1024;  // floats; x, dy and dx of one block stay in the L1 cache
constexpr std::int64_t kGrain = 64 * kBlock;  // smallest share of a thread

Constants constantsOf(const ActivationSettings& s) {
  if (s.coefficients.size() < 2 || s.coefficients.size() > kMaxCoefficients) {
    throw std::invalid_argument("an activation needs 2 to 9 coefficients");
  }
  if (s.penaltyExponent < 0 || s.penaltyExponent > kMaxExponent || s.penaltyExponent % 2 != 0) {
    throw std::invalid_argument("the penalty's exponent must be even and at most 16");
  }
  if (!(s.range > 0) || !(s.penaltyRange > 0)) {
    throw std::invalid_argument("an activation's range must be positive");
  }
  Constants c;
  c.degree = static_cast<int>(s.coefficients.size()) - 1;
  for (int i = 0; i <= c.degree; ++i) c.coefficients[i] = static_cast<float>(s.coefficients[i]);
  for (int i = 1; i <= c.degree; ++i)
    c.derivative[i - 1] = static_cast<float>(i * s.coefficients[i]);
  c.range = static_cast<float>(s.range);
  c.clipTo = s.clip ? c.range : std::numeric_limits<float>::infinity();
  c.inversePenaltyRange = static_cast<float>(1.0 / s.penaltyRange);
  c.exponent = s.penaltyExponent;
  return c;
}

PILLARBOX_INLINE float clampTo(float x, float limit) {
  const float low = x < -limit ? -limit : x;
  return low > limit ? limit : low;
}

template <int Degree>
PILLARBOX_INLINE float horner(const float* c, float x) {
  float y = c[Degree];
  for (int i = Degree - 1; i >= 0; --i) y = y * x + c[i];
  return y;
}

template <int Half>
PILLARBOX_INLINE float power(float square) {  // square^Half
  float y = 1;
  for (int i = 0; i < Half; ++i) y *= square;
  return y;
}

template <int Degree>
PILLARBOX_INLINE void valueLoop(const Constants& k, const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    y[i] = horner<Degree>(k.coefficients, clampTo(x[i], k.clipTo));
}

template <int Degree>
PILLARBOX_INLINE void slopeLoop(const Constants& k, const float* x, const float* dy, float* dx,
                                std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float slope = horner<Degree - 1>(k.derivative, x[i]) * dy[i];
    dx[i] = std::fabs(x[i]) <= k.clipTo ? slope : 0.0f;
  }
}

// sums[j] += sum of weight * clamp(x)^j, with a weight of one everywhere if dy is null.
template <int Count>
PILLARBOX_INLINE void powerLoop(float limit, const float* x, const float* dy, std::int64_t n,
                                float* sums) {
  for (int j = 0; j < Count; ++j) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < n; ++i) {
      const float v = clampTo(x[i], limit);
      float term = dy ? dy[i] : 1.0F;
      for (int k = 0; k < j; ++k) term *= v;
      sum += term;
    }
    sums[j] = sum;
  }
}

// |u|^e with u = |x| / R up to the knee, the tangent beyond it.
template <int Exponent>
PILLARBOX_INLINE float penaltyLoop(const Constants& k, const float* x, std::int64_t n) {
  const float knee = kPenaltyKnee;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    const float u = std::fabs(x[i]) * k.inversePenaltyRange;
    const float v = u < knee ? u : knee;
    const float steep = power<Exponent / 2 - 1>(v * v) * v;  // v^(e-1)
    sum += steep * (v + Exponent * (u - v));
  }
  return sum;
}

template <int Exponent>
PILLARBOX_INLINE void penaltySlopeLoop(const Constants& k, const float* x, float scale, float* dx,
                                       std::int64_t n) {
  const float knee = kPenaltyKnee;
  const float factor = scale * Exponent * k.inversePenaltyRange;
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = clampTo(x[i] * k.inversePenaltyRange, knee);
    dx[i] += factor * power<Exponent / 2 - 1>(v * v) * v;
  }
}

PILLARBOX_CLONES void valueBlock(const Constants& k, const float* x, float* y, std::int64_t n) {
  switch (k.degree) {
    case 1:
      return valueLoop<1>(k, x, y, n);
    case 2:
      return valueLoop<2>(k, x, y, n);
    case 3:
      return valueLoop<3>(k, x, y, n);
    case 4:
      return valueLoop<4>(k, x, y, n);
    case 5:
      return valueLoop<5>(k, x, y, n);
    case 6:
      return valueLoop<6>(k, x, y, n);
    case 7:
      return valueLoop<7>(k, x, y, n);
    default:
      return valueLoop<8>(k, x, y, n);
  }
}

PILLARBOX_CLONES void slopeBlock(const Constants& k, const float* x, const float* dy, float* dx,
                                 std::int64_t n) {
  switch (k.degree) {
    case 1:
      return slopeLoop<1>(k, x, dy, dx, n);
    case 2:
      return slopeLoop<2>(k, x, dy, dx, n);
    case 3:
      return slopeLoop<3>(k, x, dy, dx, n);
    case 4:
      return slopeLoop<4>(k, x, dy, dx, n);
    case 5:
      return slopeLoop<5>(k, x, dy, dx, n);
    case 6:
      return slopeLoop<6>(k, x, dy, dx, n);
    case 7:
      return slopeLoop<7>(k, x, dy, dx, n);
    default:
      return slopeLoop<8>(k, x, dy, dx, n);
  }
}

PILLARBOX_CLONES float penaltyBlock(const Constants& k, const float* x, std::int64_t n) {
  switch (k.exponent) {
    case 0:
      return 0;
    case 2:
      return penaltyLoop<2>(k, x, n);
    case 4:
      return penaltyLoop<4>(k, x, n);
    case 6:
      return penaltyLoop<6>(k, x, n);
    case 8:
      return penaltyLoop<8>(k, x, n);
    case 10:
      return penaltyLoop<10>(k, x, n);
    case 12:
      return penaltyLoop<12>(k, x, n);
    case 14:
      return penaltyLoop<14>(k, x, n);
    default:
      return penaltyLoop<16>(k, x, n);
  }
}

PILLARBOX_CLONES void penaltySlopeBlock(const Constants& k, const float* x, float scale, float* dx,
                                        std::int64_t n) {
  switch (k.exponent) {
    case 0:
      return;
    case 2:
      return penaltySlopeLoop<2>(k, x, scale, dx, n);
    case 4:
      return penaltySlopeLoop<4>(k, x, scale, dx, n);
    case 6:
      return penaltySlopeLoop<6>(k, x, scale, dx, n);
    case 8:
      return penaltySlopeLoop<8>(k, x, scale, dx, n);
    case 10:
      return penaltySlopeLoop<10>(k, x, scale, dx, n);
    case 12:
      return penaltySlopeLoop<12>(k, x, scale, dx, n);
    case 14:
      return penaltySlopeLoop<14>(k, x, scale, dx, n);
    default:
      return penaltySlopeLoop<16>(k, x, scale, dx, n);
  }
}

// At least `count` sums: the loops are built for the coefficients of even degrees.
PILLARBOX_CLONES void powerBlock(std::size_t count, float limit, const float* x, const float* dy,
                                 std::int64_t n, float* sums) {
  if (count <= 3) return powerLoop<3>(limit, x, dy, n, sums);
  if (count <= 5) return powerLoop<5>(limit, x, dy, n, sums);
  if (count <= 7) return powerLoop<7>(limit, x, dy, n, sums);
  return powerLoop<9>(limit, x, dy, n, sums);
}

PILLARBOX_CLONES void statisticsBlock(float range, const float* x, std::int64_t n,
                                      std::int32_t& outOfRange, float& largest) {
  std::int32_t outside = 0;
  float top = 0;
#pragma omp simd reduction(+ : outside) reduction(max : top)
  for (std::int64_t i = 0; i < n; ++i) {
    const float a = std::fabs(x[i]);
    // Written so that a NaN counts as outside and as infinitely large.
    const float b =
        a <= std::numeric_limits<float>::max() ? a : std::numeric_limits<float>::infinity();
    outside += a <= range ? 0 : 1;
    top = b > top ? b : top;
  }
  outOfRange = outside;
  largest = top;
}

ActivationStatistics statisticsOf(float range, const float* x, std::int64_t n) {
  std::int32_t outOfRange = 0;
  float largest = 0;
  statisticsBlock(range, x, n, outOfRange, largest);
  return {n, outOfRange, largest};
}

// Both passes run over the storage in order, so x may have any layout that leaves no gaps.
torch::Tensor dense(const torch::Tensor& x) {
  return x.is_non_overlapping_and_dense() ? x : x.contiguous();
}

double forwardPass(const Constants& k, const torch::Tensor& x, torch::Tensor& y,
                   ActivationStatistics* statistics) {
  const float* in = x.data_ptr<float>();
  float* out = y.data_ptr<float>();
  const std::int64_t total = x.numel();
  const std::int64_t blocks = (total + kBlock - 1) / kBlock;
  // One partial sum a block, added in order: the same result whatever the number of threads.
  std::vector<float> sums(static_cast<std::size_t>(blocks));
  std::mutex mutex;
  at::parallel_for(0, blocks, kGrain / kBlock, [&](std::int64_t begin, std::int64_t end) {
    ActivationStatistics mine;
    for (std::int64_t b = begin; b < end; ++b) {
      const std::int64_t at = b * kBlock;
      const std::int64_t n = std::min(kBlock, total - at);
      valueBlock(k, in + at, out + at, n);
      sums[static_cast<std::size_t>(b)] = penaltyBlock(k, in + at, n);
      if (statistics) mine.add(statisticsOf(k.range, in + at, n));
    }
    if (statistics) {
      const std::lock_guard lock(mutex);
      statistics->add(mine);
    }
  });
  double sum = 0;
  for (const float s : sums) sum += s;
  return sum;
}

void backwardPass(const Constants& k, const torch::Tensor& x, const torch::Tensor& dy,
                  float penaltyScale, torch::Tensor& dx) {
  const float* in = x.data_ptr<float>();
  const float* gradient = dy.data_ptr<float>();
  float* out = dx.data_ptr<float>();
  const std::int64_t total = x.numel();
  const std::int64_t blocks = (total + kBlock - 1) / kBlock;
  at::parallel_for(0, blocks, kGrain / kBlock, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const std::int64_t at = b * kBlock;
      const std::int64_t n = std::min(kBlock, total - at);
      slopeBlock(k, in + at, gradient + at, out + at, n);
      if (penaltyScale != 0) penaltySlopeBlock(k, in + at, penaltyScale, out + at, n);
    }
  });
}

// The sums over x of dy * clamp(x)^j, j = 0 .. count - 1, as float64; dy may be undefined (ones).
torch::Tensor powerSums(const torch::Tensor& x, const torch::Tensor& dy, float limit,
                        std::size_t count) {
  if constexpr (cuda::kHasPass) {
    if (x.is_cuda()) return cuda::sumPowers(x, dy, limit, static_cast<std::int64_t>(count));
  }
  const float* in = x.data_ptr<float>();
  const float* weights = dy.defined() ? dy.data_ptr<float>() : nullptr;
  const std::int64_t total = x.numel();
  const std::int64_t blocks = (total + kBlock - 1) / kBlock;
  std::vector<float> parts(static_cast<std::size_t>(blocks) * kMaxCoefficients);
  at::parallel_for(0, blocks, kGrain / kBlock, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const std::int64_t at = b * kBlock;
      powerBlock(count, limit, in + at, weights ? weights + at : nullptr,
                 std::min(kBlock, total - at),
                 parts.data() + static_cast<std::size_t>(b) * kMaxCoefficients);
    }
  });
  std::vector<double> sums(count, 0.0);
  for (std::size_t b = 0; b < static_cast<std::size_t>(blocks); ++b) {
    for (std::size_t j = 0; j < count; ++j) sums[j] += parts[b * kMaxCoefficients + j];
  }
  return torch::tensor(sums, torch::kDouble);
}

// A gradient in the type and layout of x.
torch::Tensor alignedTo(const torch::Tensor& x, const torch::Tensor& dy) {
  if (!dy.defined()) return torch::zeros_like(x);
  if (dy.scalar_type() == x.scalar_type() && dy.strides() == x.strides() &&
      dy.is_non_overlapping_and_dense()) {
    return dy;
  }
  torch::Tensor aligned = torch::empty_like(x);
  aligned.copy_(dy);
  return aligned;
}

std::vector<double> valuesOf(const torch::Tensor& coefficients) {
  const torch::Tensor c = coefficients.detach().to(torch::kCPU).to(torch::kDouble).contiguous();
  return {c.data_ptr<double>(), c.data_ptr<double>() + c.numel()};
}

// Coefficients that replace those of settings, on the way to a pass: as numbers on the CPU, as a
// tensor on a GPU, which would otherwise have to be waited for.
torch::Tensor given(const torch::Tensor& coefficients, const torch::Tensor& x,
                    ActivationSettings& settings) {
  if (x.is_cpu()) {
    settings.coefficients = valuesOf(coefficients);
    return {};
  }
  settings.coefficients.assign(static_cast<std::size_t>(coefficients.numel()), 0.0);
  return coefficients.detach().to(x.device(), torch::kDouble).contiguous();
}

// The gradient of x. dy may be undefined (ones), as may the penalty's gradient (none), which is a
// float32 scalar on x's device.
torch::Tensor slopes(const Constants& k, const torch::Tensor& coefficients, const torch::Tensor& x,
                     const torch::Tensor& dy, const torch::Tensor& gradient) {
  torch::Tensor dx = torch::empty_like(x);
  if constexpr (cuda::kHasPass) {
    if (x.is_cuda()) {
      cuda::backward(k, coefficients, gradient, x, dy, dx);
      return dx;
    }
  }
  backwardPass(k, x, dy.defined() ? dy : torch::ones_like(x),
               gradient.defined() ? gradient.item<float>() : 0.0F, dx);
  return dx;
}

[[maybe_unused]] Constants countingIn(double range) {
  Constants k;
  k.range = static_cast<float>(range);
  return k;
}

class FusedPolyRelu : public torch::autograd::Function<FusedPolyRelu> {
 public:
  /// @param trainable  the coefficients in place of those of settings; empty: none
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const torch::Tensor& input,
                                                const torch::Tensor& trainable,
                                                ActivationSettings settings,
                                                ActivationStatistics* statistics) {
    const torch::Tensor x = dense(input);
    const torch::Tensor coefficients =
        trainable.numel() > 0 ? given(trainable, x, settings) : torch::Tensor();
    const Constants k = constantsOf(settings);
    torch::Tensor y = torch::empty_like(x);
    torch::Tensor penalty;
    if constexpr (cuda::kHasPass) {
      if (x.is_cuda()) {
        auto result = cuda::forward(k, coefficients, x, y, true, statistics ? 1 : 0);
        if (statistics) statistics->add({x.numel(), std::move(result.seen)});
        penalty = std::move(result.penalty);
      }
    }
    if (x.is_cpu()) penalty = torch::tensor(static_cast<float>(forwardPass(k, x, y, statistics)));
    context->save_for_backward({x, coefficients});
    context->saved_data["coefficients"] = settings.coefficients;
    context->saved_data["range"] = settings.range;
    context->saved_data["penaltyRange"] = settings.penaltyRange;
    context->saved_data["exponent"] = static_cast<std::int64_t>(settings.penaltyExponent);
    context->saved_data["clip"] = settings.clip;
    context->saved_data["trainable"] = trainable.numel() > 0 && trainable.requires_grad();
    return {y, penalty};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    ActivationSettings settings;
    settings.coefficients = context->saved_data["coefficients"].toDoubleVector();
    settings.range = context->saved_data["range"].toDouble();
    settings.penaltyRange = context->saved_data["penaltyRange"].toDouble();
    settings.penaltyExponent = static_cast<int>(context->saved_data["exponent"].toInt());
    settings.clip = context->saved_data["clip"].toBool();
    const auto saved = context->get_saved_variables();
    const torch::Tensor &x = saved[0], &coefficients = saved[1];
    const torch::Tensor dy = alignedTo(x, gradients[0]);
    const Constants k = constantsOf(settings);
    const torch::Tensor dx = slopes(k, coefficients, x, dy, gradients[1]);
    torch::Tensor dc;
    if (context->saved_data["trainable"].toBool()) {
      dc = powerSums(x, dy, k.clipTo, settings.coefficients.size());
    }
    return {dx, dc, torch::Tensor(), torch::Tensor()};
  }
};

class FusedPowerMeans : public torch::autograd::Function<FusedPowerMeans> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context,
                               const torch::Tensor& input, double limit, std::int64_t count) {
    const torch::Tensor x = dense(input);
    context->save_for_backward({x});
    context->saved_data["limit"] = limit;
    return powerSums(x, {}, static_cast<float>(limit), static_cast<std::size_t>(count)) /
           static_cast<double>(x.numel());
  }

  // The slope of sum_j g_j v^j / n is that of a polynomial with the coefficients g_j / n.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::Tensor x = context->get_saved_variables()[0];
    ActivationSettings settings;
    settings.range = context->saved_data["limit"].toDouble();
    settings.penaltyExponent = 0;
    const torch::Tensor coefficients =
        given(gradients[0].to(torch::kDouble) / static_cast<double>(x.numel()), x, settings);
    return {slopes(constantsOf(settings), coefficients, x, {}, {}), torch::Tensor(),
            torch::Tensor()};
  }
};

// clamp(x, -limit, limit) with the slope 1 up to and on the edges. Of clamp() itself some versions
// of LibTorch have the slope 0 on them.
torch::Tensor clipped(const torch::Tensor& x, double limit) {
  return torch::where(x.abs() <= limit, x, torch::clamp(x.detach(), -limit, limit));
}

// |u|^e with its tangent beyond the knee, as tensor operations.
torch::Tensor referencePenalty(const torch::Tensor& x, const ActivationSettings& settings) {
  if (settings.penaltyExponent == 0) return torch::zeros({}, x.options().dtype(torch::kFloat));
  const torch::Tensor u = x.to(torch::kFloat).abs() / settings.penaltyRange;
  const torch::Tensor v = torch::clamp_max(u, kPenaltyKnee).detach();
  const torch::Tensor beyond = u > kPenaltyKnee;
  const torch::Tensor inner = torch::pow(torch::where(beyond, v, u), settings.penaltyExponent);
  const torch::Tensor tangent =
      settings.penaltyExponent * torch::pow(v, settings.penaltyExponent - 1) * (u - v);
  const double atKnee = std::pow(kPenaltyKnee, settings.penaltyExponent);
  return torch::where(beyond, tangent + atKnee, inner).sum();
}

}  // namespace

bool isFused(const torch::Tensor& x) {
  return (x.is_cpu() && x.scalar_type() == torch::kFloat) || cuda::takes(x);
}

std::int64_t ActivationStatistics::outOfRange() const {
  settle();
  return m_outOfRange;
}

float ActivationStatistics::largest() const {
  settle();
  return m_largest;
}

void ActivationStatistics::add(const ActivationStatistics& other) {
  m_count += other.m_count;
  m_outOfRange += other.m_outOfRange;
  m_largest = std::max(m_largest, other.m_largest);
  if (!other.m_counted.defined()) return;
  settle();
  m_counted = other.m_counted;
}

void ActivationStatistics::settle() const {
  if (!m_counted.defined()) return;
  const torch::Tensor counted = m_counted.to(torch::kCPU).contiguous();
  m_counted = torch::Tensor();
  const double* numbers = counted.data_ptr<double>();
  m_outOfRange += static_cast<std::int64_t>(numbers[0]);
  m_largest = std::max(m_largest, static_cast<float>(numbers[1]));
}

ActivationOutput polyReluReference(const torch::Tensor& x, const ActivationSettings& settings) {
  constantsOf(settings);
  const bool narrow = x.scalar_type() == torch::kBFloat16 || x.scalar_type() == torch::kHalf;
  const torch::Tensor wide = narrow ? x.to(torch::kFloat) : x;
  const torch::Tensor inside = settings.clip ? clipped(wide, settings.range) : wide;
  torch::Tensor y = torch::full_like(wide, settings.coefficients.back());
  for (auto c = settings.coefficients.rbegin() + 1; c != settings.coefficients.rend(); ++c) {
    y = y * inside + *c;
  }
  return {y.to(x.scalar_type()), referencePenalty(x, settings)};
}

ActivationStatistics measure(const torch::Tensor& input, double range) {
  const torch::Tensor detached = input.detach();
  if (!isFused(detached)) {
    const torch::Tensor a = detached.abs().to(torch::kFloat);
    const std::int64_t outOfRange = a.numel() - (a <= range).sum().item<std::int64_t>();
    const float largest = a.numel() == 0 ? 0.0f : a.max().item<float>();
    return {a.numel(), outOfRange,
            std::isfinite(largest) ? largest : std::numeric_limits<float>::infinity()};
  }
  const torch::Tensor x = dense(detached);
  const std::int64_t total = x.numel();
  if constexpr (cuda::kHasPass) {
    if (x.is_cuda()) {
      return {total, cuda::forward(countingIn(range), {}, x, {}, false, 1).seen};
    }
  }
  const float* in = x.data_ptr<float>();
  const std::int64_t blocks = (total + kBlock - 1) / kBlock;
  ActivationStatistics result;
  std::mutex mutex;
  at::parallel_for(0, blocks, kGrain / kBlock, [&](std::int64_t begin, std::int64_t end) {
    ActivationStatistics mine;
    for (std::int64_t b = begin; b < end; ++b) {
      const std::int64_t n = std::min(kBlock, total - b * kBlock);
      mine.add(statisticsOf(static_cast<float>(range), in + b * kBlock, n));
    }
    const std::lock_guard lock(mutex);
    result.add(mine);
  });
  return result;
}

std::vector<ActivationStatistics> measureEach(const torch::Tensor& input, double range) {
  std::vector<ActivationStatistics> result;
  const torch::Tensor detached = input.detach();
  const std::int64_t parts = detached.size(0);
  if constexpr (cuda::kHasPass) {
    if (cuda::takes(detached) && parts > 0) {
      // Every part in a piece of its own.
      const torch::Tensor whole = dense(detached);
      const std::int64_t count = whole.numel() / parts;
      const torch::Tensor x = parts == 1 || whole.stride(0) == count ? whole : whole.contiguous();
      const torch::Tensor seen =
          cuda::forward(countingIn(range), {}, x, {}, false, parts).seen.to(torch::kCPU);
      const auto numbers = seen.accessor<double, 2>();
      for (std::int64_t i = 0; i < parts; ++i) {
        result.emplace_back(count, static_cast<std::int64_t>(numbers[i][0]),
                            static_cast<float>(numbers[i][1]));
      }
      return result;
    }
  }
  for (std::int64_t i = 0; i < parts; ++i) result.push_back(measure(detached[i], range));
  return result;
}

void addHistogram(const torch::Tensor& input, double range, std::vector<std::uint64_t>& histogram) {
  histogram.resize(kHistogramBins, 0);
  const torch::Tensor all = dense(input.detach());
  // A prime, so that the sample does not stay in a few channels or columns.
  const std::int64_t step = all.numel() < 13 * 1000 ? 1 : 13;
  // Of the storage, in its order; only the sample travels.
  const torch::Tensor x = all.as_strided({(all.numel() + step - 1) / step}, {step})
                              .to(torch::kFloat)
                              .to(torch::kCPU)
                              .contiguous();
  const float* in = x.data_ptr<float>();
  const auto scale = static_cast<float>(kHistogramBins / (2 * kHistogramReach * range));
  const float last = kHistogramBins - 1;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const float bin = std::floor(in[i] * scale + kHistogramBins / 2.0F);
    // A NaN fails both comparisons and lands in the last bin.
    ++histogram[static_cast<std::size_t>(bin < 0 ? 0.0F : bin < last ? bin : last)];
  }
}

ActivationOutput polyRelu(const torch::Tensor& x, const ActivationSettings& settings,
                          ActivationStatistics* statistics) {
  if (!isFused(x)) {
    if (statistics) statistics->add(measure(x, settings.range));
    return polyReluReference(x, settings);
  }
  const auto out = FusedPolyRelu::apply(x, torch::empty({0}, torch::kDouble), settings, statistics);
  return {out[0], out[1]};
}

ActivationOutput polyRelu(const torch::Tensor& x, const torch::Tensor& coefficients,
                          const ActivationSettings& settings, ActivationStatistics* statistics) {
  if (isFused(x)) {
    const auto out = FusedPolyRelu::apply(x, coefficients, settings, statistics);
    return {out[0], out[1]};
  }
  if (statistics) statistics->add(measure(x, settings.range));
  const torch::Tensor c = coefficients.to(x.device()).to(torch::kFloat);
  const torch::Tensor wide = x.to(torch::kFloat);
  const torch::Tensor inside = settings.clip ? clipped(wide, settings.range) : wide;
  torch::Tensor y = c[-1].expand_as(wide);
  for (std::int64_t j = c.numel() - 2; j >= 0; --j) y = y * inside + c[j];
  return {y.to(x.scalar_type()), referencePenalty(x, settings)};
}

torch::Tensor powerMeans(const torch::Tensor& x, double limit, int count) {
  if (count < 2 || count > kMaxCoefficients) {
    throw std::invalid_argument("2 to 9 power means can be taken");
  }
  if (isFused(x)) return FusedPowerMeans::apply(x, limit, static_cast<std::int64_t>(count));
  const torch::Tensor v = clipped(x.to(torch::kFloat), limit);
  std::vector<torch::Tensor> means{torch::ones({}, v.options())};
  torch::Tensor power = v;
  for (int j = 1; j < count; ++j) {
    means.push_back(power.mean());
    power = power * v;
  }
  return torch::stack(means).to(torch::kDouble);
}

PenaltyStrength penaltyAt(int epoch, const PenaltyStrength& final) {
  constexpr int kExponents[] = {4, 6, 8, 10};
  constexpr double kDivisors[] = {100, 50, 10, 5};
  if (epoch < 0 || epoch >= 4) return final;
  return {std::min(kExponents[epoch], final.exponent), final.coefficient / kDivisors[epoch]};
}

}  // namespace pillarbox::pillar
