// pillarbox-cli against real services: its output is an interface for scripts, so keys and types
// are checked one by one.

#include <set>

#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QImage>
#include <QTest>
#include <nlohmann/json.hpp>
#include <zip.h>

#include "engine/inference/executor.h"
#include "models/onnx_reader.h"
#include "models/oracle.h"
#include "models/preprocess.h"
#include "tests/support/service_rig.h"

using namespace pillarbox;
using namespace pillarbox::testing;
using Json = nlohmann::json;

namespace {

constexpr std::uint64_t kStartInferenceBytes = 35;

models::LoadedModel smallModel() {
  const std::string bytes = smallModelFile();
  return models::loadOnnx(std::as_bytes(std::span(bytes)), "small").value();
}

/// The class that the oracle gives to an image file of the model's size.
std::size_t oracleClass(const models::LoadedModel& loaded, const QString& file) {
  const QImage image = QImage(file).convertToFormat(QImage::Format_RGB888);
  const auto pixels = models::preprocess(
      {image.constBits(), static_cast<std::uint32_t>(image.width()),
       static_cast<std::uint32_t>(image.height()), static_cast<std::size_t>(image.bytesPerLine())},
      loaded.model);
  const models::FixedPointOracle oracle(loaded.model, loaded.weights);
  return models::largestIndex(oracle.evaluate(pixels.value()).logits);
}

std::vector<Json> jsonLines(const QString& output) {
  std::vector<Json> objects;
  for (const QString& line : output.split('\n', Qt::SkipEmptyParts)) {
    objects.push_back(Json::parse(line.toStdString()));
  }
  return objects;
}

bool writeZip(const QString& path, const QStringList& files, const QStringList& names) {
  int code = 0;
  zip_t* zip = zip_open(path.toUtf8().constData(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  if (zip == nullptr) return false;
  for (qsizetype i = 0; i < files.size(); ++i) {
    zip_source_t* source = zip_source_file(zip, files[i].toUtf8().constData(), 0, -1);
    if (zip_file_add(zip, names[i].toUtf8().constData(), source, ZIP_FL_ENC_UTF_8) < 0)
      return false;
  }
  return zip_close(zip) == 0;
}

}  // namespace

class TestCli : public QObject {
  Q_OBJECT

  ServiceRig m_rig;
  models::LoadedModel m_model = smallModel();
  QStringList m_images;

  QStringList connection(const QString& client = "client") const {
    return {"--engine", m_rig.engine.address(), "--state-dir", m_rig.path(client)};
  }

 private Q_SLOTS:
  void initTestCase() {
    QVERIFY(m_rig.startDealer());
    QVERIFY2(m_rig.startEngine(), qPrintable(m_rig.engine.log()));
    for (unsigned i = 0; i < 4; ++i) {
      m_images << writeImage(m_rig.path(QString("image %1.png").arg(i)), i);
    }
    const Ran pinned =
        runProgram("pillarbox-cli", QStringList{"classify"} + connection() +
                                        QStringList{"--trust-on-first-use"} + m_images.mid(0, 1));
    QVERIFY2(pinned.exitCode == 0, qPrintable(pinned.errors));
  }

  void jsonOfClassify() {
    const Ran ran = runProgram("pillarbox-cli", QStringList{"classify"} + connection() +
                                                    QStringList{"--top", "5", "--json"} + m_images);
    QVERIFY2(ran.exitCode == 0, qPrintable(ran.errors));
    const auto objects = jsonLines(ran.output);
    QCOMPARE(objects.size(), static_cast<std::size_t>(m_images.size()));
    const inference::OnlineCost cost = inference::onlineCost(m_model.model);
    for (std::size_t i = 0; i < objects.size(); ++i) {
      const Json& object = objects[i];
      std::set<std::string> keys;
      for (const auto& [key, value] : object.items()) keys.insert(key);
      const std::set<std::string> expected = {"image",
                                              "class",
                                              "top",
                                              "rounds",
                                              "bytes_sent",
                                              "bytes_received",
                                              "online_ms",
                                              "offline_bytes_sent",
                                              "offline_bytes_received",
                                              "protocol",
                                              "offline_mode",
                                              "offline_rounds",
                                              "offline_ms",
                                              "setup_bytes_sent",
                                              "setup_bytes_received",
                                              "setup_ms",
                                              "trust",
                                              "sets_ready",
                                              "peak_memory_bytes"};
      QVERIFY(keys == expected);
      const QString file = m_images[static_cast<qsizetype>(i)];
      QCOMPARE(QString::fromStdString(object["image"].get<std::string>()), file);
      const std::string label = m_model.model.labels[oracleClass(m_model, file)];
      QCOMPARE(object["class"].get<std::string>(), label);
      QCOMPARE(object["top"].size(), std::size_t{5});
      QCOMPARE(object["top"][0]["class"].get<std::string>(), label);
      double before = 1;
      for (const Json& entry : object["top"]) {
        QCOMPARE(entry.size(), std::size_t{2});
        QVERIFY(entry["class"].is_string() && entry["probability"].is_number_float());
        const double probability = entry["probability"];
        QVERIFY(probability <= before && probability >= 0);
        before = probability;
      }
      for (const char* key : {"rounds", "bytes_sent", "bytes_received", "offline_bytes_sent",
                              "offline_bytes_received"}) {
        QVERIFY2(object[key].is_number_unsigned(), key);
      }
      QVERIFY(object["online_ms"].is_number_float() && object["offline_ms"].is_number_float());
      QCOMPARE(object["rounds"].get<std::size_t>(), m_model.model.stages.size());
      QCOMPARE(object["bytes_sent"].get<std::uint64_t>(),
               cost.bytesToEngine + kStartInferenceBytes);
      QCOMPARE(object["bytes_received"].get<std::uint64_t>(), cost.bytesToClient);
    }
  }

  void textOfClassify() {
    const Ran ran =
        runProgram("pillarbox-cli", QStringList{"classify"} + connection() + m_images.mid(1, 2));
    QVERIFY2(ran.exitCode == 0, qPrintable(ran.errors));
    const QStringList lines = ran.output.split('\n', Qt::SkipEmptyParts);
    QCOMPARE(lines.size(), 4);
    QVERIFY(lines[2].startsWith("You trust "));
    QVERIFY(lines[3].contains("peak memory"));
    for (int i = 0; i < 2; ++i) {
      const QString label =
          QString::fromStdString(m_model.model.labels[oracleClass(m_model, m_images[1 + i])]);
      QVERIFY(lines[i].startsWith(m_images[1 + i] + ": " + label + " "));
      QVERIFY(lines[i].contains("(3 rounds, "));
    }
    QVERIFY(ran.errors.isEmpty());
  }

  // A file that is no image costs that image alone.
  void notAnImage() {
    QFile file(m_rig.path("notes.png"));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write("no image");
    file.close();
    const Ran ran = runProgram(
        "pillarbox-cli", QStringList{"classify"} + connection() +
                             QStringList{file.fileName(), m_images[0], m_rig.path("none.png")});
    QCOMPARE(ran.exitCode, 1);
    QCOMPARE(ran.output.count("rounds, "), 2);  // of one image, online and offline
    QVERIFY(ran.errors.contains("notes.png"));
    QVERIFY(ran.errors.contains("none.png"));
  }

  void unknownEngine() {
    const Ran ran = runProgram("pillarbox-cli",
                               QStringList{"classify"} + connection("new") + m_images.mid(0, 1));
    QCOMPARE(ran.exitCode, 3);
    QVERIFY(ran.errors.contains("--trust " + m_rig.engine.fingerprint()));
    QVERIFY(ran.output.isEmpty());
    const QStringList arguments = QStringList{"classify"} + connection("new");
    QString wrong = m_rig.engine.fingerprint();
    wrong[0] = wrong[0] == '0' ? '1' : '0';
    QCOMPARE(
        runProgram("pillarbox-cli", arguments + QStringList{"--trust", wrong} + m_images.mid(0, 1))
            .exitCode,
        3);
    QCOMPARE(runProgram("pillarbox-cli",
                        arguments + QStringList{"--trust", "nonsense"} + m_images.mid(0, 1))
                 .exitCode,
             1);
    const QString plain = m_rig.engine.fingerprint().remove(':').toLower();
    QCOMPARE(
        runProgram("pillarbox-cli", arguments + QStringList{"--trust", plain} + m_images.mid(0, 1))
            .exitCode,
        0);
    const Ran list =
        runProgram("pillarbox-cli", {"trust", "list", "--state-dir", m_rig.path("new")});
    QVERIFY(list.output.contains("engine " + m_rig.engine.address() + " " +
                                 m_rig.engine.fingerprint()));
    QVERIFY(list.output.contains("dealer " + m_rig.dealer.address() + " " +
                                 m_rig.dealer.fingerprint()));
    const QStringList remove = {"trust", "remove", "--state-dir", m_rig.path("new"),
                                m_rig.engine.address()};
    QCOMPARE(runProgram("pillarbox-cli", remove).exitCode, 0);
    QCOMPARE(runProgram("pillarbox-cli", remove).exitCode, 1);
    QCOMPARE(runProgram("pillarbox-cli", arguments + m_images.mid(0, 1)).exitCode, 3);
  }

  void nobodyThere() {
    const Ran ran = runProgram("pillarbox-cli", QStringList{"classify", "--engine", "127.0.0.1:1",
                                                            "--state-dir", m_rig.path("client")} +
                                                    m_images.mid(0, 1));
    QCOMPARE(ran.exitCode, 1);
    QVERIFY(ran.errors.contains("127.0.0.1:1"));
  }

  void evaluate_data() {
    QTest::addColumn<bool>("zip");
    QTest::addColumn<bool>("split");
    QTest::newRow("folder of class/file") << false << false;
    QTest::newRow("folder of split/class/file") << false << true;
    QTest::newRow("zip of class/file") << true << false;
    QTest::newRow("zip of split/class/file") << true << true;
  }
  void evaluate() {
    QFETCH(bool, zip);
    QFETCH(bool, split);
    // Two images in each of two classes; which of them are right is the oracle's word.
    const QString folder = m_rig.path(QString("set-%1-%2").arg(zip).arg(split));
    const QString prefix = split ? "test/" : "";
    QStringList files, names;
    std::size_t right = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const std::size_t label = i < 2 ? oracleClass(m_model, m_images[0]) : 5;
      names << QString("%1%2/%3.png")
                   .arg(prefix, QString::fromStdString(m_model.model.labels[label]))
                   .arg(i);
      files << folder + "/" + names.last();
      QVERIFY(QDir().mkpath(QFileInfo(files.last()).path()));
      QVERIFY(QFile::copy(m_images[static_cast<int>(i)], files.last()));
      if (oracleClass(m_model, m_images[static_cast<int>(i)]) == label) ++right;
    }
    QVERIFY(right >= 1);
    QString source = folder;
    if (zip) {
      source = folder + ".zip";
      QVERIFY(writeZip(source, files, names));
    }
    const QStringList arguments =
        QStringList{"evaluate", "--images", source, "--json"} + connection();
    const Ran ran = runProgram("pillarbox-cli", arguments);
    QVERIFY2(ran.exitCode == 0, qPrintable(ran.errors));
    const Json object = jsonLines(ran.output).back();
    std::set<std::string> keys;
    for (const auto& [key, value] : object.items()) keys.insert(key);
    const std::set<std::string> expected = {"images",
                                            "correct",
                                            "accuracy",
                                            "rounds",
                                            "bytes_sent",
                                            "bytes_received",
                                            "online_ms",
                                            "offline_bytes_sent",
                                            "offline_bytes_received",
                                            "protocol",
                                            "offline_mode",
                                            "offline_rounds",
                                            "offline_ms",
                                            "setup_bytes_sent",
                                            "setup_bytes_received",
                                            "setup_ms",
                                            "trust",
                                            "sets_ready",
                                            "peak_memory_bytes"};
    QVERIFY(keys == expected);
    QCOMPARE(object["images"].get<int>(), 4);
    QCOMPARE(object["correct"].get<std::size_t>(), right);
    QCOMPARE(object["accuracy"].get<double>(), static_cast<double>(right) / 4);
    QCOMPARE(object["rounds"].get<std::size_t>(), 4 * m_model.model.stages.size());

    const Ran two = runProgram("pillarbox-cli", arguments + QStringList{"--limit", "2"});
    QCOMPARE(jsonLines(two.output).back()["images"].get<int>(), 2);
    if (split) {
      const Ran none = runProgram("pillarbox-cli", arguments + QStringList{"--split", "train"});
      QCOMPARE(none.exitCode, 1);
      QVERIFY(none.errors.contains("test"));
    }
  }

  // What was asked for is what the output and the engine's log name; an engine that does not serve
  // it says what it serves.
  void theProtocolIsChosen() {
    ServiceRig rig;
    QFile config(rig.path("engine.toml"));
    QVERIFY(config.open(QIODevice::WriteOnly));
    config.write("protocols = [\"honeybadger\", \"horner\"]\n");
    config.close();
    QVERIFY2(rig.startEngine("127.0.0.1:0", {"--config", config.fileName()}),
             qPrintable(rig.engine.log()));
    const QStringList arguments = {
        "classify",         "--engine", rig.engine.address(),     "--state-dir",
        rig.path("client"), "--trust",  rig.engine.fingerprint(), "--json",
        m_images[0]};
    const Ran horner = runProgram("pillarbox-cli", arguments + QStringList{"--protocol", "horner"});
    QVERIFY2(horner.exitCode == 0, qPrintable(horner.errors));
    const Json object = jsonLines(horner.output).back();
    QCOMPARE(object["protocol"].get<std::string>(), std::string("horner"));
    QCOMPARE(object["class"].get<std::string>(),
             m_model.model.labels[oracleClass(m_model, m_images[0])]);
    QVERIFY(rig.engine.log().contains("protocol=horner"));

    const Ran espn = runProgram("pillarbox-cli", arguments + QStringList{"--protocol", "espn"});
    QCOMPARE(espn.exitCode, 1);
    QVERIFY2(espn.errors.contains("does not evaluate activations by ESPN; it serves honeybadger, "
                                  "horner"),
             qPrintable(espn.errors));
    QCOMPARE(espn.errors.count('\n'), 1);
    const Ran none = runProgram("pillarbox-cli", arguments + QStringList{"--protocol", "gauss"});
    QCOMPARE(none.exitCode, 2);
  }

  void firstPartyWarns() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    const Ran ran = runProgram(
        "pillarbox-cli", {"classify", "--engine", rig.engine.address(), "--state-dir",
                          rig.path("client"), "--trust", rig.engine.fingerprint(), m_images[0]});
    QVERIFY2(ran.exitCode == 0, qPrintable(ran.errors));
    QVERIFY(ran.errors.contains("WARNING"));
    QVERIFY(ran.errors.contains("could read the image"));
  }

