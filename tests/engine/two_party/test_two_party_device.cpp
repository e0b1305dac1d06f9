// The linear phase of the engine on the device: transforms, streams, ciphertext operations and
// whole passes give word for word what the processor gives. Run twice, as test_device.cpp is.
#include <algorithm>
#include <deque>

#include <QCoreApplication>
#include <QTest>

#include "engine/device/ledger.h"
#include "engine/he/device_ring.h"
#include "engine/he/wire.h"
#include "engine/offline/two_party/linear.h"
#include "engine/offline/two_party/party.h"
#include "engine/ring/reference.h"
#include "tests/engine/two_party/two_party_ops.h"
#include "tests/support/emulated_device.h"
#include "tests/support/random_words.h"

using namespace pillarbox;
using namespace pillarbox::offline::two_party;
using device::Buffer;
using device::check;
using testing::convolution;
using testing::fullyConnected;

namespace {

device::DevicePtr gDevice;

using Words = std::vector<std::uint64_t>;

/// One direction of a wire, cut into messages.
struct Pipe {
  std::deque<std::vector<std::byte>> messages;
  ByteSink sink() {
    return [this](std::span<const std::byte> bytes) -> Status {
      messages.emplace_back(bytes.begin(), bytes.end());
      return {};
    };
  }
  ByteSource source() {
    return [this](std::span<std::byte> bytes) -> Status {
      if (messages.empty() || messages.front().size() != bytes.size()) {
        return Error{ErrorCode::Closed, "no such message"};
      }
      std::copy(messages.front().begin(), messages.front().end(), bytes.begin());
      messages.pop_front();
      return {};
    };
  }
};

}  // namespace

