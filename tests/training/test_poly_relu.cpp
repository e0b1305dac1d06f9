// The fused activation against the composition of tensor operations that LibTorch differentiates,
// and against finite differences.
#include <cmath>
#include <limits>

#include "models/pillar/poly_relu.h"
#include "tests/training/expect.h"

namespace {

using namespace pillarbox::pillar;

struct Gradients {
  torch::Tensor value, dx;
  double penalty = 0;
};

Gradients differentiate(const torch::Tensor& input, const ActivationSettings& settings,
                        const torch::Tensor& dy, double penaltyWeight, bool fused,
                        ActivationStatistics* statistics = nullptr) {
  torch::Tensor x = input.detach().clone(at::MemoryFormat::Preserve).requires_grad_();
  const auto out = fused ? polyRelu(x, settings, statistics) : polyReluReference(x, settings);
  ((out.value * dy).sum() + out.penalty * penaltyWeight).backward();
  return {out.value.detach(), x.grad(), out.penalty.item<double>()};
}

// A spread of inputs: most in range, some far outside, exactly on the edges, and zero.
torch::Tensor inputs(at::MemoryFormat format) {
  torch::manual_seed(7);
  torch::Tensor x = torch::randn({3, 5, 17, 19}) * 3;
  const std::vector<float> special{0.0F, 5.0F, -5.0F, 4.8F, 14.4F, -14.4F, 20.0F, -40.0F, 1000.0F};
  torch::Tensor flat = x.view(-1);
  for (std::size_t i = 0; i < special.size(); ++i) {
    flat[static_cast<std::int64_t>(i * 37)] = special[i];
  }
  return x.contiguous(format);
}

void matchesReference() {
  for (const bool channelsLast : {false, true}) {
    const auto format =
        channelsLast ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    const torch::Tensor x = inputs(format);
    const torch::Tensor dy = torch::randn_like(x);
    for (const bool clip : {false, true}) {
      for (int degree = 2; degree <= 8; ++degree) {
        ActivationSettings settings;
        settings.clip = clip;
        settings.coefficients.assign(static_cast<std::size_t>(degree) + 1, 0);
        for (int i = 0; i <= degree; ++i) {
          settings.coefficients[static_cast<std::size_t>(i)] =
              (i % 2 ? 0.4 : -0.3) / (1 + i * i * i);
        }
        for (const int exponent : {0, 2, 4, 6, 8, 10, 12, 14, 16}) {
          settings.penaltyExponent = exponent;
          // Small, so that the penalty's slope far outside does not drown the polynomial's.
          const double weight = std::pow(3.0, -exponent);
          const auto a = differentiate(x, settings, dy, weight, true);
          const auto b = differentiate(x, settings, dy, weight, false);
          EXPECT(torch::allclose(a.value, b.value, 1e-4, 1e-4));
          EXPECT(torch::allclose(a.dx, b.dx, 1e-4, 1e-4));
          EXPECT(std::abs(a.penalty - b.penalty) <= 1e-4 * std::abs(b.penalty));
        }
      }
    }
  }
}

void knownValues() {
  const ActivationSettings settings;
  const torch::Tensor x = torch::tensor({0.0F, 5.0F, 9.0F, -5.0F, 1.0F});
  const auto out = polyRelu(x, settings);
  const double atFive = (322 + 512 * 5 + 160 * 25 - 3 * 625) / 1024.0;
  EXPECT(std::abs(out.value[0].item<double>() - 322 / 1024.0) < 1e-6);
  EXPECT(std::abs(out.value[1].item<double>() - atFive) < 1e-5);
  EXPECT(std::abs(out.value[2].item<double>() - atFive) < 1e-5);  // clipped
  EXPECT(std::abs(out.value[4].item<double>() - (322 + 512 + 160 - 3) / 1024.0) < 1e-6);
  double penalty = 0;
  for (const double v : {5.0, 9.0, 5.0, 1.0}) penalty += std::pow(v / 4.8, 10);
  EXPECT(std::abs(out.penalty.item<double>() / penalty - 1) < 1e-5);  // a sum, before the clamp
}

void finiteDifferences() {
  ActivationSettings settings;
  for (const double at : {-4.7, -2.0, -0.1, 0.3, 1.9, 4.9}) {
    const auto f = [&](double v) {
      double y = 0;
      for (std::size_t j = settings.coefficients.size(); j-- > 0;)
        y = y * v + settings.coefficients[j];
      return 2 * y + 0.5 * std::pow(v / settings.penaltyRange, 10);
    };
    constexpr double kStep = 1e-5;
    const double expected = (f(at + kStep) - f(at - kStep)) / (2 * kStep);
    const auto g = differentiate(torch::full({3}, at), settings, torch::full({3}, 2.0), 0.5, true);
    EXPECT(std::abs(g.dx[1].item<double>() - expected) < 1e-4 * std::max(1.0, std::abs(expected)));
  }
}

void huge() {
  // The penalty of absurd inputs stays finite and so does its slope.
  const torch::Tensor x = torch::tensor({1e3F, -1e6F, 1e9F});
  const auto g = differentiate(x, {}, torch::ones({3}), 1.0, true);
  EXPECT(std::isfinite(g.penalty));
  EXPECT(torch::isfinite(g.dx).all().item<bool>());
  const double slope = 10 * std::pow(kPenaltyKnee, 9) / 4.8;
  EXPECT(std::abs(g.dx[0].item<double>() / slope - 1) < 1e-4);
  EXPECT(std::abs(g.dx[1].item<double>() / -slope - 1) < 1e-4);
}

void statistics() {
  torch::Tensor x = torch::zeros({100000});
  x[5] = 5.0F;      // on the edge: in range
  x[70] = -6.5F;    // outside
  x[99999] = 5.1F;  // outside
  ActivationStatistics seen;
  polyRelu(x, {}, &seen);
  EXPECT_EQUAL(seen.count(), 100000);
  EXPECT_EQUAL(seen.outOfRange(), 2);
  EXPECT_EQUAL(seen.largest(), 6.5F);
  x[1] = std::numeric_limits<float>::quiet_NaN();
  const auto again = measure(x, 5.0);
  EXPECT_EQUAL(again.outOfRange(), 3);
  EXPECT(std::isinf(again.largest()));
}

void statisticsByPart() {
  torch::Tensor x = torch::randn({6, 5, 7, 3}) * 3;
  x[2][1][1][1] = std::numeric_limits<float>::infinity();
  for (const torch::Tensor& t :
       {x, x.contiguous(at::MemoryFormat::ChannelsLast), x.transpose(0, 2)}) {
    const auto each = measureEach(t, 5);
    EXPECT_EQUAL(static_cast<std::int64_t>(each.size()), t.size(0));
    ActivationStatistics all;
    for (std::size_t i = 0; i < each.size(); ++i) {
      const torch::Tensor part = t[static_cast<std::int64_t>(i)].abs();
      EXPECT_EQUAL(each[i].count(), part.numel());
      EXPECT_EQUAL(each[i].outOfRange(), (part > 5).sum().item<std::int64_t>());
      EXPECT_EQUAL(each[i].largest(), part.max().item<float>());
      all.add(each[i]);
    }
    EXPECT_EQUAL(all.count(), x.numel());
    EXPECT(std::isinf(all.largest()) && all.outOfRange() == (x.abs() > 5).sum().item<int>());
  }
}

// The GPU's kernels, where there are a GPU and a build for it, against tensor operations there.
void matchesReferenceOnGpu() {
  if (!torch::cuda::is_available()) {
    std::cout << "SKIP no CUDA device here, or none that this LibTorch can use\n";
    return;
  }
  if (!isFused(torch::empty({1}, torch::kCUDA))) {
    std::cout << "SKIP this build has no kernels for the activation\n";
    return;
  }
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const double relative = type == torch::kFloat ? 1e-4 : 1.0 / 128;
    const double absolute = type == torch::kFloat ? 1e-4 : 2e-3;
    const auto near = [&](const torch::Tensor& a, const torch::Tensor& b) {
      return torch::allclose(a.to(torch::kFloat), b.to(torch::kFloat), relative, absolute);
    };
    for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      const torch::Tensor x = inputs(format).to(torch::kCUDA).to(type);
      const torch::Tensor dy = torch::randn_like(x);
      for (int degree = 1; degree <= 8; ++degree) {
        for (const int exponent : {0, 2, 10, 16}) {
          ActivationSettings settings;
          settings.clip = degree % 2 == 0;
          settings.penaltyExponent = exponent;
          settings.coefficients.assign(static_cast<std::size_t>(degree) + 1, 0);
          for (int i = 0; i <= degree; ++i) {
            settings.coefficients[static_cast<std::size_t>(i)] =
                (i % 2 ? 0.4 : -0.3) / (1 + i * i * i);
          }
          const double weight = std::pow(3.0, -exponent);
          ActivationStatistics seen;
          const auto a = differentiate(x, settings, dy, weight, true, &seen);
          const auto b = differentiate(x, settings, dy, weight, false);
          EXPECT(near(a.value, b.value));
          EXPECT(near(a.dx, b.dx));
          EXPECT(std::abs(a.penalty - b.penalty) <= 1e-4 * std::abs(b.penalty));
          const auto onCpu = measure(x.to(torch::kCPU).to(torch::kFloat), settings.range);
          EXPECT_EQUAL(seen.count(), onCpu.count());
          EXPECT_EQUAL(seen.outOfRange(), onCpu.outOfRange());
          EXPECT_EQUAL(seen.largest(), onCpu.largest());
          // A part of a tensor that begins between two multiples of 16 bytes.
          const torch::Tensor all = x.flatten().detach().clone().requires_grad_();
          const torch::Tensor some = dy.flatten().slice(0, 3, 1004);
          const auto part = polyRelu(all.slice(0, 1, 1002), settings);
          ((part.value * some).sum() + part.penalty * weight).backward();
          const auto whole =
              differentiate(all.slice(0, 1, 1002), settings, some.contiguous(), weight, false);
          EXPECT(near(part.value, whole.value));
          EXPECT(near(all.grad().slice(0, 1, 1002), whole.dx));
          // Coefficients that are trained.
          torch::Tensor in = x.detach().clone().requires_grad_();
          torch::Tensor c = torch::tensor(settings.coefficients, torch::kDouble).to(torch::kCUDA);
          c.requires_grad_();
          const auto out = polyRelu(in, c, settings);
          ((out.value * dy).sum() + out.penalty * weight).backward();
          const auto fixed = differentiate(x, settings, dy, weight, true);
          EXPECT(torch::equal(out.value, fixed.value) && torch::equal(in.grad(), fixed.dx));
          const double limit =
              settings.clip ? settings.range : std::numeric_limits<double>::infinity();
          const torch::Tensor v = x.to(torch::kDouble).clamp(-limit, limit);
          for (int j = 0; j <= degree; ++j) {
            const torch::Tensor terms = dy.to(torch::kDouble) * v.pow(j);
            EXPECT((c.grad()[j] - terms.sum()).abs().item<double>() <=
                   1e-4 * terms.abs().sum().item<double>());
          }
        }
      }
      torch::Tensor in = x.detach().clone().requires_grad_();
      const torch::Tensor means = powerMeans(in, 3, 5);
      const torch::Tensor weights =
          torch::tensor({0.5, -1.0, 0.25, 0.125, -0.0625}, torch::kDouble).to(torch::kCUDA);
      (means * weights).sum().backward();
      torch::Tensor twin = x.detach().to(torch::kCPU).to(torch::kFloat).requires_grad_();
      const torch::Tensor others = powerMeans(twin, 3, 5);
      (others * weights.to(torch::kCPU)).sum().backward();
      EXPECT(near(means.detach().to(torch::kCPU), others.detach()));
      const double scale = static_cast<double>(x.numel());
      EXPECT(near(in.grad().to(torch::kCPU).to(torch::kFloat) * scale, twin.grad() * scale));
      const auto each = measureEach(x, 5);
      for (std::size_t i = 0; i < each.size(); ++i) {
        const auto part = measure(x[static_cast<std::int64_t>(i)].to(torch::kCPU), 5);
        EXPECT_EQUAL(each[i].outOfRange(), part.outOfRange());
        EXPECT_EQUAL(each[i].largest(), part.largest());
      }
    }
  }
}

