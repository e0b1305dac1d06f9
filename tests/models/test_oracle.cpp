// The plaintext oracles: the fixed-point one against sums written out from their definition, and
// against the float network within a stated tolerance.
#include <cmath>

#include <QElapsedTimer>
#include <QTest>

#include "engine/core/int128.h"
#include "models/oracle.h"
#include "tests/support/model_factory.h"
#include "tests/support/random_values.h"

using namespace pillarbox::models;
using pillarbox::I128;
using pillarbox::testing::RandomValues;

namespace {

using Integers = std::vector<std::int64_t>;

/// One op by definition: every product of every window, in 128 bits.
Integers byDefinition(const LinearOp& op, const std::vector<const Integers*>& in,
                      const ModelWeights& weights) {
  Integers out(op.out.size());
  const auto at = [&](const Integers& t, const Shape& s, std::uint32_t c, std::int64_t y,
                      std::int64_t x) -> I128 {
    if (y < 0 || x < 0 || y >= s.height || x >= s.width) return 0;
    return t[(std::size_t{c} * s.height + static_cast<std::size_t>(y)) * s.width +
             static_cast<std::size_t>(x)];
  };
  std::size_t index = 0;
  for (std::uint32_t c = 0; c < op.out.channels; ++c) {
    for (std::uint32_t y = 0; y < op.out.height; ++y) {
      for (std::uint32_t x = 0; x < op.out.width; ++x, ++index) {
        I128 sum = 0;
        switch (op.kind) {
          case OpKind::Combine:
            for (std::size_t i = 0; i < in.size(); ++i) {
              sum += I128{op.multipliers[i]} * (*in[i])[index];
            }
            break;
          case OpKind::FullyConnected:
            for (std::size_t i = 0; i < in[0]->size(); ++i) {
              sum += I128{weights.weights[op.weightIndex][c * in[0]->size() + i]} * (*in[0])[i];
            }
            break;
          default:
            for (std::uint32_t i = 0; i < op.in.channels; ++i) {
              if (op.kind == OpKind::SumPool && i != c) continue;
              for (std::uint32_t v = 0; v < op.kernelH; ++v) {
                for (std::uint32_t u = 0; u < op.kernelW; ++u) {
                  const std::int64_t row = std::int64_t{y} * op.strideH + v - op.padTop;
                  const std::int64_t column = std::int64_t{x} * op.strideW + u - op.padLeft;
                  I128 w = 1;
                  if (op.kind == OpKind::Convolution) {
                    w = weights.weights[op.weightIndex]
                                       [((std::size_t{c} * op.in.channels + i) * op.kernelH + v) *
                                            op.kernelW +
                                        u];
                  }
                  sum += w * at(*in[0], op.in, i, row, column);
                }
              }
            }
        }
        out[index] = static_cast<std::int64_t>(sum);
      }
    }
  }
  return out;
}

/// floor(a / 2^bits) without a shift of a negative number.
I128 floorDivide(I128 a, std::uint32_t bits) {
  const I128 unit = I128{1} << bits;
  const I128 quotient = a / unit;
  return quotient * unit > a ? quotient - 1 : quotient;
}

Integers wholeModelByDefinition(const PublicModel& model, const ModelWeights& weights,
                                const Integers& image) {
  std::vector<Integers> activations{image};
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    std::vector<Integers> values;
    for (std::uint32_t input : stage.inputs) values.push_back(activations[input]);
    for (const LinearOp& op : stage.ops) {
      std::vector<const Integers*> in;
      for (std::uint32_t input : op.inputs) in.push_back(&values[input]);
      values.push_back(byDefinition(op, in, weights));
    }
    Integers z = values.back();
    const std::size_t area = z.size() / stage.output.channels;
    for (std::size_t i = 0; i < z.size(); ++i) {
      const bool perChannel = weights.bias[s].size() == stage.output.channels;
      z[i] += weights.bias[s][perChannel ? i / area : i];
      z[i] = static_cast<std::int64_t>(floorDivide(z[i], stage.truncation));
      if (!stage.activation) continue;
      const Polynomial& p = *stage.activation;
      const std::uint32_t f = model.precisionBits;
      I128 sum = 0;
      for (std::uint32_t j = 0; j <= p.degree(); ++j) {
        I128 term = I128{p.coefficients[j]} * (I128{1} << (f * (p.degree() - j)));
        for (std::uint32_t k = 0; k < j; ++k) term *= z[i];
        sum += term;
      }
      z[i] = static_cast<std::int64_t>(floorDivide(sum, p.degree() * f + p.fractionBits - f));
    }
    activations.push_back(z);
  }
  return activations.back();
}

}  // namespace

