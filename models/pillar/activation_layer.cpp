#include "models/pillar/activation_layer.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace pillarbox::pillar {
namespace {

constexpr double kMomentum = 0.1;       // of running statistics, as batch norm's
constexpr double kEpsilon = 1e-5;       // below any variance that matters
constexpr double kSmallestScale = 0.1;  // an input that is all but zero is not blown up

// Normalised Hermite polynomials: orthonormal under the standard normal distribution.
// h_n = He_n / sqrt(n!), He_{n+1} = x He_n - n He_{n-1}.
torch::Tensor hermite(std::int64_t count) {
  torch::Tensor table = torch::zeros({count, count}, torch::kDouble);
  auto h = table.accessor<double, 2>();
  h[0][0] = 1;
  if (count > 1) h[1][1] = 1;
  for (std::int64_t n = 2; n < count; ++n) {
    for (std::int64_t j = 0; j < count; ++j) {
      h[n][j] = (j > 0 ? h[n - 1][j - 1] : 0.0) - static_cast<double>(n - 1) * h[n - 2][j];
    }
  }
  double factorial = 1;
  for (std::int64_t n = 1; n < count; ++n) {
    factorial *= static_cast<double>(n);
    for (std::int64_t j = 0; j < count; ++j) h[n][j] /= std::sqrt(factorial);
  }
  return table;
}

// ReLU's expansion in them: E[ReLU(x) h_n(x)] for a standard normal x, n up to 4.
constexpr double kReluExpansion[] = {0.3989422804014327, 0.5, 0.28209479177387814, 0.0,
                                     -0.08143375198381997};

}  // namespace

PolyLayerImpl::PolyLayerImpl(const ActivationSettings& settings, const LayerOptions& options)
    : m_options(options),
      m_range(settings.range),
      m_count(static_cast<std::int64_t>(settings.coefficients.size())) {
  if (options.normalised && options.scaled) {
    throw std::invalid_argument("terms that are normalised need no scaling");
  }
  if (options.normalised && (m_count < 3 || m_count > 5)) {
    throw std::invalid_argument("terms can be normalised separately for degree 2 to 4 only");
  }
  torch::Tensor start = torch::tensor(settings.coefficients, torch::kDouble);
  if (options.normalised) {
    m_hermite = hermite(m_count);
    start = torch::tensor(std::vector<double>(kReluExpansion, kReluExpansion + m_count),
                          torch::kDouble);
    // A standard normal's moments, until there are better ones.
    torch::Tensor moments = torch::zeros({2 * m_count - 1}, torch::kDouble);
    double moment = 1;
    for (std::int64_t j = 0; j < 2 * m_count - 1; j += 2) {
      moments[j] = moment;
      moment *= static_cast<double>(j + 1);
    }
    m_means = register_buffer("means", moments);
  }
  if (options.scaled) m_scale = register_buffer("scale", torch::ones({}, torch::kDouble));
  if (options.trainable) {
    m_weights = register_parameter("coefficients", start);
  } else {
    m_weights = register_buffer("coefficients", start);
  }
}

torch::Tensor PolyLayerImpl::effective(const torch::Tensor& means, double scale) const {
  if (m_options.normalised) {
    const torch::Tensor h = m_hermite.to(m_weights.device());
    const torch::Tensor average = torch::mv(h, means.slice(0, 0, m_count));  // E[h_n]
    // E[h_n^2] from the means of powers: sum over i, j of h_ni h_nj E[x^(i + j)].
    std::vector<torch::Tensor> rows;
    for (std::int64_t i = 0; i < m_count; ++i) rows.push_back(means.slice(0, i, i + m_count));
    const torch::Tensor gram = torch::stack(rows);
    const torch::Tensor variance = (torch::mm(h, gram) * h).sum(1) - average * average;
    const torch::Tensor unit =
        m_weights.slice(0, 1) / torch::sqrt(variance.slice(0, 1).clamp_min(0) + kEpsilon);
    const torch::Tensor powers = torch::mv(h.slice(0, 1).t(), unit);
    const torch::Tensor constant = m_weights[0] - (unit * average.slice(0, 1)).sum();
    torch::Tensor shift = torch::zeros_like(powers);
    shift[0] = 1;
    return powers + shift * constant;
  }
  if (scale == 1) return m_weights;
  std::vector<double> factors;
  for (std::int64_t j = 0; j < m_count; ++j) {
    factors.push_back(std::pow(scale, 1.0 - static_cast<double>(j)));
  }
  return m_weights * torch::tensor(factors, torch::kDouble).to(m_weights.device());
}

