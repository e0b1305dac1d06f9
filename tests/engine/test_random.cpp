// Seeds and their expansion.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include <QTest>

#include "engine/core/secure_vector.h"
#include "engine/random/random.h"
#include "tests/support/random_words.h"

using namespace pillarbox;

class TestRandom : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  // The counter block of stream 1 is 01 00 .. 00. Made with
  //   head -c 32 /dev/zero | openssl enc -aes-256-ctr -K 000102..1f -iv
  //   01000000000000000000000000000000
  void knownAnswer() {
    random::Seed seed;
    for (std::size_t i = 0; i < seed.bytes.size(); ++i)
      seed.bytes[i] = static_cast<std::uint8_t>(i);
    random::Expander expander(seed, 1);
    std::array<std::uint64_t, 4> words{};
    expander.fill(std::span<std::uint64_t>(words));
    const QByteArray bytes(reinterpret_cast<const char*>(words.data()), sizeof words);
    QCOMPARE(bytes.toHex(),
             QByteArray("c7b519846a11411cd6ac07cb03f801a8ed375740a8eb764056d28731517b6a35"));
  }

  void streamsContinueAndAreReproducible() {
    testing::RandomWords data;
    const random::Seed seed = data.seed();
    std::vector<std::uint64_t> whole(1001), parts(1001);
    random::Expander(seed, 7).fill(std::span<std::uint64_t>(whole));
    random::Expander second(seed, 7);
    second.fill(std::span<std::uint64_t>(parts).first(1));
    second.fill(std::span<std::uint64_t>(parts).subspan(1, 500));
    second.fill(std::span<std::uint64_t>(parts).subspan(501));
    QVERIFY(whole == parts);
  }

  void streamsOfOneSeedDiffer() {
    testing::RandomWords data;
    const random::Seed seed = data.seed();
    std::set<std::uint64_t> seen;
    for (std::uint64_t stream = 0; stream < 64; ++stream) {
      std::array<std::uint64_t, 8> words{};
      random::Expander(seed, stream).fill(std::span<std::uint64_t>(words));
      seen.insert(words.begin(), words.end());
    }
    QCOMPARE(seen.size(), std::size_t{64 * 8});
  }

  void freshSeedsDiffer() {
    QVERIFY(random::freshSeed().value().bytes != random::freshSeed().value().bytes);
  }

  // Each of the 64 bit positions is set in half of the words, to six standard deviations.
  void bitsAreBalanced() {
    constexpr std::size_t kWords = 1 << 16;
    std::vector<std::uint64_t> words(kWords);
    random::Expander(random::freshSeed().value(), 0).fill(std::span<std::uint64_t>(words));
    for (int bit = 0; bit < 64; ++bit) {
      const auto ones = std::count_if(words.begin(), words.end(),
                                      [&](std::uint64_t word) { return (word >> bit) & 1; });
      QVERIFY(std::abs(static_cast<double>(ones) - kWords / 2.0) < 6 * std::sqrt(kWords) / 2);
    }
  }

  void secureMemoryIsOverwrittenOnRelease() {
    SecureAllocator<std::uint64_t> allocator;
    std::uint64_t* memory = allocator.allocate(1024);
    QCOMPARE(reinterpret_cast<std::uintptr_t>(memory) % 64, std::uintptr_t{0});
    std::fill(memory, memory + 1024, 0x5ec7e7);
    secureZero(memory, 1024 * sizeof *memory);
    QVERIFY(std::all_of(memory, memory + 1024, [](std::uint64_t word) { return word == 0; }));
    allocator.deallocate(memory, 1024);
  }
};

QTEST_GUILESS_MAIN(TestRandom)
#include "test_random.moc"
