// Whether anything branches on a secret, or takes it for an address.
//
// Run under valgrind's memcheck, which follows undefined bits through every computation and reports
// a conditional jump or an address that depends on them. Secrets are declared undefined here: seeds
// of secret polynomials (and so the key and all errors), messages, the engine's factors and masks.
// What leaves a party is declared defined again, as the network would make it. At the end a branch
// on a secret shows that it would have been noticed. Shares of powers draw their own seeds:
// OpenSSL's generator is therefore replaced by one that the test tells what will be secret.
//
// The device's kernels run in emulation, blocks of one thread each (so that no stacks are switched
// between threads, which valgrind could not follow).
//
// Exit status: 0 if nothing was reported, 77 outside valgrind (CTest: skipped).
#include <valgrind/memcheck.h>

#include <cstdio>
#include <cstdlib>
#include <deque>

#include "engine/he/wire.h"
#include "engine/offline/two_party/powers.h"
// The words of CUDA come first.
// clang-format off
#include "tests/support/cuda_emulator.h"
#include "engine/he/cuda/kernels.cuh"
// clang-format on

using namespace pillarbox;

namespace {

/// Whether the next seeds that are drawn are secret, in turn.
std::deque<bool> nextSeeds;

}  // namespace

// In place of libcrypto's.
extern "C" int RAND_priv_bytes(unsigned char* bytes, int count) {
  static unsigned char number = 0;
  for (int i = 0; i < count; ++i) bytes[i] = static_cast<unsigned char>(7 * i + number);
  ++number;
  if (nextSeeds.empty()) {
    std::puts("FAIL: a seed that the test does not know of");
    std::exit(1);
  }
  if (nextSeeds.front()) {
    VALGRIND_MAKE_MEM_UNDEFINED(bytes, static_cast<std::size_t>(count));
  }
  nextSeeds.pop_front();
  return 1;
}