torch::Tensor PolyLayerImpl::rounded(const torch::Tensor& coefficients) const {
  const double unit = std::ldexp(1.0, m_options.fractionBits);
  const torch::Tensor values = coefficients.detach();
  return coefficients + (torch::round(values * unit) / unit - values);
}

ActivationOutput PolyLayerImpl::forward(const torch::Tensor& x, const ActivationSettings& settings,
                                        ActivationStatistics* statistics, bool dynamic) {
  torch::Tensor means = m_means;
  if (m_options.normalised && is_training()) {
    means = powerMeans(x, settings.range, static_cast<int>(2 * m_count - 1)).to(m_means.device());
    const torch::NoGradGuard guard;
    m_means.lerp_(means.detach(), kMomentum);
  }
  double scale = this->scale();
  if (m_options.scaled && is_training() && dynamic) {
    const double largest = measure(x, settings.range).largest();
    if (std::isfinite(largest)) {
      const torch::NoGradGuard guard;
      const double now = std::max(kSmallestScale, largest / m_range);
      m_scale.mul_(1 - kMomentum).add_(kMomentum * now);
      scale = now;
    }
  }
  ActivationSettings own = settings;
  own.range *= scale;
  own.penaltyRange *= scale;
  return polyRelu(x, rounded(effective(means, scale)), own, statistics);
}

std::vector<std::int64_t> PolyLayerImpl::integers() const {
  const torch::NoGradGuard guard;
  const torch::Tensor exact =
      torch::round(effective(m_means, scale()) * std::ldexp(1.0, m_options.fractionBits))
          .to(torch::kCPU)
          .to(torch::kLong)
          .contiguous();
  return {exact.data_ptr<std::int64_t>(), exact.data_ptr<std::int64_t>() + exact.numel()};
}

double PolyLayerImpl::scale() const {
  return m_options.scaled ? m_scale.item<double>() : 1.0;
}

void PolyLayerImpl::setCoefficients(const std::vector<double>& coefficients) {
  if (m_options.normalised || static_cast<std::int64_t>(coefficients.size()) != m_count) {
    throw std::logic_error("these are not coefficients of this layer");
  }
  const torch::NoGradGuard guard;
  m_weights.copy_(torch::tensor(coefficients, torch::kDouble));
}

std::vector<double> fitToInputs(const torch::Tensor& input, int degree, double range) {
  if (degree < 1 || degree > 8 || !(range > 0)) {
    throw std::invalid_argument("ReLU can be fitted by polynomials of degree 1 to 8");
  }
  constexpr double kUniformShare = 0.1;
  // In units of the range, for the condition of the normal equations.
  torch::Tensor u =
      (input.detach().to(torch::kCPU).to(torch::kDouble).flatten() / range).clamp(-1, 1);
  u = u.masked_select(torch::isfinite(u));
  const torch::Tensor even = torch::linspace(-1, 1, 2001, torch::kDouble);
  const auto rowsOf = [&](const torch::Tensor& at) {
    std::vector<torch::Tensor> rows{torch::ones_like(at)};
    for (int j = 1; j <= degree; ++j) rows.push_back(rows.back() * at);
    return torch::stack(rows);
  };
  torch::Tensor gram = torch::zeros({degree + 1, degree + 1}, torch::kDouble);
  torch::Tensor right = torch::zeros({degree + 1}, torch::kDouble);
  const auto add = [&](const torch::Tensor& at, double share) {
    if (at.numel() == 0) return;
    const torch::Tensor rows = rowsOf(at);
    const double weight = share / static_cast<double>(at.numel());
    gram += weight * torch::mm(rows, rows.t());
    right += weight * torch::mv(rows, at.clamp_min(0));
  };
  add(u, 1 - kUniformShare);
  add(even, kUniformShare);
  const torch::Tensor solution = torch::linalg_solve(gram, right, /*left=*/true).contiguous();
  std::vector<double> result;
  for (int j = 0; j <= degree; ++j) {
    result.push_back(solution[j].item<double>() * std::pow(range, 1.0 - j));
  }
  return result;
}

}  // namespace pillarbox::pillar
