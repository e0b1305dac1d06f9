// Fuzzes what a peer can send of the shares of powers: a public key, a request, an answer.
//
// The first byte chooses the message, the second its length (right if it is 0); every three after
// them are a place and the byte that goes there, in a message that was valid. What is accepted must
// have the right length.
#include <cstdlib>
#include <optional>

#include "engine/offline/two_party/powers.h"

using namespace pillarbox;
using namespace pillarbox::offline::two_party;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

/// One group of a small plan, and its messages as honest parties send them.
struct Honest {
  PowersPlan plan = PowersPlan::create({2, 10, 12, 12}, 16, 8192).value();
  PowersSecretKey secret = PowersSecretKey::create(plan).value();
  PowersPublicKey key = PowersPublicKey::parse(plan, secret.publicKey()).value();
  std::vector<std::uint64_t> lambda = std::vector<std::uint64_t>(16, 3);
  std::vector<std::byte> request = PowersClient(plan, secret, lambda).request().value();
  std::vector<std::byte> answer = PowersEngine(plan, key, lambda).answer(request).value();
};

/// `what` must be an error with a sentence, or have been accepted.
template <typename T>
void check(const T& what, bool rightLength) {
  require(what.ok() ? rightLength : !what.error().message.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Honest kHonest;
  if (size < 2) return 0;
  std::vector<std::byte> bytes = data[0] % 3 == 0   ? kHonest.secret.publicKey()
                                 : data[0] % 3 == 1 ? kHonest.request
                                                    : kHonest.answer;
  const std::size_t length = bytes.size();
  for (std::size_t i = 2; i + 2 < size; i += 3) {
    const std::size_t place = (std::size_t{data[i]} << 8 | data[i + 1]) * 37 % length;
    bytes[place] = std::byte{data[i + 2]};
  }
  bytes.resize(data[1] < 128 ? length + data[1] : data[1] < 192 ? 255U - data[1] : length - 1);
  const bool right = bytes.size() == length;
  switch (data[0] % 3) {
    case 0:
      check(PowersPublicKey::parse(kHonest.plan, bytes), right);
      break;
    case 1: {
      PowersEngine engine(kHonest.plan, kHonest.key, kHonest.lambda);
      const auto answer = engine.answer(bytes);
      check(answer, right);
      if (answer.ok()) require(answer->size() == kHonest.plan.answerBytes(0));
      break;
    }
    default: {
      PowersClient client(kHonest.plan, kHonest.secret, kHonest.lambda);
      require(client.request().ok());
      check(client.finish(bytes), right);
      break;
    }
  }
  return 0;
}
