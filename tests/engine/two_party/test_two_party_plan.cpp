// The planner of the two-party linear phase, on plain polynomials: requests, weights and replies as
// the plan places them, multiplied by the definition in Z_2^64[X]/(X^n + 1), against the slow
// reference on the tensors.
#include <algorithm>
#include <ctime>
#include <set>

#include <QTest>

#include "engine/bench/networks.h"
#include "engine/offline/two_party/plan.h"
#include "engine/ring/reference.h"
#include "tests/engine/two_party/two_party_ops.h"
#include "tests/support/random_words.h"

using namespace pillarbox;
using offline::two_party::CiphertextSizes;
using offline::two_party::LinearPlan;
using offline::two_party::Pass;
using offline::two_party::Tile;
using testing::convolution;
using testing::fullyConnected;

namespace {

/// What client and engine do together, without encryption.
std::vector<std::uint64_t> evaluate(const LinearPlan& plan, std::span<const std::uint64_t> input,
                                    std::span<const std::uint64_t> weights) {
  const std::size_t n = plan.sizes().degree;
  std::vector<std::uint64_t> output(plan.op().out.size());
  std::vector<std::uint32_t> seen(output.size(), 0);
  std::uint64_t requests = 0, replyBytes = 0;
  for (const Pass& pass : plan.passes()) {
    for (const Tile& tile : pass.tiles) {
      std::vector<std::vector<std::uint64_t>> request(pass.groups, std::vector<std::uint64_t>(n));
      for (std::uint32_t group = 0; group < pass.groups; ++group) {
        plan.gather(pass, tile, group, input, request[group]);
        ++requests;
      }
      for (std::uint32_t block = 0; block < pass.blocks; ++block) {
        std::vector<std::uint64_t> reply(n, 0);
        for (std::uint32_t leaf = 0; leaf < pass.leavesOf(block); ++leaf) {
          std::vector<std::uint64_t> product(n, 0);
          for (std::uint32_t group = 0; group < pass.groups; ++group) {
            const std::size_t from = ((block << pass.levels) + leaf) * plan.weightsPerLeaf(pass);
            std::vector<std::uint64_t> polynomial(n, 0);
            for (const auto& entry : plan.weightEntries(pass, group)) {
              const std::size_t source = from + entry.source;
              const std::uint64_t weight = source < weights.size() ? weights[source] : 0;
              polynomial[entry.index] = entry.negative ? 0 - weight : weight;
            }
            for (std::size_t i = 0; i < n; ++i) {
              if (polynomial[i] == 0) continue;
              for (std::size_t j = 0; j < n; ++j) {
                const std::uint64_t term = polynomial[i] * request[group][j];
                product[(i + j) % n] += i + j < n ? term : 0 - term;
              }
            }
          }
          // What the automorphisms leave: the multiples of g, moved to the leaf's place.
          for (std::size_t i = 0; i < n; i += pass.channels) {
            reply[i + leaf * (pass.channels >> pass.levels)] += product[i];
          }
        }
        const auto wanted = plan.outputEntries(pass, tile, block);
        if (wanted.size() != plan.outputCount(pass, tile, block)) return {};
        replyBytes += plan.replyBytes(wanted.size());
        for (const auto& entry : wanted) {
          output[entry.element] = entry.negative ? 0 - reply[entry.index] : reply[entry.index];
          ++seen[entry.element];
        }
      }
    }
  }
  if (std::any_of(seen.begin(), seen.end(), [](std::uint32_t times) { return times != 1; })) {
    return {};
  }
  if (requests * plan.sizes().requestBytes != plan.requestBytes()) return {};
  if (replyBytes != plan.replyBytes()) return {};
  return output;
}

std::string text(const LinearPlan& plan) {
  std::string result = bench::shapeText(plan.op()) + ":";
  for (const Pass& pass : plan.passes()) {
    result += " [P " + std::to_string(pass.positions) + " g " + std::to_string(pass.channels) +
              " m " + std::to_string(pass.outputs) + " k " + std::to_string(pass.levels) +
              " groups " + std::to_string(pass.groups) + " blocks " + std::to_string(pass.blocks) +
              " tiles " + std::to_string(pass.tiles.size()) + "]";
  }
  const auto& cost = plan.cost();
  return result + " request " + std::to_string(plan.requestBytes()) + " reply " +
         std::to_string(plan.replyBytes()) + " transforms " + std::to_string(cost.transforms) +
         " products " + std::to_string(cost.products) + " key switches " +
         std::to_string(cost.keySwitches);
}

CiphertextSizes sizesOf(std::uint32_t degree) {
  CiphertextSizes sizes;
  sizes.degree = degree;
  sizes.requestBytes = degree * 138 / 8 + 32;
  sizes.replyFixedBytes = degree * 74 / 8;
  sizes.replyBits = {37, 37};
  return sizes;
}

}  // namespace

