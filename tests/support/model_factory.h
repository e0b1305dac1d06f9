// Ready-made models for tests: tiny networks that between them use every layer type, and the
// paper's networks with random weights. Built as ONNX files and read back by the real reader.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/loaded_model.h"

namespace pillarbox::testing {

/// Names for makeTinyModel: one a layer type or combination, for data-driven tests.
std::vector<std::string> tinyModelNames();

/// A network of at most a few thousand activations whose values stay within [-5, 5] for images
/// from randomImage. Throws std::logic_error for a name that does not exist.
models::LoadedModel makeTinyModel(const std::string& name, std::uint64_t seed = 1);

/// The same network as the bytes of its ONNX file.
std::string tinyModelFile(const std::string& name, std::uint64_t seed = 1);

/// Names for makePaperModel: "minionn", "vgg16", "resnet18", "resnet32", "resnet110", "resnet50".
std::vector<std::string> paperModelNames();

/// One of the paper's networks with random weights and activations of the given degree.
models::LoadedModel makePaperModel(const std::string& name, std::uint32_t degree = 4,
                                   std::uint64_t seed = 1);
/// The same network as the bytes of its ONNX file.
std::string paperModelFile(const std::string& name, std::uint32_t degree = 4,
                           std::uint64_t seed = 1);

/// A normalised image: uniform values in [-1.5, 1.5), channels first.
std::vector<float> randomImage(const models::Shape& shape, std::uint64_t seed);

}  // namespace pillarbox::testing
