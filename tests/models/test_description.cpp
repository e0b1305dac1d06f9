// The public description: bytes and back, identity, every rule of validate, hostile bytes.
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include <QTest>

#include "models/accuracy_bound.h"
#include "models/description.h"
#include "tests/support/model_factory.h"
#include "tests/support/random_values.h"

using namespace pillarbox::models;
using pillarbox::ErrorCode;
using pillarbox::testing::RandomValues;

namespace {

std::span<const std::byte> view(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// Two stages written by hand: a padded convolution with an identity shortcut, then a pooled fully
/// connected layer.
PublicModel handWritten() {
  PublicModel model;
  model.name = "hand";
  model.input = Shape{3, 6, 6};
  model.mean = {0.5F, 0.4F, 0.3F};
  model.std = {0.25F, 0.25F, 0.25F};
  model.labels = {"cat", "dog"};
  Stage first;
  first.name = "first";
  first.inputs = {0};
  LinearOp conv;
  conv.kind = OpKind::Convolution;
  conv.name = "conv";
  conv.inputs = {0};
  conv.in = conv.out = Shape{3, 6, 6};
  conv.kernelH = conv.kernelW = 3;
  conv.padTop = conv.padLeft = conv.padBottom = conv.padRight = 1;
  LinearOp sum;
  sum.kind = OpKind::Combine;
  sum.name = "sum";
  sum.inputs = {1, 0};
  sum.in = sum.out = Shape{3, 6, 6};
  sum.multipliers = {1, 4096};
  first.ops = {conv, sum};
  first.output = sum.out;
  first.activation = Polynomial{10, {322, 512, 160, 0, -3}};
  Stage last;
  last.name = "last";
  last.inputs = {1};
  LinearOp pool;
  pool.kind = OpKind::SumPool;
  pool.name = "pool";
  pool.inputs = {0};
  pool.in = Shape{3, 6, 6};
  pool.out = Shape{3, 3, 3};
  pool.kernelH = pool.kernelW = 2;
  pool.strideH = pool.strideW = 2;
  LinearOp dense;
  dense.kind = OpKind::FullyConnected;
  dense.name = "dense";
  dense.inputs = {1};
  dense.in = pool.out;
  dense.out = Shape{2, 1, 1};
  dense.weightIndex = 1;
  last.ops = {pool, dense};
  last.output = dense.out;
  last.truncation = 14;
  model.stages = {first, last};
  return model;
}

struct Damage {
  const char* name;
  ErrorCode code;
  const char* mentions;  ///< a part of the message
  std::function<void(PublicModel&)> apply;
};

const Damage kDamages[] = {
    {"input too large", ErrorCode::Exhausted, "input", [](auto& m) { m.input.height = 20000; }},
    {"input empty", ErrorCode::Exhausted, "input", [](auto& m) { m.input.channels = 0; }},
    {"precision", ErrorCode::Format, "precision", [](auto& m) { m.precisionBits = 25; }},
    {"precision too small", ErrorCode::Format, "precision", [](auto& m) { m.precisionBits = 3; }},
    {"output bits", ErrorCode::Format, "fraction bits", [](auto& m) { m.outputBits = 13; }},
    {"mean missing", ErrorCode::Format, "mean", [](auto& m) { m.mean.pop_back(); }},
    {"mean not finite", ErrorCode::Format, "mean",
     [](auto& m) { m.mean[0] = std::numeric_limits<float>::quiet_NaN(); }},
    {"std zero", ErrorCode::Format, "deviation", [](auto& m) { m.std[1] = 0; }},
    {"no stages", ErrorCode::Format, "stages", [](auto& m) { m.stages.clear(); }},
    {"labels", ErrorCode::Format, "labels", [](auto& m) { m.labels.push_back("bird"); }},
    {"empty label", ErrorCode::Format, "Label 2", [](auto& m) { m.labels[1].clear(); }},
    {"escape in a label", ErrorCode::Format, "Label 1", [](auto& m) { m.labels[0] = "\033[2J"; }},
    {"broken UTF-8", ErrorCode::Format, "Label 1", [](auto& m) { m.labels[0] = "\xC3("; }},
    {"overlong UTF-8", ErrorCode::Format, "Label 1", [](auto& m) { m.labels[0] = "\xC0\xAF"; }},
    {"text reversal", ErrorCode::Format, "Label 1",
     [](auto& m) { m.labels[0] = "\xE2\x80\xAEgod"; }},
    {"long label", ErrorCode::Format, "Label 1",
     [](auto& m) { m.labels[0] = std::string(257, 'x'); }},
    {"unknown kind", ErrorCode::Format, "kind",
     [](auto& m) { m.stages[0].ops[0].kind = static_cast<OpKind>(9); }},
    {"future activation", ErrorCode::Format, "activation 1",
     [](auto& m) {
       m.stages[0].inputs = {0, 1};
     }},
    {"input twice", ErrorCode::Format, "twice",
     [](auto& m) {
       m.stages[1].inputs = {1, 1};
     }},
    {"future value", ErrorCode::Format, "value 1",
     [](auto& m) { m.stages[0].ops[0].inputs = {1}; }},
    {"huge value", ErrorCode::Format, "value",
     [](auto& m) { m.stages[0].ops[0].inputs = {4000000000U}; }},
    {"unused activation", ErrorCode::Format, "uses activation 1",
     [](auto& m) { m.stages[1].inputs = {0}; }},
    {"unused value", ErrorCode::Format, "nothing uses",
     [](auto& m) {
       m.stages[0].ops[1].inputs = {0, 0};
     }},
    {"wrong input shape", ErrorCode::Format, "conv",
     [](auto& m) { m.stages[0].ops[0].in.height = 7; }},
    {"wrong output shape", ErrorCode::Format, "conv",
     [](auto& m) { m.stages[0].ops[0].out.width = 5; }},
    {"stride zero", ErrorCode::Format, "stride", [](auto& m) { m.stages[0].ops[0].strideH = 0; }},
    {"kernel huge", ErrorCode::Format, "kernel",
     [](auto& m) { m.stages[0].ops[0].kernelW = 0xFFFFFFFFU; }},
    {"padding huge", ErrorCode::Format, "padding",
     [](auto& m) { m.stages[0].ops[0].padTop = 0xFFFFFFFFU; }},
    {"padding as large as the kernel", ErrorCode::Format, "padding",
     [](auto& m) { m.stages[0].ops[0].padLeft = 3; }},
    {"pool changes channels", ErrorCode::Format, "channels",
     [](auto& m) { m.stages[1].ops[0].out.channels = 4; }},
    {"dense with a height", ErrorCode::Format, "fully connected",
     [](auto& m) {
       m.stages[1].ops[1].out = Shape{1, 2, 1};
     }},
    {"dense with a kernel", ErrorCode::Format, "kernel",
     [](auto& m) { m.stages[1].ops[1].kernelH = 2; }},
    {"multiplier missing", ErrorCode::Format, "multiplier",
     [](auto& m) { m.stages[0].ops[1].multipliers.pop_back(); }},
    {"multiplier zero", ErrorCode::Format, "multiplier",
     [](auto& m) { m.stages[0].ops[1].multipliers[0] = 0; }},
    {"multiplier huge", ErrorCode::Format, "multiplier",
     [](auto& m) { m.stages[0].ops[1].multipliers[0] = std::numeric_limits<std::int64_t>::min(); }},
    {"multiplier elsewhere", ErrorCode::Format, "multipliers",
     [](auto& m) { m.stages[0].ops[0].multipliers = {1}; }},
    {"two inputs of a convolution", ErrorCode::Format, "one input",
     [](auto& m) {
       m.stages[0].ops[0].inputs = {0, 0};
     }},
    {"weight index", ErrorCode::Format, "numbered",
     [](auto& m) { m.stages[1].ops[1].weightIndex = 0; }},
    {"weight index without weights", ErrorCode::Format, "weight index",
     [](auto& m) { m.stages[1].ops[0].weightIndex = 1; }},
    {"weights after weights", ErrorCode::Format, "without an activation",
     [](auto& m) {
       LinearOp again = m.stages[0].ops[0];
       again.inputs = {2};
       again.weightIndex = 1;
       m.stages[0].ops.push_back(again);
       m.stages[1].ops[1].weightIndex = 2;
     }},
    {"stated output", ErrorCode::Format, "states the output",
     [](auto& m) { m.stages[0].output.channels = 2; }},
    {"truncation too small", ErrorCode::Format, "truncation",
     [](auto& m) { m.stages[0].truncation = 3; }},
    {"truncation too large", ErrorCode::Format, "truncation",
     [](auto& m) { m.stages[0].truncation = 41; }},
    {"no activation", ErrorCode::Format, "no activation",
     [](auto& m) { m.stages[0].activation.reset(); }},
    {"activation at the end", ErrorCode::Format, "last stage",
     [](auto& m) { m.stages[1].activation = m.stages[0].activation; }},
    {"odd degree", ErrorCode::Format, "degree",
     [](auto& m) { m.stages[0].activation->coefficients.pop_back(); }},
    {"degree ten", ErrorCode::Format, "degree",
     [](auto& m) { m.stages[0].activation->coefficients.resize(11, 1); }},
    {"no coefficients", ErrorCode::Format, "degree",
     [](auto& m) { m.stages[0].activation->coefficients.clear(); }},
    {"huge coefficient", ErrorCode::Format, "coefficient",
     [](auto& m) {
       m.stages[0].activation->coefficients[2] = std::numeric_limits<std::int64_t>::min();
     }},
    {"coefficient bits", ErrorCode::Format, "fraction bits",
     [](auto& m) { m.stages[0].activation->fractionBits = 33; }},
    {"more than 128 bits", ErrorCode::Format, "128-bit",
     [](auto& m) {
       m.precisionBits = 14;
       m.stages[0].activation->coefficients.resize(9, 1);
     }},
    {"too many inputs", ErrorCode::Format, "inputs",
     [](auto& m) { m.stages[0].ops[1].inputs.assign(65, 0); }},
    {"too many ops", ErrorCode::Exhausted, "ops",
     [](auto& m) { m.stages[0].ops.resize(257, m.stages[0].ops[1]); }},
    {"too much work", ErrorCode::Exhausted, "multiplications",
     [](auto& m) {
       m.input = Shape{4096, 64, 64};
       m.mean.assign(4096, 0.0F);
       m.std.assign(4096, 1.0F);
       m.stages[0].ops[0].in = m.input;
       m.stages[0].ops[0].out = m.input;
     }},
    {"too many weights", ErrorCode::Exhausted, "weights",
     [](auto& m) {
       m.input = Shape{1, 4096, 4096};
       m.mean = {0.0F};
       m.std = {1.0F};
       LinearOp& conv = m.stages[0].ops[0];
       conv = LinearOp();
       conv.kind = OpKind::FullyConnected;
       conv.inputs = {0};
       conv.in = m.input;
       conv.out = Shape{17, 1, 1};
     }},
};

}  // namespace

class TestDescription : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void roundTrips_data();
  void roundTrips();
  void bytesAreStable();
  void hashFollowsEveryField();
  void refusesDamage_data();
  void refusesDamage();
  void refusesOtherBytes();
  void checksWeights();
  void failureBound();
  void hostileBytes();
};