class TestOracle : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void equalsItsDefinition_data();
  void equalsItsDefinition();
  void agreesWithTheFloatNetwork_data();
  void agreesWithTheFloatNetwork();
  void agreesOnThePapersNetworks_data();
  void agreesOnThePapersNetworks();
  void staysExactBeyondDoubles();
  void polynomialTruncatesDown();
  void countsWhatIsOutOfRange();
  void evaluatesManyImages();
  void speed();
};

void TestOracle::equalsItsDefinition_data() {
  QTest::addColumn<QString>("name");
  for (const std::string& name : pillarbox::testing::tinyModelNames()) {
    QTest::newRow(name.c_str()) << QString::fromStdString(name);
  }
}

void TestOracle::equalsItsDefinition() {
  QFETCH(QString, name);
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const LoadedModel loaded = pillarbox::testing::makeTinyModel(name.toStdString(), seed);
    const FixedPointOracle oracle(loaded.model, loaded.weights);
    const auto image = pillarbox::testing::randomImage(loaded.model.input, seed + 100);
    const Integers fixed = oracle.toFixed(image);
    QVERIFY(fixed != Integers(fixed.size(), 0));
    QCOMPARE(oracle.evaluate(image).logits,
             wholeModelByDefinition(loaded.model, loaded.weights, fixed));
  }
}

void TestOracle::agreesWithTheFloatNetwork_data() {
  equalsItsDefinition_data();
}

void TestOracle::agreesWithTheFloatNetwork() {
  QFETCH(QString, name);
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const LoadedModel loaded = pillarbox::testing::makeTinyModel(name.toStdString(), seed);
    const FixedPointOracle oracle(loaded.model, loaded.weights);
    const auto image = pillarbox::testing::randomImage(loaded.model.input, seed + 200);
    const FixedPointResult fixed = oracle.evaluate(image);
    const std::vector<double> real = evaluateFloat(loaded.graph, image);
    QCOMPARE(fixed.logits.size(), real.size());
    const double ulp = std::ldexp(1.0, -static_cast<int>(loaded.model.outputBits));
    // Weights are off by half a unit each, activations by one; a tiny network has at most a few
    // hundred terms a sum, whose errors add up like a random walk.
    const double tolerance = 40 * ulp;
    double spread = 0;
    for (std::size_t i = 0; i < real.size(); ++i) {
      const double difference = static_cast<double>(fixed.logits[i]) * ulp - real[i];
      QVERIFY2(std::abs(difference) < tolerance,
               qPrintable(QString("logit %1 is off by %2 ulp").arg(i).arg(difference / ulp)));
      spread = std::max(spread, std::abs(real[i] - real[0]));
    }
    QVERIFY(spread > 0.05);  // a network of zeros would agree with anything
    for (const StageStatistics& stage : fixed.stages) QVERIFY(stage.largest > 0.1);
    for (const StageStatistics& stage : fixed.stages) QVERIFY(stage.largest < 5.0);
  }
}

void TestOracle::agreesOnThePapersNetworks_data() {
  QTest::addColumn<QString>("name");
  QTest::addColumn<int>("degree");
  QTest::newRow("minionn, degree 4") << "minionn" << 4;
  QTest::newRow("minionn, degree 6") << "minionn" << 6;
  QTest::newRow("vgg16") << "vgg16" << 4;
  QTest::newRow("resnet18") << "resnet18" << 4;
  QTest::newRow("resnet32") << "resnet32" << 4;
  QTest::newRow("resnet110") << "resnet110" << 4;
}

void TestOracle::agreesOnThePapersNetworks() {
  QFETCH(QString, name);
  QFETCH(int, degree);
  const LoadedModel loaded =
      pillarbox::testing::makePaperModel(name.toStdString(), static_cast<std::uint32_t>(degree));
  const FixedPointOracle oracle(loaded.model, loaded.weights, loaded.range);
  const auto image = pillarbox::testing::randomImage(loaded.model.input, 7);
  const FixedPointResult fixed = oracle.evaluate(image);
  const std::vector<double> real = evaluateFloat(loaded.graph, image);
  double worst = 0;
  for (std::size_t i = 0; i < real.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(fixed.logits[i]) / 4096 - real[i]));
  }
  double largest = 0;
  std::uint64_t outOfRange = 0;
  for (const StageStatistics& stage : fixed.stages) {
    largest = std::max(largest, stage.largest);
    outOfRange += stage.outOfRange;
  }
  qInfo("worst logit error %.5f, largest |z| %.2f", worst, largest);
  QVERIFY(worst < 0.05);
  QVERIFY(largest > 1.0);
  // The fits say nothing beyond 5; a random network strays there at most rarely and not far.
  QVERIFY(largest < 6.0);
  QVERIFY(outOfRange * 20000 < loaded.model.activationCount());
}

