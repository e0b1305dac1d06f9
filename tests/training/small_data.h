// A data set that small networks learn in seconds: three classes that differ in colour, under
// noise, 40 training and 20 test images each of 8 x 8 pixels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "models/data/readers.h"
#include "models/training/config.h"

namespace pillarbox::test {

inline constexpr int kSmallSize = 8;

inline void writeSmallData(const std::filesystem::path& folder) {
  std::uint32_t state = 1;
  const auto noise = [&] {
    state = state * 1664525U + 1013904223U;
    return static_cast<int>(state >> 24) - 128;
  };
  const char* names[] = {"blue", "green", "red"};
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < 60; ++i) {
      const std::filesystem::path path = folder / (i < 40 ? "train" : "test") / names[c];
      std::filesystem::create_directories(path);
      std::string pixels;
      for (int p = 0; p < kSmallSize * kSmallSize; ++p) {
        for (int channel = 0; channel < 3; ++channel) {
          const int value = 110 + (channel == 2 - c ? 50 : 0) + noise() / 2;
          pixels += static_cast<char>(std::clamp(value, 0, 255));
        }
      }
      std::ofstream(path / (std::to_string(i) + ".ppm"), std::ios::binary) << "P6\n8 8\n255\n"
                                                                           << pixels;
    }
  }
}

inline training::TrainingConfig smallConfig(const std::filesystem::path& data) {
  training::TrainingConfig config;
  config.data = {data.string()};
  config.imageSize = kSmallSize;
  config.epochs = 4;
  config.batch = 20;
  config.warmupEpochs = 1;
  config.averageDecay = 0.9;
  config.augmentation.cropPadding = 1;
  config.threads = 1;
  config.device = "cpu";
  return config;
}

inline data::Dataset readSmallData(const std::filesystem::path& folder) {
  return data::readDataset({folder}, {kSmallSize, true}).value();
}

}  // namespace pillarbox::test