void TestDescription::roundTrips_data() {
  QTest::addColumn<QString>("name");
  QTest::newRow("hand") << "";
  for (const std::string& name : pillarbox::testing::tinyModelNames()) {
    QTest::newRow(name.c_str()) << QString::fromStdString(name);
  }
}

void TestDescription::roundTrips() {
  QFETCH(QString, name);
  const PublicModel model =
      name.isEmpty() ? handWritten() : pillarbox::testing::makeTinyModel(name.toStdString()).model;
  const std::string bytes = serialize(model);
  const auto parsed = parsePublicModel(view(bytes));
  QVERIFY2(parsed.ok(), parsed.ok() ? "" : parsed.error().message.c_str());
  QVERIFY(*parsed == model);
  QCOMPARE(serialize(*parsed), bytes);
  QCOMPARE(modelHash(*parsed), modelHash(model));
}

void TestDescription::bytesAreStable() {
  // The identity of a model must not change with a release of this program or of Protocol Buffers.
  // Found with `protoc --encode` and `sha256sum` from a transcript of the model above.
  const PublicModel model = handWritten();
  QCOMPARE(serialize(model).size(), std::size_t{279});
  QCOMPARE(toHex(modelHash(model)),
           std::string("848abf5d6f058893887d14b8d07271833a94bb0333797e9dfd676645bcfb9f55"));
}

