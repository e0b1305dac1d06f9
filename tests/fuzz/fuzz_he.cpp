// Fuzzes what a peer can send of encryption: ciphertexts, keys and replies.
//
// The first byte chooses the object; the rest is its bytes, tried as they are and with a right
// header. What is accepted must have exactly these bytes.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/he/wire.h"

using namespace pillarbox;

namespace {

constexpr std::uint32_t kExponent = 5;
constexpr std::size_t kWanted = 5;

void require(bool condition) {
  if (!condition) std::abort();
}

template <typename T>
void check(const he::Parameters& p, const Result<T>& parsed, std::span<const std::byte> bytes) {
  if (parsed.ok()) {
    require(std::ranges::equal(he::serialize(p, *parsed), bytes));
  } else {
    require(!parsed.error().message.empty() && parsed.error().message.size() < 200);
  }
}

void parse(const he::Parameters& p, std::uint8_t kind, std::span<const std::byte> bytes) {
  switch (kind) {
    case 1:
      return check(p, he::parseSeededCiphertext(p, bytes), bytes);
    case 2:
      return check(p, he::parsePublicKey(p, bytes), bytes);
    case 3:
      return check(p, he::parseGaloisKey(p, kExponent, bytes), bytes);
    default:
      return check(p, he::parseReply(p, kWanted, bytes), bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto kParameters = he::Parameters::create({2048, {27}, {27}, {27}, {}}).value();
  if (size == 0) return 0;
  const auto kind = static_cast<std::uint8_t>(1 + data[0] % 4);
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  parse(*kParameters, kind, bytes);
  std::vector<std::byte> repaired(bytes.begin(), bytes.end());
  if (repaired.size() < he::kObjectHeaderBytes) return 0;
  std::memcpy(repaired.data(), "PBHE\x01", 5);
  repaired[5] = static_cast<std::byte>(kind);
  repaired[6] = repaired[7] = std::byte{0};
  std::memcpy(repaired.data() + 8, kParameters->id().data(), kParameters->id().size());
  parse(*kParameters, kind, repaired);
  return 0;
}
