// Exported files in ONNX Runtime: an implementation of ONNX that shares nothing with this project
// computes the same logits.
//
// The Python interpreter to use is named by the environment variable PILLARBOX_TEST_PYTHON, or by
// the CMake option of that name; it must have the packages onnxruntime and numpy. Without it the
// test is skipped.
#include <sys/wait.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "models/training/export.h"
#include "models/training/trainer.h"
#include "tests/training/expect.h"

namespace {

namespace fs = std::filesystem;
using namespace pillarbox;
using namespace pillarbox::training;
using pillarbox::test::TemporaryFolder;

constexpr int kSkipped = 77;

std::string python() {
  const char* given = std::getenv("PILLARBOX_TEST_PYTHON");
  return given && *given ? given : PILLARBOX_TEST_PYTHON;
}

struct Answer {
  int code = -1;
  std::string out;
};

Answer runOnnx(const fs::path& model, const fs::path& images, const torch::Tensor& shape) {
  std::string line;
  for (const std::string& word : {python(), std::string(PILLARBOX_TEST_SOURCES "/run_onnx.py"),
                                  model.string(), images.string()}) {
    line.append(line.empty() ? "'" : " '").append(word).append("'");
  }
  for (int i = 1; i < 4; ++i) line.append(" ").append(std::to_string(shape.size(i)));
  FILE* pipe = popen(line.c_str(), "r");
  Answer answer;
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    answer.out.append(buffer, n);
  }
  answer.code = WEXITSTATUS(pclose(pipe));
  return answer;
}

void compare(Network& network, std::uint32_t size, int fractionBits = 10) {
  TemporaryFolder folder;
  ModelFacts facts = randomFacts(network, 1);
  facts.fractionBits = fractionBits;
  const auto bytes = exportNetwork(network, facts);
  EXPECT(bytes.ok());
  if (!bytes.ok()) return;
  EXPECT(writeFileAtomically(folder.path() / "model.onnx", *bytes).ok());
  const torch::NoGradGuard guard;
  network->eval();
  const torch::Tensor images = syntheticImages(3, size).contiguous();
  std::ofstream(folder.path() / "images", std::ios::binary)
      .write(reinterpret_cast<const char*>(images.data_ptr<float>()),
             static_cast<std::streamsize>(images.numel() * 4));
  const auto answer = runOnnx(folder.path() / "model.onnx", folder.path() / "images", images);
  EXPECT_EQUAL(answer.code, 0);
  if (answer.code != 0) return;
  const auto logits = nlohmann::json::parse(answer.out);
  const torch::Tensor expected = network->forward(images, {}).logits;
  EXPECT_EQUAL(logits.size(), 3U);
  double largest = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t c = 0; c < logits[i].size(); ++c) {
      const double want =
          expected[static_cast<std::int64_t>(i)][static_cast<std::int64_t>(c)].item<double>();
      largest = std::max(largest, std::abs(want));
      EXPECT(std::abs(logits[i][c].get<double>() - want) < 1e-3 * std::max(1.0, std::abs(want)));
    }
  }
  EXPECT(largest > 0.01);
}

void everyStructure() {
  for (const char* name :
       {"pillar7", "minionn", "vgg16", "resnet9", "resnet32", "resnet18", "resnet50"}) {
    auto network = randomNetwork(name, 10, 32, 5);
    EXPECT(network.ok());
    if (network.ok()) compare(*network, 32);
  }
}

void layersOfTheirOwn() {
  TrainingConfig config;
  EXPECT(applyPreset(config, "trainable").ok());
  torch::manual_seed(2);
  auto network = makeNetwork(config, 10).value();
  {
    const torch::NoGradGuard guard;
    for (auto& c : network->coefficientParameters()) c.mul_(0.9 + 0.2 * torch::rand_like(c));
    // Statistics with which inputs are in range.
    for (const auto& child : network->named_children()) {
      if (auto* norm = child.value()->as<torch::nn::BatchNorm2d>()) {
        norm->weight.fill_(0.5);
        norm->options.momentum(c10::nullopt);
      }
    }
    network->train();
    for (int i = 0; i < 3; ++i) network->forward(syntheticImages(32, 32), {.clip = true});
  }
  compare(network, 32, config.fractionBits);
}

}  // namespace

int main() {
  if (python().empty()) {
    std::cerr << "skipped: PILLARBOX_TEST_PYTHON names no Python with onnxruntime\n";
    return kSkipped;
  }
  if (std::system(("'" + python() + "' -c 'import numpy, onnxruntime'").c_str()) != 0) {
    std::cerr << "skipped: " << python() << " has no onnxruntime\n";
    return kSkipped;
  }
  return pillarbox::test::run(
      {{"every structure", everyStructure}, {"polynomials of each layer", layersOfTheirOwn}});
}