void TestDescription::hashFollowsEveryField() {
  const PublicModel base = handWritten();
  std::set<Sha256> hashes{modelHash(base)};
  const auto differs = [&](const std::function<void(PublicModel&)>& change) {
    PublicModel model = handWritten();
    change(model);
    return hashes.insert(modelHash(model)).second;
  };
  QVERIFY(differs([](auto& m) { m.name = "other"; }));
  QVERIFY(differs([](auto& m) { m.mean[2] = 0.31F; }));
  QVERIFY(differs([](auto& m) { m.std[0] = 0.26F; }));
  QVERIFY(differs([](auto& m) { m.precisionBits = 11; }));
  QVERIFY(differs([](auto& m) { m.outputBits = 8; }));
  QVERIFY(differs([](auto& m) { m.labels[1] = "bird"; }));
  QVERIFY(differs([](auto& m) { m.stages[0].name = "x"; }));
  QVERIFY(differs([](auto& m) { m.stages[0].truncation = 13; }));
  QVERIFY(differs([](auto& m) { m.stages[0].activation->coefficients[3] = 1; }));
  QVERIFY(differs([](auto& m) { m.stages[0].activation->fractionBits = 11; }));
  QVERIFY(differs([](auto& m) { m.stages[0].ops[1].multipliers[1] = 2048; }));
  QVERIFY(differs([](auto& m) { m.stages[0].ops[0].padTop = 2; }));
  QVERIFY(differs([](auto& m) { m.stages[0].ops[0].strideW = 2; }));
  QVERIFY(differs([](auto& m) { m.stages[1].ops[0].kernelH = 3; }));
  QVERIFY(differs([](auto& m) { m.stages[1].ops[1].out.channels = 3; }));
}