namespace {

using Words = std::vector<std::uint64_t>;

template <typename T>
void poison(T& values) {
  VALGRIND_MAKE_MEM_UNDEFINED(values.data(), values.size() * sizeof(*values.data()));
}
template <typename T>
void publish(T& values) {
  VALGRIND_MAKE_MEM_DEFINED(values.data(), values.size() * sizeof(*values.data()));
}

he::Sampler poisonedSampler(std::uint8_t first) {
  random::Seed secret, open;
  secret.bytes[0] = first;
  open.bytes[1] = first;
  poison(secret.bytes);
  return he::Sampler(secret, open);
}

std::vector<std::uint64_t> secretWords(std::size_t count) {
  std::vector<std::uint64_t> words(count, 0x0123456789ABCDEF);
  poison(words);
  return words;
}

std::vector<std::byte> sent(std::vector<std::byte> bytes) {
  publish(bytes);
  return bytes;
}

/// Every kernel on secret operands.
void runKernels() {
  constexpr std::size_t kDegree = 64;
  he::PrimeSource source(kDegree);
  for (const std::uint32_t bits : {36U, 50U}) {
    const he::Modulus q(source.next(bits));
    const he::Ntt ntt(kDegree, q);
    for (const he::Kernels* k : he::availableKernels()) {
      std::vector<std::uint64_t> a(kDegree, 12345678), b(kDegree, 987654), out(kDegree);
      std::vector<std::int64_t> small(kDegree, -7);
      poison(a);
      poison(b);
      poison(small);
      k->forward(ntt.tables(), a.data());
      k->inverse(ntt.tables(), a.data());
      k->add(q, a.data(), b.data(), out.data(), kDegree);
      k->subtract(q, a.data(), b.data(), out.data(), kDegree);
      k->reduceOnce(q, a.data(), out.data(), kDegree);
      k->fromSmall(q, small.data(), out.data(), kDegree);
      const std::uint64_t *left[] = {a.data(), b.data()}, *right[] = {b.data(), b.data()};
      const std::uint64_t scalars[] = {3, 4};
      const double reciprocals[] = {0x1p-50, 0x1p-49};
      k->quotients(left, reciprocals, 2, out.data(), kDegree);
      k->dot(q, left, right, 2, out.data(), kDegree);
      k->combine(q, left, scalars, 2, out.data(), kDegree);
    }
  }
}

/// Every kernel of the device that sees secrets, on secret operands.
void runDeviceKernels() {
  using namespace he::cuda;
  constexpr std::uint32_t kLog = 6, kDegree = 1U << kLog;
  he::PrimeSource source(kDegree);
  std::deque<Words> tables;
  std::vector<Prime> primes;
  for (const std::uint32_t bits : {50U, 37U}) {
    const he::Ntt ntt(kDegree, he::Modulus(source.next(bits)));
    const he::Modulus& q = ntt.tables().modulus;
    const auto shoup = [&](std::uint64_t w) {
      return static_cast<std::uint64_t>((U128{w} << 64) / q.value());
    };
    const auto pairs = [&](const std::vector<std::uint64_t>& roots) {
      Words& table = tables.emplace_back();
      for (std::uint32_t i = 0; i < kDegree; ++i)
        table.insert(table.end(), {roots[i], shoup(roots[i])});
      return table.data();
    };
    const U128 ratio = ~U128{0} / q.value();
    Prime& prime = primes.emplace_back();
    prime.value = q.value();
    prime.ratioLow = static_cast<std::uint64_t>(ratio);
    prime.ratioHigh = static_cast<std::uint64_t>(ratio >> 64);
    prime.two64 = q.reduce(U128{1} << 64);
    prime.inverseDegree = ntt.tables().inverseDegree;
    prime.inverseDegreeShoup = shoup(prime.inverseDegree);
    prime.roots = pairs(ntt.tables().roots);
    prime.inverseRoots = pairs(ntt.tables().inverseRoots);
    prime.bits = q.bits();
  }
  const Ring ring{primes.data(), kLog};
  Words a = secretWords(2 * kDegree), b = secretWords(2 * kDegree), out = secretWords(2 * kDegree);
  for (Words* words : {&a, &b, &out}) {
    for (auto& word : *words) word &= (std::uint64_t{1} << 36) - 1;
  }
  const Rows ra{a.data(), 1, 2, 2, 0, 1}, rb{b.data(), 1, 2, 2, 0, 1},
      ro{out.data(), 1, 2, 2, 0, 1};
  const auto each = [&](const auto& body) { testing::runGrid(2 * kDegree, 1, body); };

  testing::runGrid(kDegree, 1, [&] { outerStages<true, 1>(ring, ra, false); });
  testing::runGrid(2, 1, [&] { innerStages<true>(ring, ra, kLog, false); });
  testing::runGrid(2, 1, [&] { innerStages<false>(ring, ra, kLog, false); });
  testing::runGrid(kDegree, 1, [&] { outerStages<false, 1>(ring, ra, false); });
  each([&] { addKernel(ring, ro, ra, rb); });
  each([&] { multiplyKernel(ring, ro, ra, rb); });
  each([&] { scaleKernel(ring, ro, ra, Scalars{{3, 4}}); });
  each([&] { butterflyKernel(ring, ra, rb, rb, ro); });
  const Operand left{a.data(), 0, 0, 0, 1}, right{b.data(), 0, 0, 0, 1};
  testing::runGrid(kDegree, 1, [&] { dotPairKernel(ring, ro, ro, left, right, right, 1, 2); });
  each([&] { liftKernel(ring, ro, ra, rb); });
  std::vector<std::uint32_t> indices(kDegree, 5);
  each([&] { permuteAddKernel(ring, ra, rb, indices.data()); });
  const std::uint64_t in[] = {1, 2}, rows[] = {1, 2, 3, 4, 5, 6};
  const double reciprocals[] = {0x1p-50, 0x1p-37};
  testing::runGrid(kDegree, 1, [&] {
    changeKernel(ring, ro, ra, Change{in, reciprocals, rows, 2, 2});
  });
  const std::uint32_t count = kDegree;
  each([&] { gatherKernel(ring, out.data(), ra, indices.data(), &count); });
  each([&] { encodeKernel(ring, ro, b.data(), 0x1234567, Scalars{{3, 4}}); });
  std::vector<std::int32_t> weights(kDegree, -4095), map(kDegree, -7);
  poison(weights);
  Leaves leaves;
  leaves.groups = 1;
  each([&] { factorsKernel(ring, ro, weights.data(), kDegree, map.data(), leaves); });

  std::vector<std::uint8_t> seed(32, 7);
  poison(seed);
  std::vector<std::uint32_t> schedule(kKeyWords);
  Words words(4 * kDegree);
  testing::runGrid(1, 1, [&] { keysKernel(schedule.data(), seed.data(), 1); });
  testing::runGrid(kDegree, 1,
                   [&] { wordsKernel(words.data(), schedule.data(), 0, 0, words.size()); });
  each([&] { ternaryKernel(ring, ro, words.data(), 0); });
  each([&] { errorKernel(ring, ro, words.data(), 0); });
  each([&] { floodingKernel(ring, ro, words.data(), 0, 85, rows); });
}

void runProtocol() {
  const auto shared = he::Parameters::create({4096, {36, 36}, {36}, {30, 37}, {}}).value();
  const he::Parameters& p = *shared;
  const he::Word64 words(p.q()), returnWords(p.returned());
  he::Sampler client = poisonedSampler(1), engine = poisonedSampler(2);

  const he::SecretKey secret = he::SecretKey::generate(p, client);
  const auto keyBytes = sent(he::serialize(p, he::makePublicKey(p, secret, client)));
  const auto galoisBytes = sent(he::serialize(p, he::makeGaloisKey(p, secret, 5, client)));
  const auto bytes =
      sent(he::serialize(p, he::encrypt(p, secret, words.encode(secretWords(p.degree())), client)));

  const he::PublicKey key = he::parsePublicKey(p, keyBytes).value();
  const he::GaloisKey galois = he::parseGaloisKey(p, 5, galoisBytes).value();
  const he::Ciphertext ciphertext = he::expand(p, he::parseSeededCiphertext(p, bytes).value());
  std::vector<std::int64_t> weights(p.degree(), -4095);
  poison(weights);
  const he::Poly factor = he::makeFactor(p, weights);
  const he::Ciphertext* left[] = {&ciphertext};
  const he::Poly* right[] = {&factor};
  const he::Ciphertext image = he::automorphism(p, galois, he::multiplyAccumulate(p, left, right));
  const std::vector<std::uint32_t> wanted{0, 3, 17, 4095};
  const auto replyBytes = sent(he::serialize(
      p, he::reply(p, key, image, words.encode(secretWords(p.degree())), 10, wanted, engine)));

  const he::Poly phase =
      he::decrypt(p, secret, he::parseReply(p, wanted.size(), replyBytes).value(), wanted);
  std::vector<std::uint64_t> values(wanted.size());
  returnWords.decode(phase, wanted, values);
  std::vector<std::int64_t> wide(p.degree(), std::int64_t{-1} << 60);
  poison(wide);
  he::fromSigned(p.q(), wide);
}

/// Both sides of shares of powers, with products of different powers.
void runPowers() {
  using namespace offline::two_party;
  const auto plan = PowersPlan::create({3, 10, 12, 12}, 8, 8192).value();
  std::vector<std::uint64_t> lambda0(8, 0x123456789A), lambda1(8, 0 - std::uint64_t{0x1234567});
  poison(lambda0);
  poison(lambda1);
  nextSeeds = {true, false};  // of secrets, and of what is sent
  const auto secret = PowersSecretKey::create(plan).value();
  const auto key = PowersPublicKey::parse(plan, sent(secret.publicKey())).value();
  PowersClient client(plan, secret, lambda0);
  PowersEngine engine(plan, key, lambda1);
  for (std::uint32_t level = 0; level < plan.levels(); ++level) {
    nextSeeds = {true, false};
    const auto request = sent(client.request().value());
    nextSeeds = {true, false, true};  // and of the mask
    const auto answer = sent(engine.answer(request).value());
    if (!client.finish(answer).ok() || !nextSeeds.empty()) {
      std::puts("FAIL: an answer was refused, or seeds came from elsewhere");
      std::exit(1);
    }
  }
}

}  // namespace

int main() {
  if (!RUNNING_ON_VALGRIND) {
    std::puts("SKIP: not running under valgrind");
    return 77;
  }
  runKernels();
  runDeviceKernels();
  runProtocol();
  runPowers();
  const unsigned found = VALGRIND_COUNT_ERRORS;
  if (found != 0) {
    std::printf("FAIL: %u reports of a branch or address that depends on a secret\n", found);
    return 1;
  }
  auto control = secretWords(1);
  if (control[0] % 3 == 1) std::puts("(control)");
  if (VALGRIND_COUNT_ERRORS == 0) {
    std::puts("FAIL: a branch on a secret went unnoticed");
    return 1;
  }
  std::puts("PASS");
  return 0;
}