  // The shipped model: one round trip a stage, and the class that the oracle gives.
  void shippedModel_data() {
    QTest::addColumn<bool>("twoParty");
    QTest::newRow("dealer") << false;
    QTest::newRow("two parties") << true;
  }
  void shippedModel() {
    QFETCH(bool, twoParty);
    const QString model = PILLARBOX_SOURCE_DIR "/models/zoo/cifar10-pillar.onnx";
    QVERIFY2(QFile::exists(model), "the model that the program ships with is missing");
    ServiceRig rig;
    // Two-party mode is what the engine does when it is told nothing.
    if (twoParty) {
      QVERIFY(rig.engine.start(
          "pillarbox-engine",
          {"--listen", "127.0.0.1:0", "--state-dir", rig.path("engine"), "--model", model},
          rig.path("engine.ready")));
    } else {
      QVERIFY(rig.startDealer());
      QVERIFY2(rig.startEngine("127.0.0.1:0", {"--model", model}), qPrintable(rig.engine.log()));
    }
    const auto loaded = models::loadOnnx(std::filesystem::path(model.toStdString())).value();
    const QString image = writeImage(rig.path("image.png"), 7, 32, 32);
    const Ran ran = runProgram(
        "pillarbox-cli",
        {"classify", "--engine", rig.engine.address(), "--state-dir", rig.path("client"), "--trust",
         rig.engine.fingerprint(), "--json", "--offline", twoParty ? "two-party" : "dealer", image},
        120000);
    QVERIFY2(ran.exitCode == 0, qPrintable(ran.errors));
    const Json object = jsonLines(ran.output).back();
    QCOMPARE(object["rounds"].get<std::size_t>(), loaded.model.stages.size());
    QCOMPARE(object["class"].get<std::string>(), loaded.model.labels[oracleClass(loaded, image)]);
    qInfo("%s", qPrintable(ran.output));
    if (twoParty) {
      const double offline = object["offline_bytes_sent"].get<double>() +
                             object["offline_bytes_received"].get<double>();
      QVERIFY(offline < 80e6);
      QVERIFY(object["offline_memory_bound_bytes"].get<double>() < 1e9);
      QVERIFY(object["offline_memory_bound_engine_bytes"].get<double>() < 1e9);
    }
  }
};

QTEST_GUILESS_MAIN(TestCli)
#include "test_cli.moc"