void TestOracle::staysExactBeyondDoubles() {
  // Activations near 2^45 times weights near 2^22 need more than the 53 bits of a double.
  LoadedModel loaded = pillarbox::testing::makeTinyModel("conv_padded");
  for (auto& tensor : loaded.weights.weights) {
    for (std::int32_t& w : tensor) w = w * 512 + 1;
  }
  loaded.model.stages.resize(1);
  const FixedPointOracle oracle(loaded.model, loaded.weights);
  RandomValues random(3);
  Integers image(loaded.model.input.size());
  for (std::int64_t& v : image) v = static_cast<std::int64_t>(random.word()) >> 28;
  FixedPointTrace trace;
  static_cast<void>(oracle.evaluateFixed(image, &trace));
  Integers expected = byDefinition(loaded.model.stages[0].ops[0], {&image}, loaded.weights);
  const std::size_t area = expected.size() / loaded.weights.bias[0].size();
  std::int64_t largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] += loaded.weights.bias[0][i / area];
    largest = std::max(largest, std::abs(expected[i]));
  }
  QVERIFY(largest > (std::int64_t{1} << 54));
  QCOMPARE(trace.z[0], expected);
}

void TestOracle::polynomialTruncatesDown() {
  // p(x) = x^2 / 2 at four bits: 3/16 squared, halved, is 4.5/256 = 0.28/16, which floors to 0.
  const Polynomial half{1, {0, 0, 1}};
  QCOMPARE(evaluatePolynomial(half, 3, 4), std::int64_t{0});
  QCOMPARE(evaluatePolynomial(half, 8, 4), std::int64_t{2});
  const Polynomial negative{1, {0, 0, -1}};
  QCOMPARE(evaluatePolynomial(negative, 3, 4), std::int64_t{-1});
  // At the edges of a degree that uses most of the 128 bits.
  const Polynomial eighth{0, {0, 0, 0, 0, 0, 0, 0, 0, 1}};
  const std::int64_t five = std::int64_t{5} << 12;
  QCOMPARE(evaluatePolynomial(eighth, five, 12), std::int64_t{390625} << 12);
  QCOMPARE(evaluatePolynomial(eighth, -five, 12), std::int64_t{390625} << 12);
}

void TestOracle::countsWhatIsOutOfRange() {
  const LoadedModel loaded = pillarbox::testing::makeTinyModel("activation_of_the_image");
  const FixedPointOracle oracle(loaded.model, loaded.weights, 1.0);
  std::vector<float> image(loaded.model.input.size(), 0.5F);
  image[3] = 1.5F;
  image[40] = -1.25F;
  image[41] = 1.0F;
  const FixedPointResult result = oracle.evaluate(image);
  QCOMPARE(result.stages[0].outOfRange, std::uint64_t{2});
  QCOMPARE(result.stages[0].largest, 1.5);
}

void TestOracle::evaluatesManyImages() {
  const LoadedModel loaded = pillarbox::testing::makeTinyModel("identity_shortcut");
  const FixedPointOracle oracle(loaded.model, loaded.weights);
  std::vector<std::vector<float>> images;
  for (std::uint64_t i = 0; i < 9; ++i) {
    images.push_back(pillarbox::testing::randomImage(loaded.model.input, i));
  }
  const auto results = oracle.evaluateAll(images, 3);
  QCOMPARE(results.size(), images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    QCOMPARE(results[i].logits, oracle.evaluate(images[i]).logits);
  }
  QVERIFY(results[0].logits != results[1].logits);
  images[4].pop_back();
  QVERIFY_EXCEPTION_THROWN(static_cast<void>(oracle.evaluateAll(images, 3)), std::logic_error);
}

void TestOracle::speed() {
  const LoadedModel loaded = pillarbox::testing::makePaperModel("minionn");
  const FixedPointOracle oracle(loaded.model, loaded.weights);
  const auto image = pillarbox::testing::randomImage(loaded.model.input, 1);
  QBENCHMARK {
    static_cast<void>(oracle.evaluate(image));
  }
}

QTEST_GUILESS_MAIN(TestOracle)
#include "test_oracle.moc"
