// The models that are shipped with the program: each loads, is what it says, and loses nothing by
// fixed point. With PILLARBOX_TEST_IMAGES set to a zip of `test/<class>/<file>` images of the
// model's classes, also how many it classifies right in floats and in fixed point.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include <QImage>
#include <QTest>
#include <zip.h>

#include "models/onnx_reader.h"
#include "models/oracle.h"
#include "models/preprocess.h"
#include "tests/support/model_factory.h"

using namespace pillarbox::models;

namespace {

constexpr std::size_t kImages = 200;

std::vector<std::filesystem::path> shippedModels() {
  std::vector<std::filesystem::path> paths;
  const std::filesystem::path zoo = std::filesystem::path(PILLARBOX_SOURCE_DIR) / "models" / "zoo";
  for (const auto& entry : std::filesystem::directory_iterator(zoo)) {
    if (entry.path().extension() == ".onnx") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

LoadedModel load(const QString& path) {
  auto loaded = loadOnnx(std::filesystem::path(path.toStdString()));
  if (!loaded.ok()) throw std::runtime_error(loaded.error().message);
  return std::move(loaded).value();
}

struct Labelled {
  std::size_t label = 0;
  std::vector<float> image;
};

/// Every n-th image below test/ in the zip, so that about `count` come from all classes alike.
std::vector<Labelled> imagesFrom(const QByteArray& path, const PublicModel& model,
                                 std::size_t count) {
  std::unique_ptr<zip_t, decltype(&zip_discard)> archive(
      zip_open(path.constData(), ZIP_RDONLY, nullptr), &zip_discard);
  if (!archive) throw std::runtime_error("cannot open the zip");
  std::map<std::string, std::uint64_t> entries;  // sorted by name, whatever the zip's order
  const zip_int64_t total = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < total; ++i) {
    const char* name = zip_get_name(archive.get(), static_cast<zip_uint64_t>(i), 0);
    const std::string text = name == nullptr ? "" : name;
    if (text.rfind("test/", 0) == 0 && text.back() != '/') {
      entries[text] = static_cast<std::uint64_t>(i);
    }
  }
  std::vector<Labelled> images;
  const std::size_t step = std::max<std::size_t>(1, entries.size() / count);
  std::size_t position = 0;
  for (const auto& [name, index] : entries) {
    if (position++ % step != 0) continue;
    const std::string label = name.substr(5, name.find('/', 5) - 5);
    const auto found = std::find(model.labels.begin(), model.labels.end(), label);
    if (found == model.labels.end()) throw std::runtime_error("the model has no class " + label);
    zip_stat_t stat;
    zip_stat_index(archive.get(), index, 0, &stat);
    QByteArray bytes(static_cast<qsizetype>(stat.size), '\0');
    std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(
        zip_fopen_index(archive.get(), index, 0), &zip_fclose);
    if (!file || zip_fread(file.get(), bytes.data(), stat.size) != bytes.size()) {
      throw std::runtime_error("cannot read " + name);
    }
    const QImage image = QImage::fromData(bytes).convertToFormat(QImage::Format_RGB888);
    Labelled labelled;
    labelled.label = static_cast<std::size_t>(found - model.labels.begin());
    labelled.image =
        preprocess(RgbImage{image.constBits(), static_cast<std::uint32_t>(image.width()),
                            static_cast<std::uint32_t>(image.height()),
                            static_cast<std::size_t>(image.bytesPerLine())},
                   model)
            .value();
    images.push_back(std::move(labelled));
  }
  return images;
}

}  // namespace

class TestZoo : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void loads_data();
  void loads();
  void fixedPointLosesNothing_data();
  void fixedPointLosesNothing();
  void accuracy_data();
  void accuracy();
};

void TestZoo::loads_data() {
  QTest::addColumn<QString>("path");
  const auto paths = shippedModels();
  QVERIFY2(!paths.empty(), "no model is shipped in models/zoo");
  for (const auto& path : paths) {
    QTest::newRow(path.filename().c_str()) << QString::fromStdString(path.string());
  }
}