void TestDescription::refusesDamage_data() {
  QTest::addColumn<int>("index");
  int index = 0;
  for (const Damage& damage : kDamages) QTest::newRow(damage.name) << index++;
}

void TestDescription::refusesDamage() {
  QFETCH(int, index);
  const Damage& damage = kDamages[index];
  PublicModel model = handWritten();
  QVERIFY(validate(model).ok());
  damage.apply(model);
  const auto status = validate(model);
  QVERIFY(!status.ok());
  QVERIFY2(status.error().message.find(damage.mentions) != std::string::npos,
           status.error().message.c_str());
  QVERIFY2(status.error().code == damage.code, status.error().message.c_str());
  // The same on bytes (texts that are no UTF-8 fail in the wire format already).
  QVERIFY(!parsePublicModel(view(serialize(model))).ok());
}

void TestDescription::refusesOtherBytes() {
  const std::string bytes = serialize(handWritten());
  QCOMPARE(parsePublicModel({}).error().code, ErrorCode::Version);
  std::string newer = bytes;
  newer[1] = 2;  // the version comes first
  QCOMPARE(parsePublicModel(view(newer)).error().code, ErrorCode::Version);
  // An unknown field, a field given twice: read the same, hashed differently, so refused.
  QCOMPARE(parsePublicModel(view(bytes + std::string("\xF8\x01\x01", 3))).error().code,
           ErrorCode::Format);
  QCOMPARE(parsePublicModel(view(bytes + std::string("\x08\x01", 2))).error().code,
           ErrorCode::Format);
  // A number written longer than necessary.
  QCOMPARE(parsePublicModel(view(std::string("\x08\x81\x00", 3) + bytes.substr(2))).error().code,
           ErrorCode::Format);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    QVERIFY(!parsePublicModel(view(bytes.substr(0, length))).ok());
  }
  QCOMPARE(parsePublicModel(view(std::string(Limits::kMaxDescriptionBytes + 1, '\0'))).error().code,
           ErrorCode::Exhausted);
}

