// The two-party linear phase under encryption: both parties' words add up to the reference, and the
// bytes are those that the plan states.
#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include <QTest>

#include "engine/he/wire.h"
#include "engine/offline/two_party/linear.h"
#include "engine/ring/reference.h"
#include "models/onnx_reader.h"
#include "tests/engine/two_party/two_party_ops.h"
#include "tests/support/random_words.h"

using namespace pillarbox;
using namespace pillarbox::offline::two_party;
using testing::convolution;
using testing::fullyConnected;

namespace {

/// One direction of a wire.
class Pipe {
 public:
  ByteSink sink() {
    return [this](std::span<const std::byte> bytes) -> Status {
      m_bytes.insert(m_bytes.end(), bytes.begin(), bytes.end());
      m_total += bytes.size();
      return {};
    };
  }
  ByteSource source() {
    return [this](std::span<std::byte> bytes) -> Status {
      if (m_bytes.size() < bytes.size()) return Error{ErrorCode::Closed, "the pipe is empty"};
      std::copy_n(m_bytes.begin(), bytes.size(), bytes.begin());
      m_bytes.erase(m_bytes.begin(), m_bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size()));
      return {};
    };
  }
  std::deque<std::byte>& bytes() { return m_bytes; }
  std::uint64_t total() const { return m_total; }

 private:
  std::deque<std::byte> m_bytes;
  std::uint64_t m_total = 0;
};

}  // namespace