void TestZoo::loads() {
  QFETCH(QString, path);
  const LoadedModel loaded = load(path);
  QVERIFY(loaded.failure.total() < kMaxTruncationFailure);
  QVERIFY(!loaded.training.empty());
  QVERIFY(loaded.model.labels.size() >= 2);
  // Every activation is the one polynomial that the metadata state.
  for (const Stage& stage : loaded.model.stages) {
    if (!stage.activation) continue;
    QVERIFY(stage.activation == loaded.model.stages[0].activation);
  }
  const std::string bytes = serialize(loaded.model);
  const auto parsed = parsePublicModel(std::as_bytes(std::span(bytes)));
  QVERIFY(parsed.ok());
  QVERIFY(*parsed == loaded.model);
}

void TestZoo::fixedPointLosesNothing_data() {
  loads_data();
}

void TestZoo::fixedPointLosesNothing() {
  QFETCH(QString, path);
  const LoadedModel loaded = load(path);
  const FixedPointOracle oracle(loaded.model, loaded.weights, loaded.range);
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    // Noise is no picture, but dim noise keeps activations where they were trained to be.
    std::vector<float> image = pillarbox::testing::randomImage(loaded.model.input, seed);
    for (float& v : image) v *= 0.5F;
    const FixedPointResult fixed = oracle.evaluate(image);
    const std::vector<double> real = evaluateFloat(loaded.graph, image);
    for (std::size_t i = 0; i < real.size(); ++i) {
      const double logit = std::ldexp(static_cast<double>(fixed.logits[i]),
                                      -static_cast<int>(loaded.model.outputBits));
      QVERIFY2(std::abs(logit - real[i]) < 0.1,
               qPrintable(QString("%1 instead of %2").arg(logit).arg(real[i])));
    }
  }
}

void TestZoo::accuracy_data() {
  loads_data();
}

void TestZoo::accuracy() {
  QFETCH(QString, path);
  const QByteArray zip = qgetenv("PILLARBOX_TEST_IMAGES");
  if (zip.isEmpty()) QSKIP("PILLARBOX_TEST_IMAGES names no zip of test images");
  const LoadedModel loaded = load(path);
  const std::vector<Labelled> images = imagesFrom(zip, loaded.model, kImages);
  QVERIFY(images.size() >= kImages);
  const FixedPointOracle oracle(loaded.model, loaded.weights, loaded.range);
  std::size_t rightInFloats = 0;
  std::size_t rightInFixedPoint = 0;
  std::size_t same = 0;
  std::uint64_t outOfRange = 0;
  for (const Labelled& labelled : images) {
    const FixedPointResult fixed = oracle.evaluate(labelled.image);
    const std::size_t chosen = largestIndex(std::span<const std::int64_t>(fixed.logits));
    const std::vector<double> real = evaluateFloat(loaded.graph, labelled.image);
    const std::size_t wanted = largestIndex(std::span<const double>(real));
    rightInFloats += wanted == labelled.label;
    rightInFixedPoint += chosen == labelled.label;
    same += wanted == chosen;
    for (const StageStatistics& stage : fixed.stages) outOfRange += stage.outOfRange;
  }
  const auto count = static_cast<double>(images.size());
  qInfo(
      "%zu images: right in floats %.1f %%, in fixed point %.1f %%; %.2e of activations out of "
      "range",
      images.size(), 100.0 * static_cast<double>(rightInFloats) / count,
      100.0 * static_cast<double>(rightInFixedPoint) / count,
      static_cast<double>(outOfRange) /
          (count * static_cast<double>(loaded.model.activationCount())));
  QVERIFY(static_cast<double>(same) >= 0.98 * count);
  QVERIFY(static_cast<double>(rightInFixedPoint) >=
          2.0 * count / static_cast<double>(loaded.model.labels.size()));
}

QTEST_GUILESS_MAIN(TestZoo)
#include "test_zoo.moc"
