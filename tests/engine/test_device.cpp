// Every ring kernel of the device against the slow reference, on uniform ring elements. Run
// twice: with kernels in emulation, on every machine, and with PILLARBOX_TEST_GPU=1 in the
// environment with the plugin on the GPU, where there is one.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include <QCoreApplication>
#include <QTest>

#include "engine/device/device.h"
#include "engine/kernels/cuda/ring_table.h"
#include "engine/kernels/cuda/weights.h"
#include "engine/protocol/honeybadger.h"
#include "engine/ring/fixed_point.h"
#include "engine/ring/narrow.h"
#include "engine/ring/reference.h"
#include "tests/support/emulated_device.h"
#include "tests/support/random_words.h"

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

  // Both methods, with weights of every size that they take, all output channels and a part of
  // them.
  void convolves_data() {
    QTest::addColumn<LinearOp>("op");
    QTest::newRow("3x3") << windowOp(32, 16, 6, 6, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("odd channels") << windowOp(37, 21, 5, 7, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("strided") << windowOp(40, 33, 9, 8, 3, 3, 2, 2, {1, 1, 1, 1});
    QTest::newRow("few channels") << windowOp(3, 5, 9, 9, 5, 5, 2, 2, {2, 2, 2, 2});
    QTest::newRow("one position") << windowOp(130, 19, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0});
    QTest::newRow("1x1") << windowOp(64, 48, 7, 7, 1, 1, 1, 1, {0, 0, 0, 0});
    QTest::newRow("1x1 strided") << windowOp(16, 16, 9, 9, 1, 1, 2, 2, {0, 0, 0, 0});
    QTest::newRow("padded on one side") << windowOp(16, 17, 6, 9, 2, 3, 1, 2, {0, 2, 1, 0});
  }
  void convolves() {
    QFETCH(LinearOp, op);
    Bench bench;
    const Words in = m_data.words(op.in.size());
    const auto dIn = bench.put(in);
    for (const std::int32_t limit : {1 << 12, 32639, 2139062143}) {
      std::vector<std::int32_t> weights(op.weightCount());
      for (auto& w : weights) w = static_cast<std::int32_t>(m_data.between(-limit, limit));
      if (limit == 32639) weights[0] = -32896, weights.back() = 32639;
      const Words expected =
          ring::reference::convolution(op, in, Words(weights.begin(), weights.end()));
      for (const Method method : {Method::Tiles, Method::Words}) {
        if (method == Method::Tiles && !fitTiles(op, weights)) {
          QVERIFY(limit > 32639);
          continue;
        }
        const auto packed = bench.put(pack(op, weights, method));
        const auto out = bench.junk(op.out.size());
        const Buffer<std::byte> planes(gDevice, planeBytes(op));
        ConvolutionArguments arguments{
            dIn.data(),      out.data(), packed.data(),   planes.data(), op.in.channels,
            op.out.channels, 0,          op.out.channels, windowOf(op)};
        // The last channels first.
        if (op.out.channels > 16) {
          arguments.firstOut = 16;
          arguments.outs = op.out.channels - 16;
        }
        const auto convolve =
            method == Method::Tiles ? &RingTable::convolveTiles : &RingTable::convolveWords;
        if (method == Method::Tiles) bench.run(&RingTable::spread, arguments);
        bench.run(convolve, arguments);
        if (op.out.channels > 16) {
          const Words half = bench.get(out);
          QCOMPARE(half[0], std::uint64_t{0x5a5a5a5a5a5a5a5a});
          arguments.firstOut = 0;
          arguments.outs = 16;
          bench.run(convolve, arguments);
        }
        QVERIFY2(bench.get(out) == expected,
                 qPrintable(QString("method %1, weights up to %2").arg(int(method)).arg(limit)));
      }
    }
  }

  // Sums of bytes at the end of what 32 bits hold, shared by four warps.
  void extremeSums() {
    Bench bench;
    const LinearOp op = windowOp(131072, 1, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0});
    const Words in(op.in.size(), ~std::uint64_t{0});
    const std::vector<std::int32_t> weights(op.weightCount(), -32896);
    QVERIFY(fitTiles(op, weights));
    const auto dIn = bench.put(in);
    const auto packed = bench.put(pack(op, weights, Method::Tiles));
    const auto out = bench.junk(1);
    const Buffer<std::byte> planes(gDevice, planeBytes(op));
    const ConvolutionArguments arguments{
        dIn.data(), out.data(), packed.data(), planes.data(), op.in.channels, 1,
        0,          1,          windowOf(op)};
    bench.run(&RingTable::spread, arguments);
    bench.run(&RingTable::convolveTiles, arguments);
    QVERIFY(bench.get(out) ==
            ring::reference::convolution(op, in, Words(weights.begin(), weights.end())));
    const LinearOp longer = windowOp(131073, 1, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0});
    QVERIFY(!fitTiles(longer, std::vector<std::int32_t>(longer.weightCount(), 1)));
  }

  void multipliesVectors() {
    Bench bench;
    for (const auto& [ins, outs] : {std::pair{1, 1}, {31, 10}, {512, 10}, {1000, 7}}) {
      LinearOp op = windowOp(static_cast<std::uint32_t>(ins), static_cast<std::uint32_t>(outs), 1,
                             1, 1, 1, 1, 1, {0, 0, 0, 0});
      op.kind = models::OpKind::FullyConnected;
      const Words in = m_data.words(op.in.size());
      std::vector<std::int32_t> weights(op.weightCount());
      for (auto& w : weights) w = static_cast<std::int32_t>(m_data.word());
      QCOMPARE(int(methodFor(op, weights)), int(Method::Rows));
      const auto dIn = bench.put(in), out = bench.junk(op.out.size());
      const auto dWeights = bench.put(weights);
      bench.run(&RingTable::multiplyVector, VectorArguments{dIn.data(), out.data(), dWeights.data(),
                                                            op.in.channels, op.out.channels});
      QVERIFY(bench.get(out) ==
              ring::reference::fullyConnected(op, in, Words(weights.begin(), weights.end())));
    }
  }

  void evaluatesPolynomials() {
    Bench bench;
    const std::uint32_t count = 600;
    for (std::uint32_t degree = 1; degree <= PolynomialArguments::kMaxDegree; ++degree) {
      models::Polynomial polynomial;
      for (std::uint32_t j = 0; j <= degree; ++j) {
        polynomial.coefficients.push_back(m_data.between(-5000, 5000));
      }
      const protocol::HoneyBadger reference(polynomial, 12);
      const Words opening = m_data.words(count);
      std::vector<std::vector<U128>> coefficients(degree, std::vector<U128>(count));
      PolynomialArguments arguments{};
      std::vector<Buffer<U128>> buffers;
      std::vector<const U128*> pointers;
      for (std::uint32_t i = 0; i < degree; ++i) {
        for (U128& coefficient : coefficients[i]) coefficient = m_data.wide();
        buffers.push_back(bench.put(coefficients[i]));
        arguments.coefficients[i] = buffers.back().data();
        pointers.push_back(coefficients[i].data());
      }
      arguments.leading = reference.leading();
      const auto tensor = bench.put(opening);
      arguments.opening = arguments.out = tensor.data();
      arguments.count = count;
      arguments.degree = degree;
      arguments.truncation = reference.truncation();
      bench.run(&RingTable::polynomial, arguments);
      Words expected(count);
      reference.evaluateEngine(opening, pointers, expected);
      QVERIFY(bench.get(tensor) == expected);
    }
  }

  // What measurements of the ceilings launch does something, everywhere that it should.
  void peaks() {
    Bench bench;
    const std::uint32_t blocks = 3, threads = 32 * kWarps;
    for (const auto peak : {&RingTable::peakTiles, &RingTable::peakWords}) {
      const auto out = bench.junk(blocks * threads + 1);
      bench.run(peak, PeakArguments{out.data(), blocks, 2, 0});
      const Words result = bench.get(out);
      QCOMPARE(std::count(result.begin(), result.end(), 0x5a5a5a5a5a5a5a5a), 1);
      QCOMPARE(result.back(), std::uint64_t{0x5a5a5a5a5a5a5a5a});
    }
    const Words words = m_data.words(5000);
    const auto memory = bench.put(words);
    bench.run(&RingTable::peakCopy, PeakArguments{memory.data(), 0, 0, 5000});
    const Words copied = bench.get(memory);
    QVERIFY(std::equal(words.begin(), words.begin() + 2500, copied.begin()));
    QVERIFY(std::equal(words.begin(), words.begin() + 2500, copied.begin() + 2500));
  }

  // The largest layers get tiles, the small and the shallow ones words.
  void choosesMethods() {
    const auto chosen = [](const LinearOp& op, std::int32_t weight) {
      return methodFor(op, std::vector<std::int32_t>(op.weightCount(), weight));
    };
    const LinearOp large = windowOp(64, 64, 32, 32, 3, 3, 1, 1, {1, 1, 1, 1});
    QVERIFY(chosen(large, 4095) == Method::Tiles);
    QVERIFY(chosen(large, 32640) == Method::Words);
    QVERIFY(chosen(windowOp(3, 64, 32, 32, 3, 3, 1, 1, {1, 1, 1, 1}), 1) == Method::Words);
    QVERIFY(chosen(windowOp(64, 64, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0}), 1) == Method::Words);
  }
};

int main(int argc, char** argv) {
  gDevice = testing::deviceUnderTest();
  if (!gDevice) return 77;
  QCoreApplication application(argc, argv);
  TestDevice test;
  return QTest::qExec(&test, argc, argv);
}

#include "test_device.moc"
