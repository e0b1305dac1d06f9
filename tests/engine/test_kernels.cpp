// Fixed point, and every linear kernel against the slow reference on uniform ring elements.
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include <QTest>

#include "engine/kernels/cpu/row_kernel.h"
#include "engine/kernels/elementwise.h"
#include "engine/kernels/linear.h"
#include "engine/kernels/packed.h"
#include "engine/kernels/stage.h"
#include "engine/ring/fixed_point.h"
#include "engine/ring/narrow.h"
#include "engine/ring/reference.h"
#include "tests/support/random_words.h"

using namespace pillarbox;
using kernels::Method;
using models::LinearOp;
using models::OpKind;

namespace {

LinearOp convolutionOp(std::uint32_t inC, std::uint32_t outC, std::uint32_t h, std::uint32_t w,
                       std::uint32_t kh, std::uint32_t kw, std::uint32_t sh, std::uint32_t sw,
                       std::array<std::uint32_t, 4> pads) {
  LinearOp op;
  op.kind = OpKind::Convolution;
  op.name = "conv";
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

std::vector<std::int32_t> smallWeights(testing::RandomWords& data, std::size_t count,
                                       std::int32_t limit) {
  std::vector<std::int32_t> weights(count);
  for (auto& w : weights) w = static_cast<std::int32_t>(data.between(-limit, limit));
  return weights;
}

/// Those that take 64-bit weights.
std::vector<Method> wordMethods() {
  std::vector<Method> methods;
  for (const Method method : kernels::availableMethods()) {
    const bool words =
        method == Method::Avx512 || method == Method::Avx2 || method == Method::Portable;
    if (words) methods.push_back(method);
  }
  return methods;
}

/// The op with packed weights, in scratch and output memory full of junk.
std::vector<std::uint64_t> applyPacked(const LinearOp& op, const std::vector<std::uint64_t>& in,
                                       const std::vector<std::int32_t>& weights, Method method,
                                       kernels::Team* team = nullptr) {
  const kernels::PackedWeights packed(op, weights, method);
  SecureVector<std::uint8_t> scratch(packed.scratchBytes(), 0xa5);
  std::vector<std::uint64_t> out(op.out.size(), 0x5a5a5a5a5a5a5a5a);
  packed.apply(in, scratch, out, team);
  return out;
}

std::vector<std::uint64_t> widen(const std::vector<std::int32_t>& weights) {
  std::vector<std::uint64_t> wide;
  for (const std::int32_t w : weights) wide.push_back(static_cast<std::uint64_t>(std::int64_t{w}));
  return wide;
}

}  // namespace

class TestKernels : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;
  kernels::Team m_team{3};

  // Every method against the reference, with weights of every size class, alone and with help.
  void checkPacked(const LinearOp& op, const std::vector<std::uint64_t>& in) {
    for (const std::int32_t limit : {1 << 12, 32639, 32767, 1 << 23, 2139062143}) {
      const auto weights = smallWeights(m_data, op.weightCount(), limit);
      const auto expected = op.kind == OpKind::Convolution
                                ? ring::reference::convolution(op, in, widen(weights))
                                : ring::reference::fullyConnected(op, in, widen(weights));
      for (const Method method : kernels::availableMethods()) {
        for (kernels::Team* const team : {static_cast<kernels::Team*>(nullptr), &m_team}) {
          QVERIFY2(applyPacked(op, in, weights, method, team) == expected,
                   qPrintable(QString("%1, weights up to %2, %3")
                                  .arg(kernels::methodName(method))
                                  .arg(limit)
                                  .arg(team != nullptr ? "with help" : "alone")));
        }
      }
    }
  }

