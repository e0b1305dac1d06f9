// Every ring kernel of the device against the slow reference, on uniform ring elements. Compiled
// twice: for kernels in emulation, on every machine, and with PILLARBOX_TEST_GPU for the plugin on
// the GPU, where there is one.
#include <cstdio>
#include <cstring>

#include <QTest>

#include "engine/device/device.h"
#include "engine/kernels/cuda/ring_table.h"
#include "engine/ring/fixed_point.h"
#include "engine/ring/narrow.h"
#include "engine/ring/reference.h"
#include "tests/support/random_words.h"
#ifndef PILLARBOX_TEST_GPU
#include "tests/support/emulated_device.h"
#endif

using namespace pillarbox;
using namespace pillarbox::kernels::cuda;
using device::Buffer;
using device::check;
using device::DevicePtr;
using models::LinearOp;

namespace {

DevicePtr gDevice;

using Words = std::vector<std::uint64_t>;

/// A stream of the device under test, and tensors that travel over it.
class Bench {
 public:
  Bench() : m_stream(gDevice) {}
  ~Bench() { gDevice->table().finishStream(m_stream); }

  template <typename T>
  Buffer<T> put(const std::vector<T>& values) {
    Buffer<T> buffer(gDevice, values.size());
    if (values.empty()) return buffer;
    check(
        gDevice->table().copyIn(m_stream, buffer.data(), values.data(), values.size() * sizeof(T)));
    finish();
    return buffer;
  }
  /// Memory full of junk.
  Buffer<std::uint64_t> junk(std::size_t words) { return put(Words(words, 0x5a5a5a5a5a5a5a5a)); }
  template <typename T>
  std::vector<T> get(const Buffer<T>& buffer) {
    std::vector<T> values(buffer.size());
    if (values.empty()) return values;
    check(gDevice->table().copyOut(m_stream, values.data(), buffer.data(),
                                   values.size() * sizeof(T)));
    finish();
    return values;
  }
  template <typename Arguments>
  void run(device::Sentence (*RingTable::*kernel)(device::Stream, const Arguments&),
           const Arguments& arguments) {
    check((gDevice->table().ring->*kernel)(m_stream, arguments));
    finish();
  }
  void finish() { check(gDevice->table().finishStream(m_stream)); }
  device::Stream stream() const { return m_stream; }

 private:
  device::OwnedStream m_stream;
};

LinearOp windowOp(std::uint32_t inC, std::uint32_t outC, std::uint32_t h, std::uint32_t w,
                  std::uint32_t kh, std::uint32_t kw, std::uint32_t sh, std::uint32_t sw,
                  std::array<std::uint32_t, 4> pads) {
  LinearOp op;
  op.inputs = {0};
  op.in = {inC, h, w};
  op.kernelH = kh;
  op.kernelW = kw;
  op.strideH = sh;
  op.strideW = sw;
  op.padTop = pads[0];
  op.padLeft = pads[1];
  op.padBottom = pads[2];
  op.padRight = pads[3];
  op.out = {outC, (h + pads[0] + pads[2] - kh) / sh + 1, (w + pads[1] + pads[3] - kw) / sw + 1};
  return op;
}

Window windowOf(const LinearOp& op) {
  return {op.in.height,
          op.in.width,
          op.out.height,
          op.out.width,
          op.kernelH,
          op.kernelW,
          op.strideH,
          op.strideW,
          static_cast<std::int32_t>(op.padTop),
          static_cast<std::int32_t>(op.padLeft)};
}

}  // namespace

Q_DECLARE_METATYPE(pillarbox::models::LinearOp)

