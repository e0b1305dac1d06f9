// Writes seeds for the fuzz targets: every tiny model as a file and as a description, and one of
// each object of encryption.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "engine/he/wire.h"
#include "tests/support/model_factory.h"

namespace {

using namespace pillarbox;

/// As fuzz_he reads them: what object it is, then its bytes.
void writeObjects(const std::filesystem::path& folder) {
  const auto shared = he::Parameters::create({2048, {27}, {27}, {27}, {}}).value();
  const he::Parameters& p = *shared;
  he::Sampler sampler = he::Sampler::fresh().value();
  const he::SecretKey secret = he::SecretKey::generate(p, sampler);
  const he::PublicKey key = he::makePublicKey(p, secret, sampler);
  he::Poly zero(p.q());
  zero.setZero();
  const he::SeededCiphertext fresh = he::encrypt(p, secret, zero, sampler);
  const std::vector<std::uint32_t> wanted{0, 1, 2, 3, 4};
  const std::vector<std::byte> objects[] = {
      he::serialize(p, fresh), he::serialize(p, key),
      he::serialize(p, he::makeGaloisKey(p, secret, 5, sampler)),
      he::serialize(p, he::reply(p, key, he::expand(p, fresh), zero, 5, wanted, sampler))};
  for (int kind = 0; kind < 4; ++kind) {
    std::ofstream file(folder / std::to_string(kind), std::ios::binary);
    file.put(static_cast<char>(kind));
    file.write(reinterpret_cast<const char*>(objects[kind].data()),
               static_cast<std::streamsize>(objects[kind].size()));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_corpus FOLDER\n");
    return 1;
  }
  const std::filesystem::path folder(argv[1]);
  std::filesystem::create_directories(folder / "onnx");
  std::filesystem::create_directories(folder / "description");
  std::filesystem::create_directories(folder / "he");
  writeObjects(folder / "he");
  for (const std::string& name : pillarbox::testing::tinyModelNames()) {
    const std::string file = pillarbox::testing::tinyModelFile(name);
    std::ofstream(folder / "onnx" / name, std::ios::binary) << file;
    std::ofstream(folder / "description" / name, std::ios::binary)
        << pillarbox::models::serialize(pillarbox::testing::makeTinyModel(name).model);
  }
  return 0;
}