 private Q_SLOTS:
  // Seven bytes: what comes out is the signed representative of what went in, and nothing lies
  // beyond the end of either memory.
  void packsSevenBytes() {
    for (const std::size_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::uint64_t> words = m_data.words(count);
      if (count > 2) words[0] = 0, words[1] = ~std::uint64_t{0}, words[2] = std::uint64_t{1} << 55;
      std::vector<std::byte> bytes(ring::kNarrowBytes * count);
      ring::pack(words, bytes);
      std::vector<std::uint64_t> back(count, 1);
      ring::unpack(bytes, back);
      for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t b = 0; b < ring::kNarrowBytes; ++b) {
          QCOMPARE(static_cast<std::uint64_t>(bytes[ring::kNarrowBytes * i + b]),
                   (words[i] >> (8 * b)) & 255);
        }
        const std::uint64_t low = words[i] & ((std::uint64_t{1} << 56) - 1);
        const bool negative = (low >> 55) != 0;
        QCOMPARE(back[i], low - (negative ? std::uint64_t{1} << 56 : 0));
        QCOMPARE(ring::narrow(words[i]), back[i]);
      }
    }
    std::vector<std::uint64_t> three(3);
    std::vector<std::byte> short3(20);
    QVERIFY_EXCEPTION_THROWN(ring::pack(three, short3), std::logic_error);
    QVERIFY_EXCEPTION_THROWN(ring::unpack(short3, three), std::logic_error);
  }

  void encodeAndDecode() {
    QCOMPARE(ring::encode(1.0, 12), std::uint64_t{4096});
    QCOMPARE(ring::encode(-0.5, 12), static_cast<std::uint64_t>(-2048));
    for (int i = 0; i < 1000; ++i) {
      const double value = m_data.real(-100, 100);
      QVERIFY(std::abs(ring::decode(ring::encode(value, 12), 12) - value) <= 0.5 / 4096);
    }
  }

  void truncationErrsByOneUlp() {
    for (int i = 0; i < 200000; ++i) {
      const std::int64_t secret = m_data.between(-(std::int64_t{1} << 34), std::int64_t{1} << 34);
      const std::uint64_t client = m_data.word();
      const std::uint64_t engine = static_cast<std::uint64_t>(secret) - client;
      const auto sum = static_cast<std::int64_t>(ring::truncateClient(client, 12) +
                                                 ring::truncateEngine(engine, 12));
      const std::int64_t exact = secret >> 12;
      QVERIFY2(sum - exact >= 0 && sum - exact <= 1, qPrintable(QString::number(sum - exact)));
    }
  }

  void wideTruncationErrsByOneUlp() {
    for (int i = 0; i < 100000; ++i) {
      const I128 secret = static_cast<I128>(m_data.wide()) >> 50;  // below 2^77
      const U128 client = m_data.wide();
      const U128 engine = static_cast<U128>(secret) - client;
      const auto sum =
          static_cast<I128>(ring::truncateClient(client, 46) + ring::truncateEngine(engine, 46));
      const I128 error = sum - (secret >> 46);
      QVERIFY(error >= 0 && error <= 1);
    }
  }

  void rowKernelsAgree_data() {
    QTest::addColumn<Method>("method");
    for (const Method method : wordMethods()) {
      QTest::newRow(kernels::methodName(method)) << method;
    }
  }
  void rowKernelsAgree() {
    using namespace kernels::cpu;
    QFETCH(Method, method);
    const RowKernel kernel = rowKernel(method);
    for (const std::size_t taps : {std::size_t{1}, std::size_t{9}, std::size_t{100}}) {
      const auto base = m_data.words(1000);
      const auto weights = m_data.words(taps * kChannelBlock);
      std::vector<std::uint32_t> offsets;
      for (std::size_t t = 0; t < taps; ++t) {
        offsets.push_back(static_cast<std::uint32_t>(m_data.word() % (1000 - kRowBlock)));
      }
      std::uint64_t expected[kChannelBlock][kRowBlock], got[kChannelBlock][kRowBlock];
      std::memset(got, 0x5a, sizeof got);
      rowKernelPortable(base.data(), offsets.data(), weights.data(), taps, expected);
      kernel(base.data(), offsets.data(), weights.data(), taps, got);
      QVERIFY(std::memcmp(expected, got, sizeof got) == 0);
    }
  }

  void convolution_data() {
    QTest::addColumn<LinearOp>("op");
    QTest::newRow("3x3 same") << convolutionOp(3, 5, 9, 11, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("3x3 wide") << convolutionOp(4, 8, 32, 32, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("1x1") << convolutionOp(7, 9, 6, 5, 1, 1, 1, 1, {0, 0, 0, 0});
    QTest::newRow("1x1 stride 2") << convolutionOp(6, 4, 8, 8, 1, 1, 2, 2, {0, 0, 0, 0});
    QTest::newRow("3x3 stride 2") << convolutionOp(5, 6, 16, 16, 3, 3, 2, 2, {1, 1, 1, 1});
    QTest::newRow("3x3 stride 2 odd") << convolutionOp(2, 3, 15, 13, 3, 3, 2, 2, {1, 1, 1, 1});
    QTest::newRow("7x7 stride 2") << convolutionOp(3, 4, 30, 30, 7, 7, 2, 2, {3, 3, 3, 3});
    QTest::newRow("5x3 stride 3,2") << convolutionOp(2, 3, 17, 12, 5, 3, 3, 2, {2, 1, 2, 1});
    QTest::newRow("uneven padding") << convolutionOp(2, 2, 8, 8, 3, 3, 2, 2, {0, 0, 1, 1});
    QTest::newRow("large padding") << convolutionOp(1, 1, 3, 3, 3, 3, 1, 1, {4, 3, 2, 5});
    QTest::newRow("narrow, many channels")
        << convolutionOp(130, 40, 4, 4, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("narrow, stride 2") << convolutionOp(70, 17, 8, 9, 3, 3, 2, 2, {1, 1, 1, 1});
    QTest::newRow("16 channels") << convolutionOp(16, 16, 16, 16, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("16 channels, narrow") << convolutionOp(16, 20, 6, 7, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("strips") << convolutionOp(68, 18, 70, 44, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("strips, stride 2") << convolutionOp(64, 3, 96, 96, 3, 3, 2, 2, {1, 1, 1, 1});
    QTest::newRow("strips, expanded") << convolutionOp(130, 5, 90, 20, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("1x1 strips") << convolutionOp(96, 33, 60, 60, 1, 1, 2, 2, {0, 0, 0, 0});
    QTest::newRow("1 pixel") << convolutionOp(16, 10, 1, 1, 1, 1, 1, 1, {0, 0, 0, 0});
    QTest::newRow("whole image") << convolutionOp(3, 4, 8, 8, 8, 8, 1, 1, {0, 0, 0, 0});
  }
  void convolution() {
    QFETCH(LinearOp, op);
    const auto in = m_data.words(op.in.size());
    const auto wide = m_data.words(op.weightCount());
    const auto expected = ring::reference::convolution(op, in, wide);
    for (const Method method : wordMethods()) {
      std::vector<std::uint64_t> out(op.out.size(), 0x5a5a5a5a5a5a5a5a);
      kernels::convolution(op, in, std::span<const std::uint64_t>(wide), out, method);
      QVERIFY2(out == expected, kernels::methodName(method));
    }
    checkPacked(op, in);
  }

  void fullyConnected_data() {
    QTest::addColumn<LinearOp>("op");
    const auto row = [](const char* name, models::Shape in, std::uint32_t out) {
      LinearOp op;
      op.kind = OpKind::FullyConnected;
      op.in = in;
      op.out = {out, 1, 1};
      QTest::newRow(name) << op;
    };
    row("odd sizes", {7, 3, 5}, 13);
    row("one", {1, 1, 1}, 1);
    row("classes", {512, 1, 1}, 100);
    row("long sums", {40000, 1, 1}, 3);
  }
  void fullyConnected() {
    QFETCH(LinearOp, op);
    const auto in = m_data.words(op.in.size());
    const auto wide = m_data.words(op.weightCount());
    std::vector<std::uint64_t> out(op.out.size(), 0x5a5a5a5a5a5a5a5a);
    kernels::fullyConnected(op, in, std::span<const std::uint64_t>(wide), out);
    QVERIFY(out == ring::reference::fullyConnected(op, in, wide));
    checkPacked(op, in);
  }

  // The largest sums that 32 bits must hold: every byte 255 and every digit -128, then 127.
  void extremeSums_data() {
    QTest::addColumn<LinearOp>("op");
    QTest::newRow("4608 taps") << convolutionOp(512, 4, 5, 5, 3, 3, 1, 1, {1, 1, 1, 1});
    QTest::newRow("36864 taps") << convolutionOp(4096, 2, 4, 4, 3, 3, 1, 1, {1, 1, 1, 1});
    LinearOp dense;
    dense.kind = OpKind::FullyConnected;
    dense.in = {40000, 1, 1};
    dense.out = {2, 1, 1};
    QTest::newRow("40000 inputs") << dense;
  }
  void extremeSums() {
    QFETCH(LinearOp, op);
    const std::vector<std::uint64_t> in(op.in.size(), ~std::uint64_t{0});
    for (const std::int32_t w :
         {-32896, 32639, -32897, 32640, -32767, 32767, -(1 << 23), 1 << 23}) {
      const std::vector<std::int32_t> weights(op.weightCount(), w);
      const auto expected = op.kind == OpKind::Convolution
                                ? ring::reference::convolution(op, in, widen(weights))
                                : ring::reference::fullyConnected(op, in, widen(weights));
      for (const Method method : kernels::availableMethods()) {
        QVERIFY2(applyPacked(op, in, weights, method) == expected, kernels::methodName(method));
      }
    }
  }

  // What tiles cannot hold goes another way.
  void hugeWindow() {
    const LinearOp op = convolutionOp(1, 2, 24, 24, 23, 23, 1, 1, {0, 0, 0, 0});
    const auto in = m_data.words(op.in.size());
    const auto weights = smallWeights(m_data, op.weightCount(), 1 << 12);
    const kernels::PackedWeights packed(op, weights);
    std::vector<std::uint64_t> out(op.out.size());
    kernels::Workspace workspace;
    packed.apply(in, workspace.bytes(packed.scratchBytes()), out);
    QVERIFY(out == ring::reference::convolution(op, in, widen(weights)));
  }
  void hugeWeights() {
    const LinearOp op = convolutionOp(3, 2, 6, 6, 3, 3, 1, 1, {1, 1, 1, 1});
    const auto in = m_data.words(op.in.size());
    std::vector<std::int32_t> weights(op.weightCount(), std::numeric_limits<std::int32_t>::max());
    weights[5] = std::numeric_limits<std::int32_t>::min();
    const kernels::PackedWeights packed(op, weights);
    std::vector<std::uint64_t> out(op.out.size());
    kernels::Workspace workspace;
    packed.apply(in, workspace.bytes(packed.scratchBytes()), out);
    QVERIFY(out == ring::reference::convolution(op, in, widen(weights)));
  }

  void sumPool_data() {
    QTest::addColumn<LinearOp>("op");
    const auto pool = [](LinearOp op) {
      op.kind = OpKind::SumPool;
      op.out.channels = op.in.channels;
      return op;
    };
    QTest::newRow("2x2") << pool(convolutionOp(5, 5, 8, 8, 2, 2, 2, 2, {0, 0, 0, 0}));
    QTest::newRow("3x3 padded") << pool(convolutionOp(4, 4, 9, 9, 3, 3, 2, 2, {1, 1, 1, 1}));
    QTest::newRow("global") << pool(convolutionOp(6, 6, 7, 7, 7, 7, 1, 1, {0, 0, 0, 0}));
  }
  void sumPool() {
    QFETCH(LinearOp, op);
    const auto in = m_data.words(op.in.size());
    std::vector<std::uint64_t> out(op.out.size(), 0x5a5a5a5a5a5a5a5a);
    kernels::sumPool(op, in, out, 0, op.out.channels);
    QVERIFY(out == ring::reference::sumPool(op, in));
  }

  void finishShare_data() {
    QTest::addColumn<int>("channels");
    QTest::addColumn<int>("perChannel");
    QTest::addColumn<int>("biases");
    QTest::addColumn<bool>("opening");
    QTest::newRow("bias a channel") << 7 << 1301 << 7 << true;
    QTest::newRow("bias an element") << 3 << 1700 << 5100 << true;
    QTest::newRow("one bias") << 1 << 5000 << 1 << true;
    QTest::newRow("last stage") << 10 << 1 << 10 << false;
  }
  void finishShare() {
    QFETCH(int, channels);
    QFETCH(int, perChannel);
    QFETCH(int, biases);
    QFETCH(bool, opening);
    const auto n = static_cast<std::size_t>(channels * perChannel);
    for (const std::uint32_t bits : {4U, 12U, 40U}) {
      const auto share = m_data.words(n), mask = m_data.words(n);
      const auto openings = opening ? m_data.words(n) : std::vector<std::uint64_t>{};
      std::vector<std::int64_t> bias;
      for (int i = 0; i < biases; ++i) {
        bias.push_back(m_data.between(-(std::int64_t{1} << 50), std::int64_t{1} << 50));
      }
      std::vector<std::uint64_t> out = share;
      kernels::finishShare(out, mask, bias, bits, openings);
      for (std::size_t i = 0; i < n; ++i) {
        const auto b = static_cast<std::uint64_t>(bias[i / (n / bias.size())]);
        std::uint64_t expected = ring::truncateEngine(share[i] + mask[i] + b, bits);
        if (opening) expected += openings[i];
        QCOMPARE(out[i], expected);
      }
    }
  }

  // A residual stage: conv(a) + pool shortcut of b. All paths, and those with weights alone.
  void stageOfSeveralPaths() {
    models::Stage stage;
    stage.name = "residual";
    stage.inputs = {2, 1};
    LinearOp conv = convolutionOp(4, 6, 8, 8, 3, 3, 2, 2, {1, 1, 1, 1});
    LinearOp projection = convolutionOp(4, 6, 8, 8, 1, 1, 2, 2, {0, 0, 0, 0});
    projection.inputs = {1};
    projection.weightIndex = 1;
    LinearOp pool = convolutionOp(4, 4, 8, 8, 2, 2, 2, 2, {0, 0, 0, 0});
    pool.kind = OpKind::SumPool;
    pool.inputs = {1};
    LinearOp fromPool = convolutionOp(4, 6, 4, 4, 1, 1, 1, 1, {0, 0, 0, 0});
    fromPool.inputs = {4};
    fromPool.weightIndex = 2;
    LinearOp sum;
    sum.kind = OpKind::Combine;
    sum.inputs = {2, 3, 5};
    sum.in = sum.out = conv.out;
    sum.multipliers = {1, -3, 4096};
    stage.ops = {conv, projection, pool, fromPool, sum};
    stage.output = conv.out;

    const auto a = m_data.words(conv.in.size()), b = m_data.words(conv.in.size());
    std::vector<std::vector<std::uint64_t>> weights = {m_data.words(conv.weightCount()),
                                                       m_data.words(projection.weightCount()),
                                                       m_data.words(fromPool.weightCount())};
    const std::vector<std::span<const std::uint64_t>> inputs = {a, b};
    std::vector<std::uint64_t> out(stage.output.size());
    kernels::applyStage(
        stage, inputs, [&](std::uint32_t i) { return std::span<const std::uint64_t>(weights[i]); },
        kernels::Paths::All, out);
    using namespace ring::reference;
    const auto left = ring::reference::convolution(conv, a, weights[0]);
    const auto middle = ring::reference::convolution(projection, b, weights[1]);
    const auto right =
        ring::reference::convolution(fromPool, ring::reference::sumPool(pool, b), weights[2]);
    for (std::size_t i = 0; i < out.size(); ++i) {
      QCOMPARE(out[i], left[i] - 3 * middle[i] + 4096 * right[i]);
    }
  }

  // A stage whose input arrives in pieces gives what it gives as a whole: direct and pooled inputs,
  // shortcuts, several ops with weights, and whatever the pieces are.
  void streamedStage_data() {
    QTest::addColumn<models::Stage>("stage");
    QTest::addColumn<int>("arriving");
    const auto pooled = [](LinearOp op, std::uint32_t from) {
      op.kind = OpKind::SumPool;
      op.inputs = {from};
      op.out.channels = op.in.channels;
      return op;
    };
    const auto numbered = [](LinearOp op, std::uint32_t from, std::uint32_t weights) {
      op.inputs = {from};
      op.weightIndex = weights;
      return op;
    };
    const auto sumOf = [](const models::Shape& shape, std::vector<std::uint32_t> inputs) {
      LinearOp op;
      op.kind = OpKind::Combine;
      op.in = op.out = shape;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        op.multipliers.push_back(static_cast<std::int64_t>(i * 4096) - 3);
      }
      op.inputs = std::move(inputs);
      return op;
    };
    const auto row = [](const char* name, std::vector<std::uint32_t> inputs, int arriving,
                        std::vector<LinearOp> ops) {
      models::Stage stage;
      stage.name = name;
      stage.inputs = std::move(inputs);
      stage.output = ops.back().out;
      stage.ops = std::move(ops);
      QTest::newRow(name) << stage << arriving;
    };
    const LinearOp conv = convolutionOp(37, 21, 9, 9, 3, 3, 1, 1, {1, 1, 1, 1});
    const LinearOp strided = convolutionOp(37, 21, 9, 9, 3, 3, 2, 2, {1, 1, 1, 1});
    row("convolution", {0}, 0, {conv});
    row("nothing arrives", {0}, -1, {conv});
    row("few channels", {0}, 0, {convolutionOp(3, 5, 7, 7, 3, 3, 1, 1, {1, 1, 1, 1})});
    row("even channels", {0}, 0, {convolutionOp(64, 32, 6, 6, 3, 3, 1, 1, {1, 1, 1, 1})});
    LinearOp fully;
    fully.kind = OpKind::FullyConnected;
    fully.inputs = {0};
    fully.in = {37, 3, 3};
    fully.out = {10, 1, 1};
    row("fully connected", {0}, 0, {fully});
    const LinearOp pool = pooled(convolutionOp(37, 37, 10, 10, 2, 2, 2, 2, {0, 0, 0, 0}), 0);
    row("pooled convolution", {0}, 0,
        {pool, numbered(convolutionOp(37, 9, 5, 5, 3, 3, 1, 1, {1, 1, 1, 1}), 1, 0)});
    row("pooled twice, nothing else", {0}, 0,
        {pool, pooled(convolutionOp(37, 37, 5, 5, 5, 5, 1, 1, {0, 0, 0, 0}), 1)});
    row("pool behind", {0}, 0,
        {conv, pooled(convolutionOp(21, 21, 9, 9, 3, 3, 3, 3, {0, 0, 0, 0}), 1)});
    row("identity shortcut", {1, 0}, 0,
        {numbered(convolutionOp(21, 21, 9, 9, 3, 3, 1, 1, {1, 1, 1, 1}), 0, 0),
         sumOf({21, 9, 9}, {2, 1})});
    row("identity shortcut that arrives", {1, 0}, 1,
        {numbered(convolutionOp(21, 21, 9, 9, 3, 3, 1, 1, {1, 1, 1, 1}), 0, 0),
         sumOf({21, 9, 9}, {2, 1})});
    row("projection shortcut", {1, 0}, 0,
        {numbered(strided, 0, 0),
         numbered(convolutionOp(37, 21, 9, 9, 1, 1, 2, 2, {0, 0, 0, 0}), 1, 1),
         sumOf(strided.out, {2, 3})});
    row("both paths arrive", {0}, 0,
        {numbered(strided, 0, 0),
         numbered(convolutionOp(37, 21, 9, 9, 1, 1, 2, 2, {0, 0, 0, 0}), 0, 1),
         sumOf(strided.out, {1, 2})});
  }
  void streamedStage() {
    QFETCH(models::Stage, stage);
    QFETCH(int, arriving);
    std::vector<std::vector<std::int32_t>> weights;
    std::vector<std::size_t> sizes(stage.inputs.size());
    for (const LinearOp& op : stage.ops) {
      if (op.hasWeights()) weights.push_back(smallWeights(m_data, op.weightCount(), 4095));
      for (const std::uint32_t input : op.inputs) {
        if (input < sizes.size()) sizes[input] = op.in.size();
      }
    }
    const auto packed = kernels::packWeights({&stage, 1}, weights);
    std::vector<std::vector<std::uint64_t>> inputs;
    for (const std::size_t size : sizes) inputs.push_back(m_data.words(size));
    std::vector<std::span<const std::uint64_t>> spans(inputs.begin(), inputs.end());
    std::vector<std::uint64_t> expected(stage.output.size()), out(stage.output.size());
    kernels::Workspace workspace, streamWorkspace;
    streamWorkspace.team = &m_team;
    kernels::applyStage(stage, spans, packed, workspace, expected);

    kernels::StageStream stream;
    const std::size_t index =
        arriving < 0 ? kernels::StageStream::kNone : static_cast<std::size_t>(arriving);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{100}, std::size_t{1 << 20}}) {
      std::fill(out.begin(), out.end(), 0x5a5a5a5a5a5a5a5a);
      const std::vector<std::uint64_t> whole =
          arriving < 0 ? std::vector<std::uint64_t>() : inputs[index];
      // Junk until it arrives.
      std::vector<std::uint64_t>* input = arriving < 0 ? nullptr : &inputs[index];
      if (input != nullptr) std::fill(input->begin(), input->end(), m_data.word());
      stream.begin(stage, spans, index, packed, streamWorkspace, out);
      for (std::size_t there = 0; there < whole.size();) {
        const std::size_t end = std::min(whole.size(), there + piece);
        std::copy(whole.begin() + static_cast<std::ptrdiff_t>(there),
                  whole.begin() + static_cast<std::ptrdiff_t>(end),
                  input->begin() + static_cast<std::ptrdiff_t>(there));
        stream.arrived(there = end);
      }
      const std::size_t area = out.size() / stage.output.channels;
      std::size_t done = 0;
      while (done < stage.output.channels) {
        const std::size_t end = stream.finish();
        QVERIFY(end > done);
        // What is said to be done is done.
        QVERIFY(std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(end * area),
                           expected.begin()));
        done = end;
      }
      QVERIFY(out == expected);
    }
  }

  // L_W = L_A + L_E(weighted paths): the identity that dealt correlations rest on.
  void weightedPathsSplitOverTheWeights() {
    models::Stage stage;
    stage.name = "shortcut";
    stage.inputs = {0, 1};
    LinearOp conv = convolutionOp(3, 3, 6, 6, 3, 3, 1, 1, {1, 1, 1, 1});
    LinearOp sum;
    sum.kind = OpKind::Combine;
    sum.inputs = {2, 1};
    sum.in = sum.out = conv.out;
    sum.multipliers = {1, 4096};
    stage.ops = {conv, sum};
    stage.output = conv.out;
    const auto a = m_data.words(conv.in.size()), b = m_data.words(conv.in.size());
    const auto w = m_data.words(conv.weightCount()), mask = m_data.words(conv.weightCount());
    auto rest = w;
    for (std::size_t i = 0; i < w.size(); ++i) rest[i] -= mask[i];
    const std::vector<std::span<const std::uint64_t>> inputs = {a, b};
    const auto apply = [&](const std::vector<std::uint64_t>& weights, kernels::Paths paths) {
      std::vector<std::uint64_t> out(stage.output.size());
      kernels::applyStage(
          stage, inputs, [&](std::uint32_t) { return std::span<const std::uint64_t>(weights); },
          paths, out);
      return out;
    };
    const auto whole = apply(w, kernels::Paths::All);
    const auto dealt = apply(mask, kernels::Paths::All);
    const auto client = apply(rest, kernels::Paths::Weighted);
    for (std::size_t i = 0; i < whole.size(); ++i) QCOMPARE(dealt[i] + client[i], whole[i]);
  }
};

QTEST_GUILESS_MAIN(TestKernels)
#include "test_kernels.moc"