class TestTwoPartyPlan : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

  void check(const models::LinearOp& op, std::uint32_t degree) {
    const auto plan = LinearPlan::make(op, sizesOf(degree));
    QVERIFY2(plan.ok(), plan.ok() ? "" : plan.error().message.c_str());
    const auto input = m_data.words(op.in.size());
    const auto weights = m_data.words(op.weightCount());
    const auto expected = op.kind == models::OpKind::Convolution
                              ? ring::reference::convolution(op, input, weights)
                              : ring::reference::fullyConnected(op, input, weights);
    const bool equal = evaluate(*plan, input, weights) == expected;
    QVERIFY2(equal, (text(*plan) + " degree " + std::to_string(degree)).c_str());
  }

 private Q_SLOTS:
  void shapes_data() {
    QTest::addColumn<std::uint32_t>("degree");
    for (const std::uint32_t degree : {32U, 64U, 256U, 1024U}) {
      QTest::newRow(std::to_string(degree).c_str()) << degree;
    }
  }

  void shapes() {
    QFETCH(std::uint32_t, degree);
    // Chosen ones: the corners of the geometry.
    check(convolution({1, 1, 1}, 1, 3, 3, 1, 1, {1, 1, 1, 1}), degree);
    check(convolution({3, 2, 9}, 5, 3, 3, 1, 1, {1, 1, 1, 1}), degree);
    check(convolution({2, 9, 1}, 3, 3, 1, 2, 1, {1, 0, 1, 0}), degree);
    check(convolution({5, 8, 8}, 7, 1, 1, 2, 2, {0, 0, 0, 0}), degree);
    check(convolution({3, 11, 13}, 4, 5, 7, 3, 2, {2, 3, 2, 3}), degree);
    check(convolution({1, 2, 2}, 2, 2, 2, 1, 1, {2, 2, 2, 2}), degree);  // outputs of padding only
    check(convolution({2, 40, 5}, 3, 3, 3, 1, 1, {1, 1, 1, 1}), degree);
    check(convolution({2, 3, 60}, 3, 3, 3, 1, 1, {1, 1, 1, 1}), degree);  // strips of columns
    check(fullyConnected({1, 1, 1}, 1), degree);
    check(fullyConnected({37, 1, 1}, 5), degree);
    check(fullyConnected({4, 5, 5}, 130), degree);
    check(fullyConnected({150, 1, 1}, 3), degree);
  }

  void randomShapes() {
    for (int round = 0; round < 150; ++round) {
      const auto number = [&](int low, int high) {
        return static_cast<std::uint32_t>(m_data.between(low, high));
      };
      const std::uint32_t degree = 1U << number(5, 8);
      const std::uint32_t kernelH = number(1, 4), kernelW = number(1, 4);
      const models::Shape in{number(1, 12), number(kernelH, 14), number(kernelW, 14)};
      const auto op = convolution(in, number(1, 12), kernelH, kernelW, number(1, 3), number(1, 3),
                                  {number(0, 3), number(0, 3), number(0, 3), number(0, 3)});
      if (const auto plan = LinearPlan::make(op, sizesOf(degree)); !plan.ok()) {
        QVERIFY(kernelH * kernelW * 2 > degree / 2);
        continue;
      }
      check(op, degree);
      if (QTest::currentTestFailed()) return;
    }
  }

  void mergesInARowAreLimited() {
    auto sizes = sizesOf(8192);
    sizes.requestBytes = std::uint64_t{1} << 30;  // as few requests as possible, so much to merge
    const auto plan = LinearPlan::make(fullyConnected({4096, 1, 1}, 8192), sizes);
    QVERIFY(plan.ok());
    QCOMPARE(plan->cost().levels, offline::two_party::kMaxLevels);
  }

  void aKernelThatDoesNotFitIsRefused() {
    const auto op = convolution({1, 20, 20}, 1, 12, 12, 1, 1, {0, 0, 0, 0});
    const auto plan = LinearPlan::make(op, sizesOf(32));
    QVERIFY(!plan.ok());
    QCOMPARE(plan.error().code, ErrorCode::Unsupported);
  }

  /// A description may come from the other side: planning the largest tensors must not take long.
  void hugeLayersArePlannedQuickly() {
    const std::clock_t start = std::clock();  // of this process, however busy the machine is
    QVERIFY(
        LinearPlan::make(convolution({1, 4096, 4096}, 1, 1, 1, 1, 1, {0, 0, 0, 0}), sizesOf(8192))
            .ok());
    QVERIFY(LinearPlan::make(convolution({1024, 128, 128}, 1024, 1, 1, 1, 1, {0, 0, 0, 0}),
                             sizesOf(8192))
                .ok());
    // Polynomials that small would be 131,072 and more.
    const auto refused =
        LinearPlan::make(convolution({1, 2048, 2048}, 1, 1, 1, 1, 1, {0, 0, 0, 0}), sizesOf(32));
    QVERIFY(!refused.ok());
    QCOMPARE(refused.error().code, ErrorCode::Unsupported);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    QVERIFY2(seconds < 10, qPrintable(QString::number(seconds)));
  }

  void networksStayWithinTheirBytes() {
    for (const std::string name : {"minionn", "vgg16", "resnet18"}) {
      const models::LoadedModel network = bench::randomNetwork(name).value();
      std::uint64_t request = 0, reply = 0;
      LinearPlan::Cost sum;
      for (const bench::Layer& layer : bench::layersOf(network.model)) {
        const auto plan = LinearPlan::make(layer.op, sizesOf(8192));
        QVERIFY2(plan.ok(), plan.ok() ? "" : plan.error().message.c_str());
        request += layer.count * plan->requestBytes();
        reply += layer.count * plan->replyBytes();
        sum.transforms += layer.count * plan->cost().transforms;
        sum.products += layer.count * plan->cost().products;
        sum.keySwitches += layer.count * plan->cost().keySwitches;
      }
      qInfo("%s: %.1f MB + %.1f MB, %.0f transforms, %.0f products, %.0f key switches",
            name.c_str(), static_cast<double>(request) / 1e6, static_cast<double>(reply) / 1e6,
            static_cast<double>(sum.transforms), static_cast<double>(sum.products),
            static_cast<double>(sum.keySwitches));
      if (name == "resnet18") QVERIFY(request + reply < 80'000'000);
    }
  }
};

QTEST_APPLESS_MAIN(TestTwoPartyPlan)
#include "test_two_party_plan.moc"