class TestTwoPartyDevice : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;
  std::shared_ptr<const LinearContext> m_context;

  static std::shared_ptr<const he::Parameters> parameters(std::uint32_t degree) {
    he::ParameterShape shape{degree, {50, 37, 50}, {50}, {37, 26}, {}};
    if (degree == 2048) shape = {degree, {27}, {27}, {20, 24}, {}};
    if (degree == 4096) shape = {degree, {36, 36}, {37}, {30, 37}, {}};
    auto result = he::Parameters::create(shape);
    return result.ok() ? std::move(result).value() : nullptr;
  }

  he::Poly uniform(const he::Basis& basis) {
    he::Poly poly = he::expandUniform(basis, m_data.seed());
    poly.limb(0)[0] = basis.modulus(0).value() - 1;
    return poly;
  }

  template <typename T>
  std::vector<T> fetch(const T* data, std::size_t count, device::Stream stream) {
    std::vector<T> values(count);
    check(gDevice->table().copyOut(stream, values.data(), data, count * sizeof(T)));
    check(gDevice->table().finishStream(stream));
    return values;
  }

  static Words wordsOf(const he::Poly& poly) { return {poly.words().begin(), poly.words().end()}; }

 private Q_SLOTS:
  void initTestCase() { m_context = LinearContext::create().value(); }

  // FIPS 197, C.3, and streams of the program's own generator.
  void streamsAreAes() {
    std::vector<std::uint8_t> seeds(32);
    for (std::size_t i = 0; i < 32; ++i) seeds[i] = static_cast<std::uint8_t>(i);
    const random::Seed other = m_data.seed();
    seeds.insert(seeds.end(), other.bytes.begin(), other.bytes.end());
    const he::DeviceRing ring(gDevice, parameters(2048), 20);
    const auto dSeeds = ring.copied<std::uint8_t>(seeds);
    const Buffer<std::uint32_t> schedules(gDevice, 2 * he::cuda::kKeyWords);
    constexpr std::size_t kCount = 5000;
    const Buffer<std::uint64_t> words(gDevice, 2 * kCount);
    const device::OwnedStream stream(gDevice);
    const he::FinishedStream finished(gDevice, stream);
    check(ring.table().keys(stream, schedules.data(), dSeeds.data(), 2));
    // The block of plaintext 00112233445566778899aabbccddeeff is an odd one of its stream.
    check(ring.table().words(stream, words.data(), schedules.data(), 1, 0x7766554433221100,
                             0x8899aabbccddeeff / 2, 4));
    const auto block = fetch(words.data(), 4, stream);
    QCOMPARE(block[2], 0xbf456751cab7a28eU);
    QCOMPARE(block[3], 0x8960494b9049fceaU);

    for (const std::uint64_t number : {std::uint64_t{0}, m_data.word()}) {
      check(ring.table().words(stream, words.data(), schedules.data(), 2, number, 3, kCount));
      const auto both = fetch(words.data(), 2 * kCount, stream);
      Words expected(12 + kCount);
      random::Expander(other, number).fill(std::span<std::uint64_t>(expected));
      QVERIFY(std::equal(both.begin() + kCount, both.end(), expected.begin() + 12));
    }
  }

  void transformsAndExpansions_data() {
    QTest::addColumn<unsigned>("degree");
    for (const unsigned degree : {2048U, 4096U, 8192U, 16384U, 32768U}) {
      QTest::addRow("%u", degree) << degree;
    }
  }
  void transformsAndExpansions() {
    QFETCH(unsigned, degree);
    const auto shared = parameters(degree);
    QVERIFY(shared);
    const he::DeviceRing ring(gDevice, shared, 20);
    const he::Basis &full = shared->full(), &q = shared->q();
    const device::OwnedStream stream(gDevice);
    he::Poly first = uniform(full), second = uniform(full);
    Words both = wordsOf(first);
    both.insert(both.end(), second.words().begin(), second.words().end());
    const auto data = ring.copied<std::uint64_t>(both);
    const he::FinishedStream finished(gDevice, stream);
    const he::cuda::Rows rows = ring.full(data.data(), 2);
    check(ring.table().forward(stream, ring.ring(), rows, false));
    he::forward(full, first);
    he::forward(full, second);
    const Words transformed = fetch(data.data(), data.size(), stream);
    QVERIFY(std::equal(first.words().begin(), first.words().end(), transformed.begin()));
    QVERIFY(std::equal(second.words().begin(), second.words().end(),
                       transformed.begin() + static_cast<std::ptrdiff_t>(first.words().size())));
    check(ring.table().inverse(stream, ring.ring(), rows));
    QVERIFY(fetch(data.data(), data.size(), stream) == both);

    // Rejection keeps the same words, whatever the prime.
    const random::Seed seed = m_data.seed();
    const auto seeds = ring.copied<std::uint8_t>(seed.bytes);
    const Buffer<std::uint32_t> schedules(gDevice, he::cuda::kKeyWords);
    const he::FinishedStream again(gDevice, stream);
    ring.expand(stream, data.data(), seeds.data(), schedules.data(), 1);
    QVERIFY(fetch(data.data(), ring.qWords(1), stream) == wordsOf(he::expandUniform(q, seed)));
  }

  // A merge, as the processor's linear phase does it, and replies from the same seeds.
  void mergesAndReplies_data() {
    QTest::addColumn<unsigned>("degree");
    QTest::newRow("2048") << 2048U;
    QTest::newRow("4096") << 4096U;
    QTest::newRow("8192") << 8192U;
  }
  void mergesAndReplies() {
    QFETCH(unsigned, degree);
    constexpr std::size_t kPairs = 3;
    const auto shared = parameters(degree);
    const he::Parameters& p = *shared;
    const he::Basis &full = p.full(), &q = p.q();
    const std::uint32_t floodingBits = degree == 2048 ? 20 : 60;
    const he::DeviceRing ring(gDevice, shared, floodingBits);
    he::Sampler sampler = he::Sampler::fresh().value();
    const he::SecretKey secret = he::SecretKey::generate(p, sampler);
    const he::PublicKey publicKey = he::makePublicKey(p, secret, sampler);
    constexpr std::uint32_t kSpacing = 4;
    const he::GaloisKey galois = he::makeGaloisKey(p, secret, degree / kSpacing + 1, sampler);
    const auto deviceGalois = ring.copied(galois);
    const auto devicePublic = ring.copied(publicKey);

    std::vector<he::Ciphertext> even, odd;
    Words even0, even1, odd0, odd1;
    for (std::size_t i = 0; i < kPairs; ++i) {
      even.push_back({uniform(full), uniform(q)});
      odd.push_back({uniform(full), uniform(q)});
      const auto append = [](Words& to, const he::Poly& poly) {
        to.insert(to.end(), poly.words().begin(), poly.words().end());
      };
      append(even0, even[i].c0);
      append(even1, even[i].c1);
      append(odd0, odd[i].c0);
      append(odd1, odd[i].c1);
    }
    const auto e0 = ring.copied<std::uint64_t>(even0), e1 = ring.copied<std::uint64_t>(even1);
    const auto o0 = ring.copied<std::uint64_t>(odd0), o1 = ring.copied<std::uint64_t>(odd1);
    he::DeviceArena arena(gDevice, std::size_t{64} << 20);
    const he::DeviceRing::MergeScratch merges(ring, arena, 2);  // fewer than there are pairs
    const he::DeviceRing::ReplyScratch replies(ring, arena, kPairs);
    const device::OwnedStream stream(gDevice);
    const he::FinishedStream finished(gDevice, stream);
    ring.merge(stream, deviceGalois, merges, {e0.data(), e1.data()}, {o0.data(), o1.data()},
               kPairs);
    ring.twice(stream, {e0.data(), e1.data()}, 1);

    std::vector<std::int64_t> monomial(kSpacing + 1, 0);
    monomial[kSpacing] = 1;
    he::Poly shift = he::fromSmall(full, monomial);
    he::forward(full, shift);
    Words merged0, merged1;
    for (std::size_t i = 0; i < kPairs; ++i) {
      const he::Ciphertext moved{he::multiply(full, odd[i].c0, shift),
                                 he::multiply(q, odd[i].c1, shift)};
      he::Ciphertext less = even[i];
      he::subtractFrom(full, less.c0, moved.c0);
      he::subtractFrom(q, less.c1, moved.c1);
      he::addTo(full, even[i].c0, moved.c0);
      he::addTo(q, even[i].c1, moved.c1);
      he::addAutomorphism(p, galois, less, even[i]);
      if (i == 0) {
        he::addTo(full, even[i].c0, he::Poly(even[i].c0));
        he::addTo(q, even[i].c1, he::Poly(even[i].c1));
      }
      merged0.insert(merged0.end(), even[i].c0.words().begin(), even[i].c0.words().end());
      merged1.insert(merged1.end(), even[i].c1.words().begin(), even[i].c1.words().end());
    }
    QVERIFY(fetch(e0.data(), e0.size(), stream) == merged0);
    QVERIFY(fetch(e1.data(), e1.size(), stream) == merged1);

    const he::Word64 encoding(q);
    const Words words = m_data.words(kPairs * degree);
    std::vector<std::vector<std::uint32_t>> wanted(kPairs);
    wanted[0] = {0, 5, degree - 1};
    for (std::uint32_t i = 0; i < degree; ++i) wanted[2].push_back(degree - 1 - i);
    std::vector<random::Seed> secrets;
    for (std::size_t i = 0; i < kPairs; ++i) secrets.push_back(m_data.seed());
    const auto made = ring.replies(stream, devicePublic, replies, {e0.data(), e1.data()}, encoding,
                                   words, wanted, secrets);
    for (std::size_t i = 0; i < kPairs; ++i) {
      he::Sampler same = he::Sampler::of(secrets[i]).value();
      even[i].c0 = he::narrowed(p, even[i].c0);
      const he::Reply expected = he::reply(
          p, publicKey, even[i], encoding.encode(std::span(words).subspan(i * degree, degree)),
          floodingBits, wanted[i], same);
      QVERIFY(made[i].c0 == expected.c0);
      QVERIFY(wordsOf(made[i].c1) == wordsOf(expected.c1));
    }
  }

  void passesGiveTheSameBytes_data() {
    QTest::addColumn<models::LinearOp>("op");
    QTest::addColumn<DeviceBatches>("batches");
    QTest::addColumn<bool>("keep");
    const auto blocks = convolution({8, 32, 32}, 9, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("blocks together, weights kept") << blocks << DeviceBatches{8, 16, 3, 2} << true;
    QTest::newRow("leaves one by one") << blocks << DeviceBatches{1, 1, 1, 1} << false;
    QTest::newRow("a tree in two, weights kept") << blocks << DeviceBatches{2, 16, 2, 1} << true;
    QTest::newRow("two tiles") << convolution({2, 128, 128}, 2, 1, 1, 1, 1, {0, 0, 0, 0})
                               << DeviceBatches{} << false;
  }
  void passesGiveTheSameBytes() {
    QFETCH(models::LinearOp, op);
    QFETCH(DeviceBatches, batches);
    QFETCH(bool, keep);
    he::Sampler sampler = he::Sampler::fresh().value();
    const he::Parameters& p = m_context->parameters();
    const he::SecretKey secret = he::SecretKey::generate(p, sampler);
    const LinearPlan plan = m_context->plan(op).value();
    LinearKeys keys;
    keys.publicKey = he::makePublicKey(p, secret, sampler);
    for (const std::uint32_t exponent : galoisExponents(std::span(&plan, 1))) {
      keys.galois.push_back(he::makeGaloisKey(p, secret, exponent, sampler));
    }
    std::vector<std::int32_t> weights(op.weightCount());
    for (auto& weight : weights) weight = static_cast<std::int32_t>(m_data.between(-4096, 4096));
    const Words input = m_data.words(op.in.size()), mask = m_data.words(op.out.size());
    const LinearClient client(m_context, secret);
    const auto processor = processorBackend(m_context);
    const auto onDevice = deviceBackend(m_context, gDevice, keep ? 1U << 30 : 0, batches);
    keys.kept = onDevice->keep(keys);
    const auto expectedOp = processor->prepare(plan, weights);
    const auto op2 = onDevice->prepare(plan, weights);
    for (const Pass& pass : plan.passes()) {
      const auto expectedWork = expectedOp->begin(pass, keys, 1), work = op2->begin(pass, keys, 1);
      std::size_t number = 0;
      QVERIFY(client
                  .request(plan, pass, input,
                           [&](std::span<const std::byte> bytes) -> Status {
                             PILLARBOX_TRY(expectedWork->takeRequest(number, bytes));
                             return work->takeRequest(number++, bytes);
                           })
                  .ok());
      std::vector<random::Seed> secrets;
      for (std::size_t i = 0; i < pass.blocks * pass.tiles.size(); ++i) {
        secrets.push_back(m_data.seed());
      }
      const auto all = [&](PassWork& from) {
        std::vector<std::vector<std::byte>> replies;
        while (replies.size() < secrets.size()) {
          const auto first = static_cast<std::uint32_t>(replies.size() / pass.tiles.size());
          const std::uint32_t count = std::min(from.wave(), pass.blocks - first);
          auto some =
              from.replies(first, count, mask,
                           std::span(secrets).subspan(replies.size(), count * pass.tiles.size()));
          if (!some.ok()) return replies;
          for (auto& reply : *some) replies.push_back(std::move(reply));
        }
        return replies;
      };
      const auto expected = all(*expectedWork), replies = all(*work);
      QCOMPARE(expected.size(), secrets.size());
      QVERIFY(replies == expected);
    }
  }

  // A device that computes something else, or nothing, is found out.
  void aDeviceIsChecked() {
    const Status good = checkDevice(gDevice);
    QVERIFY2(good.ok(), good.ok() ? "" : good.error().message.c_str());
    if (!testing::emulated()) return;
    static he::cuda::HeTable he = *gDevice->table().he;
    static device::Table table = gDevice->table();
    table.he = &he;
    // Random words that are all the same: a reply that hides nothing.
    he.words = [](device::Stream stream, std::uint64_t* words, const std::uint32_t*,
                  std::uint32_t polys, std::uint64_t, std::uint64_t, std::uint64_t count) {
      return gDevice->table().zero(stream, words, polys * count * sizeof(std::uint64_t));
    };
    const Status wrong = checkDevice(device::Device::open(table).value());
    QVERIFY(!wrong.ok());
    QCOMPARE(wrong.error().code, ErrorCode::Unsupported);
    QVERIFY(QString::fromStdString(wrong.error().message).contains("something else"));
    testing::failCopy(1);
    const Status failing = checkDevice(gDevice);
    testing::failCopy(0);
    QVERIFY(!failing.ok());
    QVERIFY(QString::fromStdString(failing.error().message).contains("failed when it was tried"));
  }

  // The engine with the device in its place, and what it says when the device fails.
  void anEngineUsesTheDevice() {
    const auto op = fullyConnected({16, 2, 2}, 5);
    const LinearPlan plan = m_context->plan(op).value();
    he::Sampler sampler = he::Sampler::fresh().value();
    const he::Parameters& p = m_context->parameters();
    const he::SecretKey secret = he::SecretKey::generate(p, sampler);
    LinearKeys keys;  // not kept: made by the pass
    keys.publicKey = he::makePublicKey(p, secret, sampler);
    for (const std::uint32_t exponent : galoisExponents(std::span(&plan, 1))) {
      keys.galois.push_back(he::makeGaloisKey(p, secret, exponent, sampler));
    }
    std::vector<std::int32_t> weights(op.weightCount());
    for (auto& weight : weights) weight = static_cast<std::int32_t>(m_data.between(-4096, 4096));
    const Words input = m_data.words(op.in.size()), mask = m_data.words(op.out.size());
    const LinearClient client(m_context, secret);
    const auto backend = deviceBackend(m_context, gDevice, 0, DeviceBatches{4, 4, 2, 2});
    const auto engine = LinearEngine::create(m_context, plan, weights, backend.get());
    QVERIFY(engine.ok());
    Words share(op.out.size());
    for (const Pass& pass : plan.passes()) {
      Pipe up, down;
      QVERIFY(client.request(plan, pass, input, up.sink()).ok());
      const auto status = engine->evaluate(pass, keys, up.source(), mask, down.sink(), 2);
      QVERIFY2(status.ok(), status.ok() ? "" : status.error().message.c_str());
      QVERIFY(client.receive(plan, pass, down.source(), share).ok());
    }
    Words wide(weights.size());
    for (std::size_t i = 0; i < wide.size(); ++i) {
      wide[i] = static_cast<std::uint64_t>(std::int64_t{weights[i]});
    }
    for (std::size_t i = 0; i < share.size(); ++i) share[i] += mask[i];
    QVERIFY(share == ring::reference::fullyConnected(op, input, wide));
    if (!testing::emulated()) return;
    // Each allocation fails once; then there are no more.
    const std::size_t live = testing::liveAllocations();
    const Pass& pass = plan.passes().front();
    Pipe requests;
    QVERIFY(client.request(plan, pass, input, requests.sink()).ok());
    std::size_t failed = 0, declined = 0;
    for (bool done = false; !done; ++failed) {
      testing::failAllocation(failed + 1);
      const auto ledger = std::make_shared<device::Ledger>();
      Pipe down;
      Status status;
      try {
        const auto fresh = deviceBackend(m_context, gDevice, 0, {}, ledger);
        const auto again = LinearEngine::create(m_context, plan, weights, fresh.get());
        Pipe up = requests;
        status = again.ok() ? again->evaluate(pass, keys, up.source(), mask, down.sink(), 1)
                            : Status(again.error());
      } catch (const device::DeviceError& failure) {
        status = Error{ErrorCode::Internal, failure.what()};
      }
      // A pass that the device has no memory for is done by the processor.
      const std::uint64_t byProcessor = ledger->declines(device::Purpose::Preparation);
      declined += byProcessor;
      done = status.ok() && byProcessor == 0;
      QVERIFY(status.ok() || QString::fromStdString(status.error().message).contains(u"memory"));
      QCOMPARE(ledger->failures(device::Purpose::Preparation), std::uint64_t{0});
      if (status.ok()) {
        Words found(op.out.size());
        QVERIFY(client.receive(plan, pass, down.source(), found).ok());
        for (std::size_t i = 0; i < found.size(); ++i) found[i] += mask[i];
        if (plan.passes().size() == 1) QVERIFY(found == share);
        QCOMPARE(ledger->seconds(device::Purpose::Preparation) > 0, done);
      }
      QCOMPARE(testing::liveAllocations(), live);
    }
    testing::failAllocation(0);
    QVERIFY(failed > 20);
    QVERIFY(declined > 2);

    // One that it fails in the middle of is lost, and counted.
    const auto ledger = std::make_shared<device::Ledger>();
    const auto failing = deviceBackend(m_context, gDevice, 0, {}, ledger);
    const auto again = LinearEngine::create(m_context, plan, weights, failing.get());
    QVERIFY(again.ok());
    Pipe up = requests, down;
    std::size_t left = requests.messages.size();
    const Status lost = again->evaluate(
        pass, keys,
        [&, source = up.source()](std::span<std::byte> bytes) -> Status {
          if (--left == 0) testing::failCopy(1);
          return source(bytes);
        },
        mask, down.sink(), 1);
    testing::failCopy(0);
    QVERIFY(!lost.ok());
    QCOMPARE(ledger->failures(device::Purpose::Preparation), std::uint64_t{1});
    QVERIFY(down.messages.empty());
    QCOMPARE(ledger->usable(), true);
  }
};

int main(int argc, char** argv) {
  gDevice = testing::deviceUnderTest();
  if (!gDevice) return 77;
  QCoreApplication application(argc, argv);
  TestTwoPartyDevice test;
  return QTest::qExec(&test, argc, argv);
}

#include "test_two_party_device.moc"
