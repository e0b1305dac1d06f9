// Fuzzes the reader of model files: what is accepted must be a model that can be sent and run.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "models/onnx_reader.h"
#include "models/oracle.h"

using namespace pillarbox::models;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto loaded = loadOnnx(std::as_bytes(std::span(data, size)), "fuzz");
  if (!loaded.ok()) {
    if (loaded.error().message.empty()) std::abort();
    return 0;
  }
  const std::string bytes = serialize(loaded->model);
  if (!parsePublicModel(std::as_bytes(std::span(bytes))).ok()) std::abort();
  if (!validate(loaded->model, loaded->weights).ok()) std::abort();
  // Small ones are evaluated too: shapes that lie would show as reads out of bounds.
  constexpr std::uint64_t kSmall = 20000;
  if (loaded->model.input.size() + loaded->model.activationCount() + loaded->model.weightCount() <
      kSmall) {
    const std::vector<float> image(loaded->model.input.size(), 0.5F);
    const auto result = FixedPointOracle(loaded->model, loaded->weights).evaluate(image);
    if (result.logits.size() != loaded->model.labels.size()) std::abort();
    if (evaluateFloat(loaded->graph, image).size() != result.logits.size()) std::abort();
  }
  return 0;
}
