// Dealt correlation sets: the relations between the two halves, exactly, and what each party sees.
#include <cmath>
#include <deque>
#include <set>

#include <QTest>

#include "engine/kernels/stage.h"
#include "engine/offline/dealing.h"
#include "engine/ring/fixed_point.h"
#include "engine/ring/narrow.h"
#include "tests/support/random_words.h"
#include "tests/support/taylor_shift.h"

using namespace pillarbox;
using models::LinearOp;
using models::OpKind;
using offline::WideWeights;

namespace {

/// A stream between two parties in one thread.
struct Pipe {
  std::deque<std::uint64_t> words;
  std::uint64_t total = 0;
  offline::WordSink sink() {
    return [this](std::span<const std::uint64_t> piece) -> Status {
      words.insert(words.end(), piece.begin(), piece.end());
      total += piece.size();
      return {};
    };
  }
  offline::WordSource source() {
    return [this](std::span<std::uint64_t> piece) -> Status {
      if (words.size() < piece.size()) return Error{ErrorCode::Closed, "the stream ended early"};
      for (auto& word : piece) {
        word = words.front();
        words.pop_front();
      }
      return {};
    };
  }
};

LinearOp weighted(std::uint32_t index, std::vector<std::uint32_t> inputs, models::Shape in,
                  std::uint32_t outC, std::uint32_t kernel, std::uint32_t stride) {
  LinearOp op;
  op.kind = OpKind::Convolution;
  op.name = "conv" + std::to_string(index);
  op.inputs = std::move(inputs);
  op.in = in;
  op.kernelH = op.kernelW = kernel;
  op.strideH = op.strideW = stride;
  op.padTop = op.padLeft = op.padBottom = op.padRight = kernel / 2;
  op.out = {outC, (in.height + 2 * (kernel / 2) - kernel) / stride + 1,
            (in.width + 2 * (kernel / 2) - kernel) / stride + 1};
  op.weightIndex = index;
  return op;
}

/// Stem, residual block with projection, block with identity shortcut, pooled classifier.
models::PublicModel residualModel() {
  models::PublicModel model;
  model.name = "residual";
  model.input = {3, 8, 8};
  model.mean = model.std = {0.5F, 0.5F, 0.5F};
  model.labels = {"a", "b", "c"};
  const models::Polynomial polynomial{10, {322, 512, 160, 0, -3}};
  const auto add = [&](std::string name, std::vector<std::uint32_t> inputs,
                       std::vector<LinearOp> ops, bool activated) {
    models::Stage stage;
    stage.name = std::move(name);
    stage.inputs = std::move(inputs);
    stage.output = ops.back().out;
    stage.ops = std::move(ops);
    if (activated) stage.activation = polynomial;
    model.stages.push_back(std::move(stage));
  };
  add("stem", {0}, {weighted(0, {0}, model.input, 4, 3, 1)}, true);
  add("a1", {1}, {weighted(1, {0}, {4, 8, 8}, 6, 3, 2)}, true);
  LinearOp sum;
  sum.kind = OpKind::Combine;
  sum.name = "sum";
  sum.inputs = {2, 3};
  sum.in = sum.out = {6, 4, 4};
  sum.multipliers = {1, 1};
  add("a2", {2, 1},
      {weighted(2, {0}, {6, 4, 4}, 6, 3, 1), weighted(3, {1}, {4, 8, 8}, 6, 1, 2), sum}, true);
  add("b1", {3}, {weighted(4, {0}, {6, 4, 4}, 6, 3, 1)}, true);
  sum.inputs = {2, 1};
  sum.multipliers = {1, 4096};
  add("b2", {4, 3}, {weighted(5, {0}, {6, 4, 4}, 6, 3, 1), sum}, true);
  LinearOp pool = weighted(0, {0}, {6, 4, 4}, 6, 4, 1);
  pool.kind = OpKind::SumPool;
  pool.padTop = pool.padLeft = pool.padBottom = pool.padRight = 0;
  pool.out = {6, 1, 1};
  LinearOp fc;
  fc.kind = OpKind::FullyConnected;
  fc.name = "fc";
  fc.inputs = {1};
  fc.in = {6, 1, 1};
  fc.out = {3, 1, 1};
  fc.weightIndex = 6;
  add("fc", {5}, {pool, fc}, false);
  model.stages.back().truncation = 16;
  return model;
}

models::ModelWeights randomWeights(const models::PublicModel& model, testing::RandomWords& data) {
  models::ModelWeights weights;
  weights.weights.resize(7);
  for (const auto& stage : model.stages) {
    for (const auto& op : stage.ops) {
      if (!op.hasWeights()) continue;
      auto& tensor = weights.weights[op.weightIndex];
      tensor.resize(op.weightCount());
      for (auto& w : tensor) w = static_cast<std::int32_t>(data.between(-4096, 4096));
    }
    weights.bias.emplace_back(stage.output.channels, 0);
  }
  return weights;
}

struct Sets {
  offline::ClientSet client;
  offline::EngineSet engine;
  std::vector<std::uint64_t> corrections, openings;
};

Sets deal(const models::PublicModel& model, const models::ModelWeights& weights, bool firstParty,
          const random::Seed& maskSeed, const random::Seed& clientSeed,
          const random::Seed& engineSeed, const offline::CorrelationPlan& plan = {}) {
  Pipe toClient, toEngine;
  const WideWeights mask =
      firstParty ? WideWeights::plain(model, weights) : WideWeights::expand(model, maskSeed);
  const WideWeights masked = WideWeights::masked(model, weights, maskSeed);
  if (!offline::dealSet(model, mask, clientSeed, engineSeed, toClient.sink(), plan).ok()) throw 1;
  Sets sets;
  sets.corrections.assign(toClient.words.begin(), toClient.words.end());
  sets.client = offline::assembleClientSet(model, firstParty ? nullptr : &masked, 5, clientSeed,
                                           toClient.source(), toEngine.sink(), plan)
                    .value();
  sets.openings.assign(toEngine.words.begin(), toEngine.words.end());
  sets.engine = offline::assembleEngineSet(model, 5, engineSeed, toEngine.source(), plan).value();
  if (!toClient.words.empty() || !toEngine.words.empty()) throw 2;
  return sets;
}

/// Two sums of products of three factors of the client's and two of the engine's, at every stage.
offline::CorrelationPlan productPlan(const models::PublicModel& model, bool derived) {
  offline::ProductPlan products;
  products.clientFactors = 3;
  products.engineFactors = 2;
  products.sums = {{{0, 1}}, {{1, 0}, {2, 1}}};
  if (derived) {
    products.derive = [](std::uint32_t factor, std::span<const std::uint64_t> share,
                         std::span<std::uint64_t> out) {
      for (std::size_t i = 0; i < share.size(); ++i) out[i] = (factor + 2) * share[i] * share[i];
    };
  }
  offline::CorrelationPlan plan;
  plan.protocol = derived ? offline::Protocol::Espn : offline::Protocol::Horner;
  for (const models::Stage& stage : model.stages) {
    if (stage.activation) plan.products.push_back(products);
  }
  return plan;
}

double chiSquare16(std::span<const std::uint64_t> words, int shift) {
  std::array<double, 16> counts{};
  for (const std::uint64_t word : words) ++counts[(word >> shift) & 15];
  const double expected = static_cast<double>(words.size()) / 16;
  double sum = 0;
  for (const double count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

}  // namespace

class TestDealing : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

 private Q_SLOTS:
  void halvesSatisfyTheirRelations_data() {
    QTest::addColumn<bool>("firstParty");
    QTest::newRow("dealer") << false;
    QTest::newRow("first party") << true;
  }
  void halvesSatisfyTheirRelations() {
    QFETCH(bool, firstParty);
    const auto model = residualModel();
    QVERIFY2(models::validate(model).ok(), models::validate(model).error().message.c_str());
    const auto weights = randomWeights(model, m_data);
    const Sets sets = deal(model, weights, firstParty, m_data.seed(), m_data.seed(), m_data.seed());
    QCOMPARE(sets.client.index, std::uint64_t{5});
    QVERIFY(!sets.client.integerMasks && !sets.engine.integerMasks);
    for (const std::uint64_t mask : sets.client.inputMask) QCOMPARE(mask, ring::narrow(mask));
    for (const auto& stage : sets.client.stages) {
      for (const std::uint64_t mask : stage.mask) QCOMPARE(mask, ring::narrow(mask));
    }
    QCOMPARE(sets.engine.index, std::uint64_t{5});
    QCOMPARE(sets.client.stages.size() + 1, model.stages.size());
    QCOMPARE(sets.engine.stages.size(), model.stages.size());

    const auto packed = kernels::packWeights(model.stages, weights.weights);
    kernels::Workspace workspace;
    for (std::size_t s = 0; s < model.stages.size(); ++s) {
      const models::Stage& stage = model.stages[s];
      // z0 = L_W(r) − s, from the definition.
      std::vector<std::span<const std::uint64_t>> inputs;
      for (const std::uint32_t input : stage.inputs) {
        inputs.emplace_back(input == 0 ? sets.client.inputMask
                                       : sets.client.stages[input - 1].mask);
      }
      std::vector<std::uint64_t> z0(stage.output.size());
      kernels::applyStage(stage, inputs, packed, workspace, z0);
      for (std::size_t i = 0; i < z0.size(); ++i) z0[i] -= sets.engine.stages[s].outputMask[i];
      ring::truncateClient(z0, stage.truncation);
      if (!stage.activation) {
        QVERIFY(std::equal(z0.begin(), z0.end(), sets.client.logitShare.begin()));
        QVERIFY(sets.engine.stages[s].openingMask.empty());
        continue;
      }
      const auto& client = sets.client.stages[s].coefficients;
      const auto& engine = sets.engine.stages[s].coefficients;
      QCOMPARE(client.size(), std::size_t{4});
      QCOMPARE(engine.size(), std::size_t{4});
      for (std::size_t i = 0; i < z0.size(); ++i) {
        // λ is a signed 56-bit integer, and the opening mask is z0' − λ in as many bits.
        const std::uint64_t lambda = ring::narrow(z0[i] - sets.engine.stages[s].openingMask[i]);
        const auto expected = testing::taylorShift(
            *stage.activation, model.precisionBits,
            static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(lambda))));
        for (std::size_t k = 0; k < 4; ++k) {
          QVERIFY(client[k][i] + engine[k][i] == expected[k]);
        }
      }
    }
  }

  // Shares of products (engine/offline/products.h): with factors that are uniform, and with factors
  // that follow from the client's share, which the dealer does not learn.
  void productsSatisfyTheirRelations_data() {
    QTest::addColumn<bool>("derived");
    QTest::newRow("uniform factors") << false;
    QTest::newRow("factors from the share") << true;
  }
  void productsSatisfyTheirRelations() {
    QFETCH(bool, derived);
    const auto model = residualModel();
    const auto weights = randomWeights(model, m_data);
    offline::CorrelationPlan plan = productPlan(model, derived);
    const Sets sets =
        deal(model, weights, false, m_data.seed(), m_data.seed(), m_data.seed(), plan);
    QCOMPARE(sets.client.protocol, plan.protocol);
    QCOMPARE(sets.engine.protocol, plan.protocol);
    const offline::OfflineCost cost = offline::offlineCost(model, plan);
    QCOMPARE(cost.correctionWords, sets.corrections.size());
    QCOMPARE(cost.clientWords, sets.openings.size());
    QCOMPARE(cost.clientMemoryBytes, sets.client.memoryBytes());
    QCOMPARE(cost.engineMemoryBytes, sets.engine.memoryBytes());
    for (std::size_t s = 0; s < sets.client.stages.size(); ++s) {
      const offline::ClientStage& client = sets.client.stages[s];
      const offline::EngineStage& engine = sets.engine.stages[s];
      const std::size_t n = model.stages[s].output.size();
      QCOMPARE(client.share.size(), n);
      QCOMPARE(client.products.factors.size(), derived ? std::size_t{0} : std::size_t{3});
      QCOMPARE(engine.products.factors.size(), std::size_t{2});
      std::vector<SecureVector<std::uint64_t>> factors = client.products.factors;
      for (std::uint32_t f = 0; derived && f < 3; ++f) {
        plan.products[s].derive(f, client.share, factors.emplace_back(n));
      }
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t k = 0; k < 2; ++k) {
          std::uint64_t exact = 0;
          for (const auto& term : plan.products[s].sums[k]) {
            exact += factors[term.client][i] * engine.products.factors[term.engine][i];
          }
          QCOMPARE(client.products.sums[k][i] + engine.products.sums[k][i], exact);
        }
      }
    }
    for (const auto* view : {&sets.corrections, &sets.openings}) {
      if (view->empty()) continue;
      QVERIFY(chiSquare16(*view, 0) < 60);
      QVERIFY(chiSquare16(*view, 60) < 60);
    }
    QVERIFY(derived || sets.openings.empty());
  }

  void costsAreAsDeclared() {
    const auto model = residualModel();
    const auto weights = randomWeights(model, m_data);
    const Sets sets = deal(model, weights, false, m_data.seed(), m_data.seed(), m_data.seed());
    const offline::OfflineCost cost = offline::offlineCost(model);
    QCOMPARE(cost.correctionWords, sets.corrections.size());
    QCOMPARE(cost.clientWords, sets.openings.size());
    QCOMPARE(cost.clientMemoryBytes, sets.client.memoryBytes());
    QCOMPARE(cost.engineMemoryBytes, sets.engine.memoryBytes());
  }

  // Even for weights that are all zero, everything that travels looks uniform to its receiver.
  void viewsAreUniform() {
    const auto model = residualModel();
    auto weights = randomWeights(model, m_data);
    for (auto& tensor : weights.weights) std::fill(tensor.begin(), tensor.end(), 0);
    std::vector<std::uint64_t> published, corrections, openings;
    for (int repeat = 0; repeat < 12; ++repeat) {
      const random::Seed maskSeed = m_data.seed();
      const auto status = WideWeights::masked(model, weights, maskSeed)
                              .toWords([&](std::span<const std::uint64_t> words) -> Status {
                                published.insert(published.end(), words.begin(), words.end());
                                return {};
                              });
      QVERIFY(status.ok());
      const Sets sets = deal(model, weights, false, maskSeed, m_data.seed(), m_data.seed());
      corrections.insert(corrections.end(), sets.corrections.begin(), sets.corrections.end());
      openings.insert(openings.end(), sets.openings.begin(), sets.openings.end());
    }
    for (const auto* view : {&published, &corrections, &openings}) {
      QVERIFY(view->size() > 5000);
      QVERIFY(chiSquare16(*view, 0) < 60);
      QVERIFY(chiSquare16(*view, 60) < 60);
      const std::set<std::uint64_t> distinct(view->begin(), view->end());
      QVERIFY(distinct.size() + 2 > view->size());
    }
  }

  // No two tensors of a set share a stream, and no two sets share anything.
  void masksAreNeverRepeated() {
    const auto model = residualModel();
    const auto weights = randomWeights(model, m_data);
    std::set<std::uint64_t> seen;
    std::size_t total = 0;
    const auto look = [&](std::span<const std::uint64_t> words) {
      seen.insert(words.begin(), words.end());
      total += words.size();
    };
    for (int repeat = 0; repeat < 2; ++repeat) {
      const Sets sets = deal(model, weights, false, m_data.seed(), m_data.seed(), m_data.seed());
      look(sets.client.inputMask);
      for (const auto& stage : sets.client.stages) look(stage.mask);
      for (const auto& stage : sets.engine.stages) look(stage.outputMask);
      for (const auto& stage : sets.engine.stages) {
        for (const auto& tensor : stage.coefficients) {
          look({reinterpret_cast<const std::uint64_t*>(tensor.data()), 2 * tensor.size()});
        }
      }
    }
    QCOMPARE(seen.size(), total);
  }

  void anEarlyEndIsAnError() {
    const auto model = residualModel();
    const auto weights = randomWeights(model, m_data);
    const random::Seed seed = m_data.seed(), clientSeed = m_data.seed(), engineSeed = m_data.seed();
    Pipe full;
    QVERIFY(offline::dealSet(model, WideWeights::expand(model, seed), clientSeed, engineSeed,
                             full.sink())
                .ok());
    const auto masked = WideWeights::masked(model, weights, seed);
    for (const std::size_t keep : {std::size_t{0}, std::size_t{100}, full.words.size() - 1}) {
      Pipe cut, toEngine;
      cut.words.assign(full.words.begin(), full.words.begin() + static_cast<std::ptrdiff_t>(keep));
      const auto set =
          offline::assembleClientSet(model, &masked, 0, clientSeed, cut.source(), toEngine.sink());
      QVERIFY(!set.ok());
      QCOMPARE(set.error().code, ErrorCode::Closed);
    }
  }
};

QTEST_GUILESS_MAIN(TestDealing)
#include "test_dealing.moc"
