// What pillarbox-bench measures with: the paper's networks in their right sizes, inferences whose
// rounds and bytes are those of the plan, times that are not below their floor, and pictures that
// are well-formed.
#include <cmath>
#include <limits>

#include <QMap>
#include <QProcess>
#include <QTest>
#include <QXmlStreamReader>

#include "engine/bench/device_kernels.h"
#include "engine/bench/inference.h"
#include "engine/bench/networks.h"
#include "engine/bench/offline.h"
#include "engine/bench/party.h"
#include "engine/bench/throughput.h"
#include "engine/core/chart.h"
#include "engine/offline/two_party/party.h"
#include "tests/support/emulated_device.h"
#include "tests/support/model_factory.h"
#include "tests/support/random_words.h"

using namespace pillarbox;

namespace {

/// The elements of an XML document by name, or nothing where it is not well-formed.
QMap<QString, int> elementsOf(const std::string& document) {
  QXmlStreamReader reader(QByteArray::fromStdString(document));
  QMap<QString, int> count;
  while (!reader.atEnd()) {
    if (reader.readNext() == QXmlStreamReader::StartElement) ++count[reader.name().toString()];
  }
  return reader.hasError() ? QMap<QString, int>() : count;
}

}  // namespace

class TestMeasurements : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  // Against the counts of the paper's networks.
  void networks_data() {
    QTest::addColumn<QString>("name");
    QTest::addColumn<int>("rounds");
    QTest::addColumn<quint64>("activations");
    QTest::newRow("minionn") << "minionn" << 8 << quint64{173056};
    QTest::newRow("vgg16") << "vgg16" << 16 << quint64{183808};
    QTest::newRow("resnet18") << "resnet18" << 18 << quint64{557056};
    QTest::newRow("resnet32") << "resnet32" << 32 << quint64{303104};
    QTest::newRow("resnet110") << "resnet110" << 110 << quint64{1048576};
    QTest::newRow("resnet50") << "resnet50" << 50 << quint64{9608704};
  }
  void networks() {
    QFETCH(QString, name);
    QFETCH(int, rounds);
    QFETCH(quint64, activations);
    const auto loaded = bench::randomNetwork(name.toStdString());
    QVERIFY2(loaded.ok(), loaded.ok() ? "" : loaded.error().message.c_str());
    QCOMPARE(loaded->model.stages.size(), static_cast<std::size_t>(rounds));
    QCOMPARE(loaded->model.activationCount(), activations);
    QCOMPARE(bench::multiplyAdds(loaded->model), inference::onlineCost(loaded->model).multiplyAdds);
  }

  void anUnknownNetworkIsAnError() { QVERIFY(!bench::randomNetwork("resnet19").ok()); }

  void otherProtocols() {
    const auto loaded = testing::makeTinyModel("projection_shortcut");
    for (const offline::Protocol protocol : offline::allProtocols()) {
      bench::InferenceOptions options;
      options.link = {4, 1000};
      options.protocol = protocol;
      options.repeat = 1;
      options.check = true;
      const auto result = bench::measureInference(loaded, options);
      QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
      QCOMPARE((*result)["protocol"].get<std::string>(), std::string(offline::nameOf(protocol)));
      const double slow = protocol == offline::Protocol::Horner ? 2 : 1;
      QCOMPARE((*result)["rounds"].get<double>(),
               slow * static_cast<double>(loaded.model.stages.size() - 1) + 1);
    }
  }

  void inferences_data() {
    QTest::addColumn<bool>("firstParty");
    QTest::addColumn<int>("batch");
    QTest::newRow("dealer") << false << 1;
    QTest::newRow("first party, two at a time") << true << 2;
  }
  void inferences() {
    QFETCH(bool, firstParty);
    QFETCH(int, batch);
    const auto loaded = bench::randomNetwork("minionn");
    QVERIFY(loaded.ok());
    bench::InferenceOptions options;
    options.link = {4, 1000};
    options.mode = firstParty ? offline::Mode::FirstParty : offline::Mode::Dealer;
    options.repeat = 1;
    options.batch = batch;
    options.check = true;
    const auto result = bench::measureInference(*loaded, options);
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
    QCOMPARE((*result)["rounds"].get<int>(), 8);
    QVERIFY((*result)["largest_error"].get<double>() < 0.02);
    QVERIFY(!result->contains("warning"));
    const double wire = (*result)["floor"]["wire"];
    QVERIFY(wire >= 8 * 0.004 + batch * 173056 * 7 * 8e-9);
    QVERIFY((*result)["seconds"]["least"].get<double>() >= wire);
    QVERIFY((*result)["ratio_to_wire"].get<double>() >= 1);
    const offline::OfflineCost offline = offline::offlineCost(loaded->model);
    QVERIFY((*result)["offline"]["bytes"].get<std::uint64_t>() >
            8 * (offline.correctionWords + offline.clientWords));
    // TLS adds a little, and a link that shapes counts what it carries.
    QVERIFY((*result)["tls_overhead"].get<double>() > 0);
    QVERIFY((*result)["tls_overhead"].get<double>() < 0.05);
    const auto results = nlohmann::json::array({*result});
    QVERIFY(QString::fromStdString(bench::inferenceTable(results)).contains("minionn"));
    QCOMPARE(elementsOf(bench::inferencePlot(results)).value("svg"), 1);
  }

  void setsForAnotherProtocol() {
    bench::OfflineOptions options;
    options.protocol = offline::Protocol::Espn;
    options.repeat = 1;
    options.check = true;
    const auto result =
        bench::measureOffline(testing::makeTinyModel("projection_shortcut"), options);
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
    QCOMPARE((*result)["protocol"].get<std::string>(), std::string("espn"));
  }

  void setsWithoutADealer() {
    const auto loaded = testing::makeTinyModel("projection_shortcut");
    bench::OfflineOptions options;
    options.link = {4, 1000};
    options.repeat = 2;
    options.threads = 2;
    options.check = true;
    const auto result = bench::measureOffline(loaded, options);
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
    const auto description = std::make_shared<const models::PublicModel>(loaded.model);
    const auto cost = offline::two_party::SetPlan::create(description).value()->cost();
    QCOMPARE((*result)["rounds"].get<std::uint32_t>(), cost.rounds);
    QCOMPARE((*result)["keys"]["bytes"].get<std::uint64_t>(), cost.keyBytes);
    for (const char* direction : {"bytes_to_engine", "bytes_to_client"}) {
      QCOMPARE((*result)["linear"][direction].get<std::uint64_t>() +
                   (*result)["powers"][direction].get<std::uint64_t>(),
               (*result)[direction].get<std::uint64_t>());
    }
    QCOMPARE((*result)["bytes_to_client"].get<std::uint64_t>(), cost.bytesToClient);
    QCOMPARE((*result)["seconds"]["all"].size(), std::size_t{2});
    QVERIFY((*result)["seconds"]["least"].get<double>() >= 0.004 * cost.rounds);
    QVERIFY((*result)["ratio"].get<double>() >= 1);
    QVERIFY((*result)["peak_memory_bytes"].get<std::uint64_t>() > 0);
    QVERIFY((*result)["largest_error"].get<double>() < 0.02);
    const auto results = nlohmann::json::array({*result});
    QVERIFY(QString::fromStdString(bench::offlineTable(results)).contains("round trips"));
    QCOMPARE(elementsOf(bench::offlinePlot(results)).value("svg"), 1);
  }

  void throughput() {
    const auto loaded = testing::makeTinyModel("projection_shortcut");
    bench::ThroughputOptions options;
    options.clients = 3;
    options.repeat = 2;
    const auto result = bench::measureThroughput(loaded, options);
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
    const inference::OnlineCost cost = inference::onlineCost(loaded.model);
    QCOMPARE((*result)["rounds"].get<std::uint32_t>(), cost.rounds);
    QCOMPARE((*result)["bytes_to_engine"].get<std::uint64_t>(), cost.bytesToEngine);
    QCOMPARE((*result)["ratios"].size(), std::size_t{2});
    // How large the ratio is depends on what else the machine does; what it is made of does not.
    QVERIFY((*result)["inferences_per_second"]["least"].get<double>() > 0);
    const auto ratios = (*result)["ratios"].get<std::vector<double>>();
    QCOMPARE((*result)["ratio"].get<double>(), (ratios[0] + ratios[1]) / 2);
    QVERIFY(ratios[0] > 0 && ratios[1] > 0);
    QVERIFY((*result)["processor_ratio"].get<double>() > 0);
    const auto results = nlohmann::json::array({*result});
    QVERIFY(QString::fromStdString(bench::throughputTable(results)).contains("3 clients"));
    QCOMPARE(elementsOf(bench::throughputPlot(results)).value("svg"), 1);
  }

  // A device's measurements, in emulation, where their times mean nothing.
  void onADevice() {
    const auto loaded = testing::makeTinyModel("projection_shortcut");
    bench::InferenceOptions options;
    options.link = {4, 1000};
    options.repeat = options.batch = 2;
    options.check = true;
    options.device = testing::emulatedDevice();
    const auto result = bench::measureInference(loaded, options);
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
    QVERIFY((*result)["largest_error"].get<double>() < 0.02);
    const auto& device = (*result)["device"];
    QCOMPARE(device["computing"]["all"].size(), std::size_t{4});
    // A millisecond of the emulated clock for each stage.
    const auto stages = static_cast<double>(loaded.model.stages.size());
    QVERIFY(std::abs(device["computing"]["median"].get<double>() - 1e-3 * stages) < 1e-9);
    QVERIFY(device["copied_bytes"].get<std::uint64_t>() > 16 * loaded.model.activationCount());
    const auto table = bench::inferenceTable(nlohmann::json::array({*result}));
    QVERIFY(QString::fromStdString(table).contains("an emulated device"));

    bench::ThroughputOptions many;
    many.clients = 2;
    many.repeat = 1;
    many.device = options.device;
    const auto rates = bench::measureThroughput(loaded, many);
    QVERIFY2(rates.ok(), rates.ok() ? "" : rates.error().message.c_str());
    QVERIFY((*rates)["device"]["busy"].get<double>() > 0);
    QVERIFY((*rates)["inferences_per_second"]["least"].get<double>() > 0);
    const auto text = bench::throughputTable(nlohmann::json::array({*rates}));
    QVERIFY(QString::fromStdString(text).contains("an emulated device"));
  }

  void layersOfADevice() {
    const auto device = testing::emulatedDevice();
    const auto peaks = bench::measureDevicePeaks(device, {1, 2, 4096});
    for (const char* peak : {"tile_gmacs", "word_gmacs", "copy_gigabytes"}) {
      QVERIFY(peaks[peak].get<double>() > 0);
    }
    testing::RandomWords data;
    models::LinearOp op;
    op.inputs = {0};
    op.in = {20, 6, 6};
    op.out = {17, 6, 6};
    op.kernelH = op.kernelW = 3;
    op.padTop = op.padLeft = op.padBottom = op.padRight = 1;
    for (const auto kind : {models::OpKind::Convolution, models::OpKind::FullyConnected}) {
      op.kind = kind;
      std::vector<std::int32_t> weights(op.weightCount());
      for (auto& w : weights) w = static_cast<std::int32_t>(data.between(-4096, 4095));
      const auto in = data.words(op.in.size());
      std::vector<std::uint64_t> out(op.out.size());
      kernels::Workspace workspace;
      const kernels::PackedWeights packed(op, weights, kernels::Method::Portable);
      packed.apply(in, workspace.bytes(packed.scratchBytes()), out);
      const auto result = bench::measureDeviceLayer(device, op, weights, in, out, 0);
      const bool convolution = kind == models::OpKind::Convolution;
      QCOMPARE(result["seconds"].contains("tiles"), convolution);
      QCOMPARE(result["seconds"].contains("words"), convolution);
      QCOMPARE(result["seconds"].contains("rows"), !convolution);
      QVERIFY(result["seconds"].contains(result["method"].get<std::string>()));
      // What computes something else is not measured.
      ++out[3];
      QVERIFY_EXCEPTION_THROWN(bench::measureDeviceLayer(device, op, weights, in, out, 0),
                               std::runtime_error);
    }
  }

  void withoutADevice_data() {
    QTest::addColumn<QStringList>("arguments");
    QTest::newRow("kernels") << QStringList{"kernels"};
    QTest::newRow("inference") << QStringList{"inference", "--network", "minionn"};
    QTest::newRow("offline") << QStringList{"offline", "--network", "minionn"};
    QTest::newRow("throughput") << QStringList{"throughput", "--network", "minionn"};
  }
  void withoutADevice() {
    QFETCH(QStringList, arguments);
    QProcess program;
    QProcessEnvironment environment = QProcessEnvironment::systemEnvironment();
    environment.insert("CUDA_VISIBLE_DEVICES", "");
    program.setProcessEnvironment(environment);
    program.start(PILLARBOX_BIN_DIR "/pillarbox-bench",
                  arguments + QStringList{"--device", "cuda"});
    QVERIFY(program.waitForFinished());
    QCOMPARE(program.exitCode(), 1);
    const QString errors = QString::fromUtf8(program.readAllStandardError());
    QVERIFY2(errors.startsWith("pillarbox-bench: no GPU is used"), qPrintable(errors));
    QVERIFY(program.readAllStandardOutput().isEmpty());
  }

  void floorsAndSpreads() {
    QCOMPARE(bench::wireFloor({100, 100}, 18, 1000, 4456448), 1.8 + 0.35651584);
    QCOMPARE(bench::wireFloor({}, 18, 1000, 4456448), 0.0);
    QCOMPARE(bench::spreadOf({3, 1, 2}).median, 2.0);
    QCOMPARE(bench::spreadOf({4, 1, 2, 3}).median, 2.5);
    QCOMPARE(bench::spreadOf({4, 1, 2, 3}).least, 1.0);
    QCOMPARE(bench::spreadOf({4, 1, 2, 3}).greatest, 4.0);
  }

  void lineCharts() {
    LineChart chart{.title = "a < b & c", .note = "note"};
    chart.x = {.label = "x", .logarithmic = true};
    chart.y = {.label = "y", .logarithmic = true};
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    chart.lines = {{"one", ChartColour::Blue, false, true, {{1, 1}, {10, 3}, {100, 7}}},
                   {"two", ChartColour::Red, true, true, {{1, 0}, {10, nothing}, {100, 5}}}};
    chart.marks = {10};
    const std::string svg = toSvg(chart);
    const auto elements = elementsOf(svg);
    QCOMPARE(elements.value("svg"), 1);
    QCOMPARE(elements.value("path"), 2);
    QCOMPARE(elements.value("circle"), 4);  // zero and not a number have no place on the axis
    QVERIFY(svg.find("nan") == std::string::npos && svg.find("inf") == std::string::npos);
    chart.lines.clear();
    QCOMPARE(elementsOf(toSvg(chart)).value("svg"), 1);
  }

  void barCharts() {
    BarChart chart{.title = "bars", .valueLabel = "seconds"};
    chart.bars = {{"one", ChartColour::Blue}, {"two", ChartColour::Grey}};
    chart.groups = {{"first", {1, 2}}, {"second", {3, std::numeric_limits<double>::infinity()}}};
    const std::string svg = toSvg(chart);
    QCOMPARE(elementsOf(svg).value("rect"), 3 + 2);  // two of them in the legend
    QVERIFY(svg.find("inf") == std::string::npos);
  }
};

QTEST_GUILESS_MAIN(TestMeasurements)
#include "test_measurements.moc"