void threadsDoNotMatter() {
  const torch::Tensor x = torch::randn({64, 32, 32, 32}) * 4;
  at::set_num_threads(1);
  const auto one = polyRelu(x, {});
  at::set_num_threads(3);
  const auto three = polyRelu(x, {});
  EXPECT(torch::equal(one.value, three.value));
  EXPECT_EQUAL(one.penalty.item<float>(), three.penalty.item<float>());
}

void warmup() {
  const PenaltyStrength final{10, 5e-5};
  const int exponents[] = {4, 6, 8, 10, 10, 10};
  const double divisors[] = {100, 50, 10, 5, 1, 1};
  for (int epoch = 0; epoch < 6; ++epoch) {
    EXPECT_EQUAL(penaltyAt(epoch, final).exponent, exponents[epoch]);
    EXPECT(std::abs(penaltyAt(epoch, final).coefficient * divisors[epoch] / 5e-5 - 1) < 1e-12);
  }
}

void refusesNonsense() {
  for (int i = 0; i < 3; ++i) {
    ActivationSettings settings;
    if (i == 0) settings.penaltyExponent = 3;
    if (i == 1) settings.coefficients = {1};
    if (i == 2) settings.range = 0;
    bool thrown = false;
    try {
      polyRelu(torch::zeros({1}), settings);
    } catch (const std::invalid_argument&) {
      thrown = true;
    }
    EXPECT(thrown);
  }
}

}  // namespace

int main() {
  at::set_num_threads(2);
  return pillarbox::test::run({{"fused pass matches autograd", matchesReference},
                               {"known values", knownValues},
                               {"finite differences", finiteDifferences},
                               {"huge inputs", huge},
                               {"statistics", statistics},
                               {"statistics by part", statisticsByPart},
                               {"the GPU's pass matches autograd there", matchesReferenceOnGpu},
                               {"same with any number of threads", threadsDoNotMatter},
                               {"penalty warm-up", warmup},
                               {"refuses nonsense", refusesNonsense}});
}