class TestTwoPartyLinear : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;
  std::shared_ptr<const LinearContext> m_context;
  std::unique_ptr<he::SecretKey> m_key;

  std::vector<std::int32_t> weights(std::size_t count, std::int32_t bound) {
    std::vector<std::int32_t> values(count);
    for (auto& value : values) value = static_cast<std::int32_t>(m_data.between(-bound, bound));
    return values;
  }

  LinearKeys keysFor(const LinearPlan& plan) {
    auto sampler = he::Sampler::fresh();
    LinearKeys keys;
    keys.publicKey = he::makePublicKey(m_context->parameters(), *m_key, *sampler);
    for (const std::uint32_t exponent : galoisExponents(std::span(&plan, 1))) {
      keys.galois.push_back(he::makeGaloisKey(m_context->parameters(), *m_key, exponent, *sampler));
    }
    return keys;
  }

  void check(const models::LinearOp& op, std::span<const std::int32_t> weights, unsigned threads) {
    const auto plan = m_context->plan(op);
    QVERIFY(plan.ok());
    const LinearKeys keys = keysFor(*plan);
    const LinearClient client(m_context, *m_key);
    const auto engine = LinearEngine::create(m_context, *plan, weights);
    QVERIFY2(engine.ok(), engine.ok() ? "" : engine.error().message.c_str());
    const auto input = m_data.words(op.in.size());
    const auto mask = m_data.words(op.out.size());
    std::vector<std::uint64_t> share(op.out.size());
    Pipe up, down;
    for (const Pass& pass : plan->passes()) {
      QVERIFY(client.request(*plan, pass, input, up.sink(), threads).ok());
    }
    for (const Pass& pass : plan->passes()) {
      QVERIFY(engine->evaluate(pass, keys, up.source(), mask, down.sink(), threads).ok());
    }
    for (const Pass& pass : plan->passes()) {
      QVERIFY(client.receive(*plan, pass, down.source(), share, threads).ok());
    }
    QVERIFY(up.bytes().empty() && down.bytes().empty());
    QCOMPARE(up.total(), plan->requestBytes());
    QCOMPARE(down.total(), plan->replyBytes());

    std::vector<std::uint64_t> words(weights.size());
    for (std::size_t i = 0; i < words.size(); ++i) {
      words[i] = static_cast<std::uint64_t>(std::int64_t{weights[i]});
    }
    const auto expected = op.kind == models::OpKind::Convolution
                              ? ring::reference::convolution(op, input, words)
                              : ring::reference::fullyConnected(op, input, words);
    for (std::size_t i = 0; i < share.size(); ++i) share[i] += mask[i];
    QVERIFY(share == expected);
  }

 private Q_SLOTS:
  void initTestCase() {
    auto context = LinearContext::create();
    QVERIFY2(context.ok(), context.ok() ? "" : context.error().message.c_str());
    m_context = *context;
    auto sampler = he::Sampler::fresh();
    QVERIFY(sampler.ok());
    m_key =
        std::make_unique<he::SecretKey>(he::SecretKey::generate(m_context->parameters(), *sampler));
  }

  void sharesAddUp_data() {
    QTest::addColumn<models::LinearOp>("op");
    QTest::addColumn<unsigned>("threads");
    const auto row = [](const char* name, const models::LinearOp& op, unsigned threads) {
      QTest::newRow(name) << op << threads;
    };
    row("one element", fullyConnected({1, 1, 1}, 1), 1);
    row("fully connected", fullyConnected({64, 3, 3}, 10), 1);
    row("3x3, two tile sizes", convolution({8, 32, 32}, 9, 3, 3, 1, 1, {1, 1, 1, 1}), 2);
    row("3x3 stride 2", convolution({16, 16, 16}, 40, 3, 3, 2, 2, {1, 1, 1, 1}), 3);
    row("1x1 stride 2", convolution({64, 8, 8}, 70, 1, 1, 2, 2, {0, 0, 0, 0}), 1);
    row("1x1", convolution({100, 7, 7}, 33, 1, 1, 1, 1, {0, 0, 0, 0}), 2);
    row("7x7 stride 2", convolution({3, 60, 60}, 4, 7, 7, 2, 2, {3, 3, 3, 3}), 2);
    row("uneven", convolution({5, 19, 23}, 7, 2, 4, 2, 3, {0, 2, 1, 1}), 1);
  }

  void sharesAddUp() {
    QFETCH(models::LinearOp, op);
    QFETCH(unsigned, threads);
    check(op, weights(op.weightCount(), 1 << 12), threads);
  }

  void theShippedModel() {
    const auto loaded = models::loadOnnx(
        std::filesystem::path(PILLARBOX_SOURCE_DIR "/models/zoo/cifar10-pillar.onnx"));
    QVERIFY2(loaded.ok(), loaded.ok() ? "" : loaded.error().message.c_str());
    std::vector<LinearPlan> plans;
    std::uint64_t bytes = 0;
    for (const models::Stage& stage : loaded->model.stages) {
      for (const models::LinearOp& op : stage.ops) {
        if (!op.hasWeights()) continue;
        const auto& weights = loaded->weights.weights[op.weightIndex];
        const auto plan = m_context->plan(op);
        QVERIFY(plan.ok());
        QVERIFY(LinearEngine::create(m_context, *plan, weights).ok());
        bytes += plan->requestBytes() + plan->replyBytes();
        plans.push_back(*plan);
        if (plans.size() >= 3) check(op, weights, 2);  // the first two have large images: slow
      }
    }
    bytes += he::publicKeyBytes(m_context->parameters()) +
             galoisExponents(plans).size() * he::galoisKeyBytes(m_context->parameters());
    qInfo("%zu layers, %.1f MB both ways with keys", plans.size(),
          static_cast<double>(bytes) / 1e6);
    QVERIFY(plans.size() == 7 && bytes < 20'000'000);
  }

  void theLargestWeightsAreExact() {
    // One output whose weights have exactly the greatest norm, all of one sign and alternating.
    const auto op = fullyConnected({4096, 1, 1}, 1);
    std::vector<std::int32_t> weights(4096, static_cast<std::int32_t>(kMaxLeafNorm / 4096));
    check(op, weights, 1);
    for (std::size_t i = 0; i < weights.size(); i += 2) weights[i] = -weights[i];
    check(op, weights, 1);
    const auto plan = m_context->plan(op);
    const auto refused = [&] {
      const auto engine = LinearEngine::create(m_context, *plan, weights);
      return !engine.ok() && engine.error().code == ErrorCode::InvalidArgument;
    };
    QVERIFY(!refused());
    weights[18] += weights[18] > 0 ? 1 : -1;
    QVERIFY(refused());
    // The greatest sum of squares, by one weight.
    std::fill(weights.begin(), weights.end(), 0);
    weights[17] = -(1 << 20);
    QCOMPARE(std::uint64_t{1} << 40, kMaxLeafSquares);
    check(op, weights, 1);
    weights[18] = 1;
    QVERIFY(refused());
    weights[17] = std::numeric_limits<std::int32_t>::min();
    QVERIFY(refused());
  }

  void theErrorStaysBelowItsBound() {
    // What linear.h's table sums up, at its worst: weights of the greatest norms, ten merges, and
    // no flooding. Both halves of each merge are the same ciphertext.
    double worst = 0, sum = 0, count = 0;
    for (int repeat = 0; repeat < 6; ++repeat) {
      // In every coefficient, or the greatest that there can be; signs at random.
      const double all = static_cast<double>(kMaxLeafNorm);
      const auto few = static_cast<std::size_t>(all * all / static_cast<double>(kMaxLeafSquares));
      const std::size_t used = repeat == 0 ? m_context->parameters().degree() : few;
      std::vector<std::int64_t> weights(m_context->parameters().degree());
      for (std::size_t i = 0; i < used; ++i) {
        weights[i * (weights.size() / used)] =
            static_cast<std::int64_t>(kMaxLeafNorm / used) * (m_data.word() % 2 == 0 ? 1 : -1);
      }
      for (const double error : errorsOfMerges(weights)) {
        worst = std::max(worst, error);
        if (repeat == 0) continue;
        sum += error;
        ++count;
      }
    }
    const double mean = m_context->replyDistance() * std::exp2(kFloodingBits);
    qInfo("greatest error 2^%.1f, bound 2^29.8; mean 2^%.1f, bound 2^%.1f", std::log2(worst),
          std::log2(sum / count), std::log2(mean));
    QVERIFY(worst > 1 << 16 && worst < std::exp2(29.8));
    QVERIFY(sum / count > mean / 8 && sum / count < mean);
    QVERIFY(mean < std::exp2(23.6));
  }

 private:
  /// The errors of all coefficients after ten merges.
  std::vector<double> errorsOfMerges(const std::vector<std::int64_t>& weights) {
    const he::Parameters& parameters = m_context->parameters();
    const he::Basis& q = parameters.q();
    const std::size_t n = parameters.degree();
    constexpr std::uint32_t kLevels = 10;
    auto sampler = he::Sampler::fresh();
    const he::Word64 words(q);
    const auto input = m_data.words(n);
    he::Ciphertext request =
        he::expand(parameters, he::encrypt(parameters, *m_key, words.encode(input), *sampler));
    std::vector<std::uint64_t> undoubling;
    for (std::size_t i = 0; i < q.count(); ++i) {
      undoubling.push_back(q.modulus(i).inverse(1U << kLevels));
    }
    he::scale(q, request.c0, undoubling);
    he::scale(q, request.c1, undoubling);
    const he::Poly factor = he::makeFactor(parameters, weights);
    const he::Ciphertext* requests[] = {&request};
    const he::Poly* factors[] = {&factor};
    he::Ciphertext sum = he::multiplyAccumulate(parameters, requests, factors);
    const he::Basis& full = parameters.full();
    sum.c0 = he::widened(parameters, sum.c0);
    for (std::size_t spacing = std::size_t{1} << (kLevels - 1); spacing > 0; spacing /= 2) {
      const auto key = he::makeGaloisKey(parameters, *m_key,
                                         static_cast<std::uint32_t>(n / spacing + 1), *sampler);
      std::vector<std::int64_t> monomial(spacing + 1, 0);
      monomial[spacing] = 1;
      he::Poly shift = he::fromSmall(full, monomial);
      he::forward(full, shift);
      const he::Ciphertext moved{he::multiply(full, sum.c0, shift), he::multiply(q, sum.c1, shift)};
      he::Ciphertext difference = sum;
      he::subtractFrom(full, difference.c0, moved.c0);
      he::subtractFrom(q, difference.c1, moved.c1);
      he::addTo(full, sum.c0, moved.c0);
      he::addTo(q, sum.c1, moved.c1);
      he::addAutomorphism(parameters, key, difference, sum);
    }
    sum.c0 = he::narrowed(parameters, sum.c0);
    // Every coefficient k of the sum is coefficient k − k mod 2^levels of the product.
    std::vector<std::uint64_t> expected(n);
    for (std::size_t k = 0; k < n; ++k) {
      if (k % (1U << kLevels) != 0) {
        expected[k] = expected[k - 1];
        continue;
      }
      for (std::size_t i = 0; i < n; ++i) {
        const std::uint64_t term = static_cast<std::uint64_t>(weights[i]) * input[(k - i) % n];
        expected[k] += i <= k ? term : 0 - term;
      }
    }
    he::Poly error = he::decrypt(parameters, *m_key, sum);
    he::subtractFrom(q, error, words.encode(expected));
    std::vector<double> errors;
    for (std::size_t k = 0; k < n; ++k) {
      std::int64_t first = 0;
      for (std::size_t i = 0; i < q.count(); ++i) {
        const std::uint64_t prime = q.modulus(i).value(), residue = error.limb(i)[k];
        const auto centred = static_cast<std::int64_t>(residue) -
                             (residue > prime / 2 ? static_cast<std::int64_t>(prime) : 0);
        if (i == 0) first = centred;
        if (centred != first) errors.push_back(std::numeric_limits<double>::infinity());
      }
      errors.push_back(std::abs(static_cast<double>(first)));
    }
    return errors;
  }

 private Q_SLOTS:
  /// What others have left out: every reply is flooded, has an encryption of zero of its own, and
  /// looks and is as long as any other where all weights are zero.
  void repliesHideTheWeights() {
    const auto op = convolution({16, 32, 32}, 64, 1, 1, 1, 1, {0, 0, 0, 0});
    const LinearPlan plan = m_context->plan(op).value();
    const LinearKeys keys = keysFor(plan);
    const LinearClient client(m_context, *m_key);
    const he::Parameters& parameters = m_context->parameters();
    const he::Word64 words(parameters.returned());
    const auto input = m_data.words(op.in.size());
    const auto mask = m_data.words(op.out.size());
    std::vector<std::size_t> sizes[2];
    std::vector<he::Reply> replies;  // all with zero weights
    double squares = 0, count = 0, greatest = 0;
    for (const bool zero : {true, true, false}) {
      const auto weights = zero ? std::vector<std::int32_t>(op.weightCount())
                                : this->weights(op.weightCount(), 1 << 12);
      const auto engine = LinearEngine::create(m_context, plan, weights);
      for (const Pass& pass : plan.passes()) {
        Pipe up, down;
        QVERIFY(client.request(plan, pass, input, up.sink()).ok());
        std::size_t number = 0;
        const auto sink = [&](std::span<const std::byte> bytes) -> Status {
          sizes[zero ? 0 : 1].push_back(bytes.size());
          if (!zero) return {};
          const Tile& tile = pass.tiles[number % pass.tiles.size()];
          const auto block = static_cast<std::uint32_t>(number++ / pass.tiles.size());
          const auto entries = plan.outputEntries(pass, tile, block);
          std::vector<std::uint32_t> wanted;
          std::vector<std::uint64_t> expected(parameters.degree());
          for (const auto& entry : entries) {
            wanted.push_back(entry.index);
            expected[entry.index] = entry.negative ? mask[entry.element] : 0 - mask[entry.element];
          }
          const he::Reply& reply =
              replies.emplace_back(he::parseReply(parameters, entries.size(), bytes).value());
          he::Poly error = he::decrypt(parameters, *m_key, reply, wanted);
          he::subtractFrom(parameters.returned(), error, words.encode(expected));
          const std::uint64_t prime = parameters.returned().modulus(0).value();
          for (const std::uint32_t index : wanted) {
            const std::uint64_t residue = error.limb(0)[index];
            const double value = residue > prime / 2 ? -static_cast<double>(prime - residue)
                                                     : static_cast<double>(residue);
            squares += value * value;
            count += 1;
            greatest = std::max(greatest, std::abs(value));
          }
          return {};
        };
        QVERIFY(engine->evaluate(pass, keys, up.source(), mask, sink).ok());
      }
    }
    // Flooding is uniform on a quarter of a unit, which is 2^10 here, to either side; without it
    // there would be the roundings of c1 only, of deviation sqrt(n / 18).
    QVERIFY(count > 100000);
    QVERIFY2(std::abs(std::sqrt(squares / count) / (256 / std::sqrt(3.0)) - 1) < 0.1,
             qPrintable(QString::number(std::sqrt(squares / count))));
    QVERIFY(greatest < 512);
    QVERIFY(replies.size() >= 4);
    QCOMPARE(sizes[0].size(), 2 * sizes[1].size());
    for (std::size_t i = 0; i < sizes[0].size(); ++i) {
      QCOMPARE(sizes[0][i], sizes[1][i % sizes[1].size()]);
    }
    // Without an encryption of zero of its own, c1 would be zero, or that of another reply.
    for (std::size_t i = 0; i < replies.size(); ++i) {
      for (std::size_t k = 0; k <= i; ++k) {
        std::size_t equal = 0;
        for (std::size_t j = 0; j < parameters.degree(); ++j) {
          const std::uint64_t other = k == i ? 0 : replies[k].c1.limb(0)[j];
          equal += replies[i].c1.limb(0)[j] == other ? 1 : 0;
        }
        QVERIFY(equal < 3);
      }
    }
  }

  void damagedBytesAreRefused() {
    const auto op = fullyConnected({16, 1, 1}, 4);
    const auto plan = m_context->plan(op);
    const Pass& pass = plan->passes().front();
    const auto weights = this->weights(op.weightCount(), 100);
    const LinearKeys keys = keysFor(*plan);
    const LinearClient client(m_context, *m_key);
    const auto engine = LinearEngine::create(m_context, *plan, weights);
    const auto mask = m_data.words(op.out.size());
    std::vector<std::uint64_t> share(op.out.size());
    Pipe up, down;
    QVERIFY(client.request(*plan, pass, m_data.words(op.in.size()), up.sink()).ok());
    up.bytes()[5] ^= std::byte{1};
    QCOMPARE(engine->evaluate(pass, keys, up.source(), mask, down.sink()).error().code,
             ErrorCode::Format);
    QVERIFY(client.request(*plan, pass, m_data.words(op.in.size()), up.sink()).ok());
    up.bytes().pop_back();
    QCOMPARE(engine->evaluate(pass, keys, up.source(), mask, down.sink()).error().code,
             ErrorCode::Closed);
    QVERIFY(down.bytes().empty());
    Pipe again;
    QVERIFY(client.request(*plan, pass, m_data.words(op.in.size()), again.sink()).ok());
    QVERIFY(engine->evaluate(pass, keys, again.source(), mask, down.sink()).ok());
    std::fill(down.bytes().begin() + he::kObjectHeaderBytes, down.bytes().begin() + 40,
              std::byte{255});
    QCOMPARE(client.receive(*plan, pass, down.source(), share).error().code, ErrorCode::Format);
  }
};

QTEST_GUILESS_MAIN(TestTwoPartyLinear)
#include "test_two_party_linear.moc"