void TestDescription::checksWeights() {
  const LoadedModel loaded = pillarbox::testing::makeTinyModel("projection_shortcut");
  const auto refused = [&](const std::function<void(ModelWeights&)>& change) {
    ModelWeights weights = loaded.weights;
    change(weights);
    return !validate(loaded.model, weights).ok();
  };
  QVERIFY(validate(loaded.model, loaded.weights).ok());
  QVERIFY(refused([](auto& w) { w.weights.pop_back(); }));
  QVERIFY(refused([](auto& w) { w.weights.emplace_back(); }));
  QVERIFY(refused([](auto& w) { w.weights[2].pop_back(); }));
  QVERIFY(refused([](auto& w) { w.bias.pop_back(); }));
  QVERIFY(refused([](auto& w) { w.bias[1].push_back(0); }));
}

void TestDescription::failureBound() {
  // One stage of n elements by hand: n * 10 * 2^(24-64), the polynomial's part, and what is lifted
  // from 56 bits: the image, the openings and the activations.
  PublicModel model = handWritten();
  const FailureBound bound = truncationFailureBound(model, 10);
  const double n = 108;
  const double logits = 2 * 128.0 * std::ldexp(1.0, 26 - 64);
  QVERIFY(std::abs(bound.linear / (n * 10 * std::ldexp(1.0, -40) + logits) - 1) < 1e-9);
  // |p(x)| is largest where 512 + 320 x - 12 x^3 = 0, at x = 5.823: 6.77 (and 8.05 at 10 is less
  // than |p(-10)| = 18.36).
  const double largest = std::abs(322 - 5120 + 16000 - 30000) / 1024.0;
  QVERIFY(std::abs(bound.polynomial / (n * largest * std::ldexp(1.0, 58 - 128)) - 1) < 1e-9);
  const double lifted = static_cast<double>(model.input.size()) * 16 + n * (10 + largest);
  QVERIFY(std::abs(bound.opening / (lifted * std::ldexp(1.0, 12 - 55)) - 1) < 1e-9);
  QVERIFY(bound.total() < kMaxTruncationFailure);
  model.stages[0].truncation = 40;
  QVERIFY(truncationFailureBound(model, 10).total() > kMaxTruncationFailure);
}

void TestDescription::hostileBytes() {
  RandomValues random(2024);
  std::vector<std::string> seeds{serialize(handWritten())};
  for (const char* name : {"projection_shortcut", "pooled_shortcut", "degree_8"}) {
    seeds.push_back(serialize(pillarbox::testing::makeTinyModel(name).model));
  }
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = seeds[random.below(seeds.size())];
    const std::uint64_t changes = 1 + random.below(4);
    for (std::uint64_t i = 0; i < changes; ++i) {
      const std::size_t at = random.below(bytes.size());
      switch (random.below(5)) {
        case 0:
          bytes[at] = static_cast<char>(random.word());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
          break;
        case 2:
          bytes.erase(at, 1 + random.below(8));
          break;
        case 3:
          bytes.insert(at, bytes.substr(random.below(bytes.size()), random.below(30)));
          break;
        default:
          bytes.insert(at, 1 + random.below(9), static_cast<char>(random.word()));
          break;
      }
      if (bytes.empty()) bytes.assign(1, 'x');
    }
    const auto parsed = parsePublicModel(view(bytes));
    if (parsed.ok()) {
      // What is accepted is valid and canonical; many single changes (a label's letter) are.
      ++accepted;
      QVERIFY(validate(*parsed).ok());
      QCOMPARE(serialize(*parsed), bytes);
    } else {
      QVERIFY(!parsed.error().message.empty());
    }
  }
  QVERIFY(accepted > 0);
  QVERIFY(accepted < 10000);
}

QTEST_GUILESS_MAIN(TestDescription)
#include "test_description.moc"
