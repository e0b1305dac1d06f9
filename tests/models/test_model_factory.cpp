// The models that other tests build on: each loads, covers what its name says, and the paper's
// networks have the sizes that the paper gives.
#include <QTest>

#include "tests/support/model_factory.h"

using pillarbox::models::LoadedModel;
using pillarbox::models::OpKind;
using pillarbox::models::Stage;

class TestModelFactory : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void tinyModels_data();
  void tinyModels();
  void paperModels_data();
  void paperModels();
};

void TestModelFactory::tinyModels_data() {
  QTest::addColumn<QString>("name");
  for (const std::string& name : pillarbox::testing::tinyModelNames()) {
    QTest::newRow(name.c_str()) << QString::fromStdString(name);
  }
}

void TestModelFactory::tinyModels() {
  QFETCH(QString, name);
  const LoadedModel loaded = pillarbox::testing::makeTinyModel(name.toStdString());
  QVERIFY(validate(loaded.model).ok());
  QVERIFY(validate(loaded.model, loaded.weights).ok());
  QVERIFY(loaded.failure.total() > 0);
  QVERIFY(loaded.model.activationCount() < 5000);
  QCOMPARE(loaded.model.labels.size(), std::size_t{5});
}

void TestModelFactory::paperModels_data() {
  QTest::addColumn<QString>("name");
  QTest::addColumn<int>("stages");
  QTest::addColumn<int>("weighted");
  QTest::addColumn<qulonglong>("activations");
  // networks.md's table; "weighted" counts convolutions of shortcuts too.
  QTest::newRow("minionn") << "minionn" << 8 << 8 << 173056ULL;
  QTest::newRow("vgg16") << "vgg16" << 16 << 16 << 183808ULL;
  QTest::newRow("resnet18") << "resnet18" << 18 << 21 << 557056ULL;
  QTest::newRow("resnet32") << "resnet32" << 32 << 34 << 303104ULL;
  QTest::newRow("resnet110") << "resnet110" << 110 << 112 << 1048576ULL;
  QTest::newRow("resnet50") << "resnet50" << 50 << 54 << 9608704ULL;
}

void TestModelFactory::paperModels() {
  QFETCH(QString, name);
  QFETCH(int, stages);
  QFETCH(int, weighted);
  QFETCH(qulonglong, activations);
  const LoadedModel loaded = pillarbox::testing::makePaperModel(name.toStdString());
  QCOMPARE(static_cast<int>(loaded.model.stages.size()), stages);
  QCOMPARE(static_cast<int>(loaded.weights.weights.size()), weighted);
  QCOMPARE(static_cast<qulonglong>(loaded.model.activationCount()), activations);
  // The limits leave room, as their comment says.
  using pillarbox::models::Limits;
  QVERIFY(4 * serialize(loaded.model).size() < Limits::kMaxDescriptionBytes);
  QVERIFY(4 * loaded.model.weightCount() < Limits::kMaxWeights);
  std::uint64_t elements = 0;
  std::uint64_t multiplications = 0;
  for (const Stage& stage : loaded.model.stages) {
    for (const auto& op : stage.ops) {
      elements += op.out.size();
      QVERIFY(4 * op.out.size() < Limits::kMaxTensorElements);
      if (op.kind == OpKind::Convolution) {
        multiplications += op.weightCount() * op.out.height * op.out.width;
      }
    }
  }
  QVERIFY(4 * elements < Limits::kMaxTotalElements);
  QVERIFY(4 * multiplications < Limits::kMaxMultiplications);
  QVERIFY(multiplications > 1'000'000);
}

QTEST_GUILESS_MAIN(TestModelFactory)
#include "test_model_factory.moc"
