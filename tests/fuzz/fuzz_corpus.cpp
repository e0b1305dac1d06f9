// Writes seeds for the fuzz targets: every tiny model as a file and as a description.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/support/model_factory.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_corpus FOLDER\n");
    return 1;
  }
  const std::filesystem::path folder(argv[1]);
  std::filesystem::create_directories(folder / "onnx");
  std::filesystem::create_directories(folder / "description");
  for (const std::string& name : pillarbox::testing::tinyModelNames()) {
    const std::string file = pillarbox::testing::tinyModelFile(name);
    std::ofstream(folder / "onnx" / name, std::ios::binary) << file;
    std::ofstream(folder / "description" / name, std::ios::binary)
        << pillarbox::models::serialize(pillarbox::testing::makeTinyModel(name).model);
  }
  return 0;
}
