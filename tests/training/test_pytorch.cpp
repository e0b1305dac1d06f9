// Networks that PyTorch exports, by both of its exporters and several operator sets, are read,
// compute what PyTorch computes, and can be converted by training.
//
// The Python interpreter is that of test_onnx_runtime; it must have the packages torch, onnx and
// onnxscript. Without them the test is skipped; hand-written files in the style of the exporters
// are always tested (test_export).
#include <sys/wait.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "models/onnx_reader.h"
#include "models/training/export.h"
#include "models/training/onnx_import.h"
#include "models/training/trainer.h"
#include "tests/training/expect.h"
#include "tests/training/small_data.h"

namespace {

namespace fs = std::filesystem;
using namespace pillarbox;
using namespace pillarbox::training;
using nlohmann::json;
using pillarbox::test::TemporaryFolder;

constexpr int kSkipped = 77;

std::string python() {
  const char* given = std::getenv("PILLARBOX_TEST_PYTHON");
  return given && *given ? given : PILLARBOX_TEST_PYTHON;
}

/// What a command prints; its exit status goes to `*status`.
std::string output(const std::string& command, int* status) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  *status = WEXITSTATUS(pclose(pipe));
  return text;
}

TemporaryFolder* g_folder = nullptr;
std::vector<json> g_files;

torch::Tensor numbers(const fs::path& file, std::vector<std::int64_t> shape) {
  std::int64_t count = 1;
  for (const auto d : shape) count *= d;
  const torch::Tensor tensor = torch::empty(shape);
  std::ifstream stream(file, std::ios::binary);
  stream.read(reinterpret_cast<char*>(tensor.data_ptr<float>()), 4 * count);
  EXPECT_EQUAL(stream.gcount(), 4 * count);
  return tensor;
}

Network imported(const ImportedNetwork& source, const json& file, ActivationKind activation) {
  TrainingConfig config;
  config.network = source.architecture.name;
  config.architecture = toJson(source.architecture);
  config.imageSize = file["size"];
  config.activation = activation;
  Network network = makeNetwork(config, file["classes"].get<int>()).value();
  loadImported(source, network);
  network->eval();
  return network;
}

void computesWhatPyTorchComputes() {
  std::map<std::string, int> ways;
  for (const json& file : g_files) {
    const fs::path path = g_folder->path() / file["file"].get<std::string>();
    const auto source = importOnnx(path);
    if (!source.ok()) std::cerr << source.error().message << "\n";
    EXPECT(source.ok());
    if (!source.ok()) continue;
    const std::int64_t size = file["size"], count = file["images"], classes = file["classes"];
    const std::string name = file["network"];
    const auto images = numbers(g_folder->path() / (name + ".images"), {count, 3, size, size});
    const auto expected = numbers(g_folder->path() / (name + ".logits"), {count, classes});
    EXPECT(expected.abs().max().item<double>() > 0.1);
    const torch::NoGradGuard guard;
    Network network = imported(*source, file, ActivationKind::Relu);
    const double error =
        (network->forward(images, {}).logits - expected).abs().max().item<double>();
    if (!(error < 2e-4)) std::cerr << path << ": " << error << "\n";
    EXPECT(error < 2e-4);
    // Neither do the batch norms that training wants change what it computes.
    calibrate(network, images);
    EXPECT((network->forward(images, {}).logits - expected).abs().max().item<double>() < 2e-3);
    ++ways[file["exporter"].get<std::string>()];
  }
  EXPECT_EQUAL(ways["torchscript"], 27);
  EXPECT_EQUAL(ways["dynamo"], 7);
}

void canBeConverted() {
  // One of each exporter: the start of a run on a few images, whose result is a model file.
  std::map<std::string, json> chosen;
  for (const json& file : g_files) {
    if (file["network"] == "plain") chosen[file["exporter"].get<std::string>()] = file;
  }
  EXPECT_EQUAL(chosen.size(), 2U);
  for (const auto& [exporter, file] : chosen) {
    TemporaryFolder folder;
    const fs::path path = g_folder->path() / file["file"].get<std::string>();
    const auto source = importOnnx(path);
    EXPECT(source.ok());
    if (!source.ok()) continue;
    TrainingConfig config = test::smallConfig(folder.path() / "data");
    EXPECT(applyPreset(config, "convert").ok());
    config.network = source->architecture.name;
    config.architecture = toJson(source->architecture);
    config.imageSize = file["size"];
    config.from = path.string();
    config.epochs = 2;
    test::writeSmallData(folder.path() / "data");
    auto run = RunFolder::create(folder.path() / "run", config).value();
    const auto data =
        data::readDataset({folder.path() / "data"}, {file["size"].get<std::uint32_t>(), true});
    const auto outcome = train(run, data.value(), {});
    if (!outcome.ok()) std::cerr << outcome.error().message << "\n";
    EXPECT(outcome.ok());
    const auto model = exportRun(run, "last", folder.path() / "model.onnx");
    if (!model.ok()) std::cerr << model.error().message << "\n";
    EXPECT(model.ok());
    if (!model.ok()) continue;
    EXPECT_EQUAL(static_cast<int>(model->model.stages.size()),
                 architectures::countsOf(source->architecture).rounds);
    EXPECT(models::loadOnnx(folder.path() / "model.onnx").ok());
  }
}

}  // namespace

int main() {
  if (python().empty()) {
    std::cerr << "skipped: PILLARBOX_TEST_PYTHON names no Python with torch\n";
    return kSkipped;
  }
  TemporaryFolder folder;
  g_folder = &folder;
  int status = 0;
  const std::string printed =
      output("'" + python() + "' '" PILLARBOX_TEST_SOURCES "/export_pytorch.py' '" +
                 folder.path().string() + "'",
             &status);
  if (status == kSkipped) {
    std::cerr << "skipped: " << python() << " has no torch, onnx or onnxscript\n";
    return kSkipped;
  }
  if (status != 0) {
    std::cerr << "export_pytorch.py ended with " << status << "\n";
    return 1;
  }
  std::istringstream lines(printed);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("{")) g_files.push_back(json::parse(line));
  }
  at::set_num_threads(2);
  return pillarbox::test::run(
      {{"what PyTorch computes", computesWhatPyTorchComputes}, {"conversion", canBeConverted}});
}