class TestDevice : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

 private Q_SLOTS:
  void describesItself() {
    QVERIFY(gDevice->info().capability >= 80);
    QVERIFY(gDevice->info().processors > 0);
    std::printf("device: %s\n", gDevice->description().c_str());
  }

  void packsSevenBytes() {
    Bench bench;
    for (const std::uint32_t count : {1U, 2U, 7U, 8U, 9U, 1000U, 4096U, 5003U}) {
      const Words words = m_data.words(count);
      std::vector<std::byte> expected(ring::kNarrowBytes * count);
      ring::pack(words, expected);
      const auto in = bench.put(words);
      // What lies beyond the last whole word of the packed bytes stays as it was.
      std::vector<std::byte> junk((expected.size() + 7) / 8 * 8 + 8, std::byte{0x5a});
      const auto packed = bench.put(junk);
      bench.run(&RingTable::pack, PackArguments{in.data(), packed.data(), count});
      const auto out = bench.get(packed);
      QVERIFY(std::equal(expected.begin(), expected.end(), out.begin()));
      QVERIFY(std::equal(junk.end() - 8, junk.end(), out.end() - 8));
    }
  }

  void unpacksWhatArrives() {
    Bench bench;
    for (const std::uint32_t count : {1U, 2U, 7U, 8U, 9U, 1000U, 4096U, 5003U}) {
      const Words words = m_data.words(count), own = m_data.words(count);
      std::vector<std::byte> bytes(ring::kNarrowBytes * count);
      ring::pack(words, bytes);
      bytes.resize((bytes.size() + 7) / 8 * 8, std::byte{0x5a});
      const auto packed = bench.put(bytes);
      const auto mine = bench.put(own);
      for (const bool adds : {false, true}) {
        const auto out = bench.junk(count + 1);
        bench.run(&RingTable::arrive,
                  ArriveArguments{packed.data(), adds ? mine.data() : nullptr, out.data(), count});
        const Words result = bench.get(out);
        for (std::uint32_t i = 0; i < count; ++i) {
          const std::uint64_t value = ring::narrow(words[i]);
          QCOMPARE(result[i], adds ? ring::narrow(value + own[i]) : value);
        }
        QCOMPARE(result[count], std::uint64_t{0x5a5a5a5a5a5a5a5a});
      }
    }
  }

  void finishesShares() {
    Bench bench;
    const std::uint32_t count = 3 * 700;
    for (const std::uint32_t run : {1U, 700U, count}) {
      for (const std::uint32_t bits : {0U, 4U, 12U, 63U}) {
        for (const int variant : {0, 1, 2}) {
          const Words share = m_data.words(count), mask = m_data.words(count),
                      opening = m_data.words(count);
          std::vector<std::int64_t> bias;
          for (std::uint32_t i = 0; i < count / run; ++i) {
            bias.push_back(static_cast<std::int64_t>(m_data.word()));
          }
          const auto dShare = bench.put(share), dMask = bench.put(mask),
                     dOpening = bench.put(opening);
          const auto dBias = bench.put(bias);
          bench.run(&RingTable::finish, FinishArguments{dShare.data(), dMask.data(), dBias.data(),
                                                        variant == 0 ? nullptr : dOpening.data(),
                                                        count, run, bits, variant == 2});
          const Words result = bench.get(dShare);
          for (std::uint32_t i = 0; i < count; ++i) {
            std::uint64_t expected = ring::truncateEngine(
                share[i] + mask[i] + static_cast<std::uint64_t>(bias[i / run]), bits);
            if (variant != 0) expected += opening[i];
            if (variant == 2) expected = ring::narrow(expected);
            QCOMPARE(result[i], expected);
          }
        }
      }
    }
  }

  void poolsSums_data() {
    QTest::addColumn<LinearOp>("op");
    const auto row = [](const char* name, LinearOp op) {
      op.kind = models::OpKind::SumPool;
      QTest::newRow(name) << op;
    };
    row("2x2", windowOp(5, 5, 8, 8, 2, 2, 2, 2, {0, 0, 0, 0}));
    row("3x3 padded", windowOp(4, 4, 9, 11, 3, 3, 2, 2, {1, 1, 1, 1}));
    row("padded on one side", windowOp(2, 2, 9, 7, 3, 2, 1, 3, {0, 1, 2, 0}));
    row("global", windowOp(6, 6, 7, 7, 7, 7, 1, 1, {0, 0, 0, 0}));
  }
  void poolsSums() {
    QFETCH(LinearOp, op);
    Bench bench;
    const Words in = m_data.words(op.in.size());
    const auto dIn = bench.put(in);
    const auto out = bench.junk(op.out.size());
    bench.run(&RingTable::pool,
              PoolArguments{dIn.data(), out.data(), op.out.channels, windowOf(op)});
    QVERIFY(bench.get(out) == ring::reference::sumPool(op, in));
  }

  void combines() {
    Bench bench;
    const std::uint32_t count = 777;
    for (std::uint32_t inputs = 1; inputs <= CombineArguments::kMaxInputs; ++inputs) {
      for (const bool add : {false, true}) {
        CombineArguments arguments{};
        std::vector<Words> tensors;
        std::vector<Buffer<std::uint64_t>> buffers;
        Words expected = m_data.words(count);
        const auto out = bench.put(expected);
        if (!add) std::fill(expected.begin(), expected.end(), 0);
        for (std::uint32_t i = 0; i < inputs; ++i) {
          tensors.push_back(m_data.words(count));
          buffers.push_back(bench.put(tensors.back()));
          arguments.inputs[i] = buffers.back().data();
          arguments.factors[i] = m_data.word();
          for (std::uint32_t e = 0; e < count; ++e) {
            expected[e] += arguments.factors[i] * tensors.back()[e];
          }
        }
        arguments.inputCount = inputs;
        arguments.add = add;
        arguments.out = out.data();
        arguments.count = count;
        bench.run(&RingTable::combine, arguments);
        QVERIFY(bench.get(out) == expected);
      }
    }
  }
};

int main(int argc, char** argv) {
#ifdef PILLARBOX_TEST_GPU
  auto loaded = device::Device::load({PILLARBOX_BIN_DIR});
  if (!loaded.ok()) {
    std::printf("SKIPPED: %s\n", loaded.error().message.c_str());
    return 77;
  }
  gDevice = std::move(loaded).value();
#else
  gDevice = testing::emulatedDevice();
#endif
  QCoreApplication application(argc, argv);
  TestDevice test;
  return QTest::qExec(&test, argc, argv);
}

#include "test_device.moc"
