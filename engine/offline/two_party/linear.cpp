#include "engine/offline/two_party/linear.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include "engine/he/noise.h"
#include "engine/he/wire.h"

namespace pillarbox::offline::two_party {

namespace {

constexpr std::uint32_t kDegree = 8192;
constexpr std::uint32_t kPrimeBits = 50;
constexpr std::uint32_t kReturnBits = 37;
/// Groups whose transformed weights are held at a time: 16 limbs of 64 kB stay in the cache.
constexpr std::size_t kGroupsAtOnce = 16;

/// Calls work(0) .. work(count − 1), at most `threads` at a time, and returns when all are done.
/// Rethrows the first exception.
void forEach(unsigned threads, std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto run = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < std::min<std::size_t>(threads, count); ++i) others.emplace_back(run);
  run();
  others.clear();
  if (failure) std::rethrow_exception(failure);
}

/// The first error of some results that were computed side by side.
class FirstError {
 public:
  void add(const Status& status) {
    if (status.ok()) return;
    const std::lock_guard lock(m_mutex);
    if (m_status.ok()) m_status = status;
  }
  const Status& status() const { return m_status; }

 private:
  std::mutex m_mutex;
  Status m_status;
};

}  // namespace

std::vector<std::uint32_t> indicesOf(std::span<const LinearPlan::OutputEntry> entries) {
  std::vector<std::uint32_t> indices;
  indices.reserve(entries.size());
  for (const auto& entry : entries) indices.push_back(entry.index);
  return indices;
}

SecureVector<std::uint64_t> negatedMask(const he::Parameters& parameters,
                                        std::span<const LinearPlan::OutputEntry> entries,
                                        std::span<const std::uint64_t> mask) {
  SecureVector<std::uint64_t> words(parameters.degree());
  std::fill(words.begin(), words.end(), 0);
  for (const auto& entry : entries) {
    words[entry.index] = entry.negative ? mask[entry.element] : 0 - mask[entry.element];
  }
  return words;
}

namespace {

/// A pass on the processor.
class ProcessorPass : public PassWork {
 public:
  ProcessorPass(const LinearContext& context, const LinearPlan& plan, const Pass& pass,
                std::span<const std::int32_t> weights, const LinearKeys& keys, unsigned threads)
      : m_context(context),
        m_plan(plan),
        m_pass(pass),
        m_parameters(context.parameters()),
        m_q(m_parameters.q()),
        m_weights(weights),
        m_keys(keys),
        m_threads(threads),
        m_requests(pass.tiles.size() * pass.groups) {
    const he::Parameters& parameters = m_parameters;
    const std::size_t n = parameters.degree();
    for (std::uint32_t group = 0; group < pass.groups; ++group) {
      m_entries.push_back(plan.weightEntries(pass, group));
    }
    for (std::uint32_t level = 0; level < pass.levels; ++level) {
      const std::size_t spacing = spacingOf(level);
      const auto exponent = static_cast<std::uint32_t>(n / spacing + 1);
      const auto key = std::find_if(keys.galois.begin(), keys.galois.end(),
                                    [&](const he::GaloisKey& k) { return k.exponent == exponent; });
      if (key == keys.galois.end()) throw std::logic_error("a Galois key is missing");
      m_galois.push_back(&*key);
      std::vector<std::int64_t> monomial(spacing + 1, 0);
      monomial[spacing] = 1;
      he::forward(parameters.full(),
                  m_shifts.emplace_back(he::fromSmall(parameters.full(), monomial)));
    }
    for (std::size_t i = 0; i < m_q.count(); ++i) {
      const he::Modulus& q = m_q.modulus(i);
      m_undoubling.push_back(q.inverse(q.power(2, pass.levels)));
    }
    // Each block is cut into subtrees where there are fewer blocks than threads.
    while (m_depth < pass.levels && (std::size_t{pass.blocks} << m_depth) < 2 * threads) ++m_depth;
  }

  Status takeRequest(std::size_t number, std::span<const std::byte> bytes) override {
    PILLARBOX_ASSIGN(const he::SeededCiphertext request,
                     he::parseSeededCiphertext(m_parameters, bytes));
    he::Ciphertext& ciphertext = m_requests[number];
    ciphertext = he::expand(m_parameters, request);
    he::scale(m_q, ciphertext.c0, m_undoubling);
    he::scale(m_q, ciphertext.c1, m_undoubling);
    return {};
  }

  std::uint32_t wave() const override { return std::max(1U, 2 * m_threads >> m_depth); }

  Result<std::vector<std::vector<std::byte>>> replies(
      std::uint32_t first, std::uint32_t blocks, std::span<const std::uint64_t> mask,
      std::span<const random::Seed> secrets) override {
    const std::uint32_t parts = 1U << m_depth;
    std::vector<Tiles> packed(std::size_t{blocks} * parts);
    forEach(m_threads, packed.size(), [&](std::size_t i) {
      const auto block = static_cast<std::uint32_t>(first + i / parts);
      const auto residue = static_cast<std::uint32_t>(i % parts);
      if (residue >= m_pass.leavesOf(block)) return;
      Scratch scratch(*this);
      packed[i] = pack(block, m_depth, residue, scratch);
    });
    for (std::uint32_t level = m_depth; level-- > 0;) {
      const std::uint32_t pairs = 1U << level;
      forEach(m_threads, std::size_t{blocks} * pairs, [&](std::size_t i) {
        Tiles& even = packed[i / pairs * parts + i % pairs];
        if (!even.empty()) {
          merge(level, even, std::move(packed[i / pairs * parts + i % pairs + pairs]));
        }
      });
    }
    const std::size_t tiles = m_pass.tiles.size();
    std::vector<std::vector<std::byte>> replies(blocks * tiles);
    FirstError error;
    forEach(m_threads, replies.size(), [&](std::size_t i) {
      const auto block = static_cast<std::uint32_t>(i / tiles);
      auto sampler = he::Sampler::of(secrets[i]);
      if (!sampler.ok()) return error.add(sampler.error());
      const auto entries = m_plan.outputEntries(m_pass, m_pass.tiles[i % tiles], first + block);
      he::Ciphertext& result = packed[block * parts][i % tiles];
      result.c0 = he::narrowed(m_parameters, result.c0);
      replies[i] = he::serialize(
          m_parameters,
          he::reply(m_parameters, m_keys.publicKey, result,
                    m_context.requestWords().encode(negatedMask(m_parameters, entries, mask)),
                    kFloodingBits, indicesOf(entries), *sampler));
    });
    PILLARBOX_TRY(error.status());
    return replies;
  }

 private:
  /// One ciphertext for each tile, c0 over the full basis (he::addAutomorphism).
  using Tiles = std::vector<he::Ciphertext>;

  /// What one thread needs for leaves.
  struct Scratch {
    explicit Scratch(const ProcessorPass& work)
        : atOnce(std::min<std::size_t>(kGroupsAtOnce, work.m_pass.groups)),
          transformed(atOnce * work.m_parameters.degree()),
          part(work.m_parameters.degree()),
          values(atOnce),
          a(atOnce),
          b(atOnce) {}
    std::size_t atOnce;
    SecureVector<std::uint64_t> transformed, part;
    std::vector<SecureVector<std::int64_t>> values;
    std::vector<const std::uint64_t*> a, b;
  };

  /// The merged leaves that are `residue` mod 2^level, of a block; there must be such a leaf.
  Tiles pack(std::uint32_t block, std::uint32_t level, std::uint32_t residue,
             Scratch& scratch) const {
    if (level == m_pass.levels) return leaf((block << m_pass.levels) + residue, scratch);
    Tiles even = pack(block, level + 1, residue, scratch);
    const std::uint32_t odd = residue + (1U << level);
    merge(level, even,
          odd < m_pass.leavesOf(block) ? pack(block, level + 1, odd, scratch) : Tiles());
    return even;
  }

  /// a := merge(a, b, g / 2^(levels − level)); an empty b is absent.
  void merge(std::uint32_t level, Tiles& a, Tiles b) const {
    const he::Basis& full = m_parameters.full();
    for (std::size_t tile = 0; tile < a.size(); ++tile) {
      if (b.empty()) {
        he::addTo(full, a[tile].c0, a[tile].c0);
        he::addTo(m_q, a[tile].c1, a[tile].c1);
        continue;
      }
      he::Ciphertext difference{he::Poly(full), he::Poly(m_q)};
      for (he::Poly he::Ciphertext::*half : {&he::Ciphertext::c0, &he::Ciphertext::c1}) {
        he::Poly &even = a[tile].*half, &odd = b[tile].*half, &less = difference.*half;
        for (std::size_t limb = 0; limb < even.limbs(); ++limb) {
          const he::Modulus& q = full.modulus(limb);
          const std::uint64_t *x = odd.limb(limb), *shift = m_shifts[level].limb(limb);
          he::kernels().dot(q, &x, &shift, 1, odd.limb(limb), full.degree());
          he::kernels().subtract(q, even.limb(limb), x, less.limb(limb), full.degree());
          he::kernels().add(q, even.limb(limb), x, even.limb(limb), full.degree());
        }
      }
      he::addAutomorphism(m_parameters, *m_galois[level], difference, a[tile]);
    }
  }

  std::size_t spacingOf(std::uint32_t level) const {
    return std::size_t{m_pass.channels >> m_pass.levels} << level;
  }

  /// The products of a leaf's weight polynomials with all tiles' requests.
  Tiles leaf(std::uint32_t number, Scratch& scratch) const {
    const std::size_t n = m_parameters.degree(), tiles = m_pass.tiles.size();
    const std::size_t from = number * m_plan.weightsPerLeaf(m_pass);
    Tiles result;
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      result.push_back({he::Poly(m_parameters.full()), he::Poly(m_q)});
      he::Poly& c0 = result.back().c0;
      std::fill(c0.limb(m_q.count()), c0.limb(0) + c0.words().size(), 0);
    }
    auto& [atOnce, transformed, part, values, a, b] = scratch;
    for (std::size_t first = 0; first < m_pass.groups; first += atOnce) {
      const std::size_t groups = std::min(atOnce, m_pass.groups - first);
      for (std::size_t k = 0; k < groups; ++k) {
        const auto& entries = m_entries[first + k];
        values[k].resize(entries.size());
        for (std::size_t e = 0; e < entries.size(); ++e) {
          const std::size_t source = from + entries[e].source;
          const std::int64_t weight = source < m_weights.size() ? m_weights[source] : 0;
          values[k][e] = entries[e].negative ? -weight : weight;
        }
      }
      for (std::size_t limb = 0; limb < m_q.count(); ++limb) {
        const he::Modulus& q = m_q.modulus(limb);
        std::fill(transformed.begin(), transformed.end(), 0);
        for (std::size_t k = 0; k < groups; ++k) {
          std::uint64_t* polynomial = transformed.data() + k * n;
          const auto& entries = m_entries[first + k];
          for (std::size_t e = 0; e < entries.size(); ++e) {
            const std::int64_t value = values[k][e];  // below every prime of 49 bits
            polynomial[entries[e].index] = static_cast<std::uint64_t>(value) +
                                           (q.value() & static_cast<std::uint64_t>(value >> 63));
          }
          m_q.ntt(limb).forward(polynomial);
          b[k] = polynomial;
        }
        for (std::size_t tile = 0; tile < tiles; ++tile) {
          for (he::Poly he::Ciphertext::*half : {&he::Ciphertext::c0, &he::Ciphertext::c1}) {
            for (std::size_t k = 0; k < groups; ++k) {
              a[k] = (m_requests[tile * m_pass.groups + first + k].*half).limb(limb);
            }
            std::uint64_t* sum = (result[tile].*half).limb(limb);
            he::kernels().dot(q, a.data(), b.data(), groups, first == 0 ? sum : part.data(), n);
            if (first != 0) he::kernels().add(q, sum, part.data(), sum, n);
          }
        }
      }
    }
    return result;
  }

  const LinearContext& m_context;
  const LinearPlan& m_plan;
  const Pass& m_pass;
  const he::Parameters& m_parameters;
  const he::Basis& m_q;
  std::span<const std::int32_t> m_weights;
  const LinearKeys& m_keys;
  const unsigned m_threads;
  std::uint32_t m_depth = 0;                                    // of the subtrees' roots
  std::vector<std::vector<LinearPlan::WeightEntry>> m_entries;  // by group
  std::vector<const he::GaloisKey*> m_galois;                   // by level
  std::vector<he::Poly> m_shifts;           // by level: X^h over the full basis, transformed
  std::vector<std::uint64_t> m_undoubling;  // 2^-levels mod each prime
  std::vector<he::Ciphertext> m_requests;   // tile by tile
};

class ProcessorOp : public OpWork {
 public:
  ProcessorOp(std::shared_ptr<const LinearContext> context, const LinearPlan& plan,
              std::span<const std::int32_t> weights)
      : m_context(std::move(context)), m_plan(plan), m_weights(weights) {}
  std::unique_ptr<PassWork> begin(const Pass& pass, const LinearKeys& keys,
                                  unsigned threads) const override {
    return std::make_unique<ProcessorPass>(*m_context, m_plan, pass, m_weights, keys, threads);
  }

 private:
  std::shared_ptr<const LinearContext> m_context;
  const LinearPlan& m_plan;
  std::span<const std::int32_t> m_weights;
};

class ProcessorBackend : public LinearBackend {
 public:
  explicit ProcessorBackend(std::shared_ptr<const LinearContext> context)
      : m_context(std::move(context)) {}
  std::shared_ptr<const OpWork> prepare(const LinearPlan& plan,
                                        std::span<const std::int32_t> weights) const override {
    return std::make_shared<ProcessorOp>(m_context, plan, weights);
  }
  std::shared_ptr<const KeptKeys> keep(const LinearKeys&) const override { return nullptr; }

 private:
  std::shared_ptr<const LinearContext> m_context;
};

}  // namespace

LinearContext::LinearContext(std::shared_ptr<const he::Parameters> parameters)
    : m_parameters(std::move(parameters)),
      m_sizes(CiphertextSizes::of(*m_parameters)),
      m_request(m_parameters->q()),
      m_reply(m_parameters->returned()) {}

Result<std::shared_ptr<const LinearContext>> LinearContext::create() {
  he::ParameterShape shape;
  shape.degree = kDegree;
  shape.ciphertextBits = {kPrimeBits, kPrimeBits, kPrimeBits};
  shape.specialBits = {kPrimeBits};
  shape.returnBits = {kReturnBits, kReturnBits};
  PILLARBOX_ASSIGN(std::shared_ptr<const he::Parameters> parameters, he::Parameters::create(shape));
  return std::shared_ptr<const LinearContext>(new LinearContext(std::move(parameters)));
}

double LinearContext::replyDistance() const {
  const double merges = std::exp2(kMaxLevels) - 1;
  const double error = he::productNoiseMean(static_cast<double>(kMaxLeafNorm),
                                            std::sqrt(static_cast<double>(kMaxLeafSquares))) +
                       merges * he::keySwitchNoiseMean(*m_parameters) +
                       he::zeroNoiseMean(*m_parameters) + 2;
  return error * std::exp2(-static_cast<double>(kFloodingBits));
}

std::vector<std::uint32_t> galoisExponents(std::span<const LinearPlan> plans) {
  std::vector<std::uint32_t> exponents;
  for (const LinearPlan& plan : plans) {
    for (const Pass& pass : plan.passes()) {
      for (std::uint32_t level = 0; level < pass.levels; ++level) {
        exponents.push_back((plan.sizes().degree / (pass.channels >> pass.levels) >> level) + 1);
      }
    }
  }
  std::sort(exponents.begin(), exponents.end());
  exponents.erase(std::unique(exponents.begin(), exponents.end()), exponents.end());
  return exponents;
}

Status LinearClient::request(const LinearPlan& plan, const Pass& pass,
                             std::span<const std::uint64_t> input, const ByteSink& sink,
                             unsigned threads) const {
  const he::Parameters& parameters = m_context->parameters();
  const std::size_t total = pass.tiles.size() * pass.groups;
  const std::size_t atOnce = 4 * std::max(1U, threads);
  std::vector<std::vector<std::byte>> bytes(std::min(total, atOnce));
  for (std::size_t first = 0; first < total; first += atOnce) {
    const std::size_t count = std::min(atOnce, total - first);
    FirstError error;
    forEach(threads, count, [&](std::size_t i) {
      auto sampler = he::Sampler::fresh();
      if (!sampler.ok()) return error.add(sampler.error());
      SecureVector<std::uint64_t> words(parameters.degree());
      plan.gather(pass, pass.tiles[(first + i) / pass.groups],
                  static_cast<std::uint32_t>((first + i) % pass.groups), input, words);
      bytes[i] = he::serialize(
          parameters,
          he::encrypt(parameters, *m_key, m_context->m_request.encode(words), *sampler));
    });
    PILLARBOX_TRY(error.status());
    for (std::size_t i = 0; i < count; ++i) PILLARBOX_TRY(sink(bytes[i]));
  }
  return {};
}

Status LinearClient::receive(const LinearPlan& plan, const Pass& pass, const ByteSource& source,
                             std::span<std::uint64_t> output, unsigned threads) const {
  if (output.size() != plan.op().out.size()) {
    throw std::logic_error("linear phase: an output of another shape");
  }
  const he::Parameters& parameters = m_context->parameters();
  const std::size_t tiles = pass.tiles.size(), total = tiles * pass.blocks;
  const std::size_t atOnce = 4 * std::max(1U, threads);
  std::vector<std::vector<std::byte>> bytes(std::min(total, atOnce));
  for (std::size_t first = 0; first < total; first += atOnce) {
    const std::size_t count = std::min(atOnce, total - first);
    const auto tileOf = [&](std::size_t i) -> const Tile& {
      return pass.tiles[(first + i) % tiles];
    };
    const auto blockOf = [&](std::size_t i) {
      return static_cast<std::uint32_t>((first + i) / tiles);
    };
    for (std::size_t i = 0; i < count; ++i) {
      bytes[i].resize(plan.replyBytes(plan.outputCount(pass, tileOf(i), blockOf(i))));
      PILLARBOX_TRY(source(bytes[i]));
    }
    FirstError error;
    forEach(threads, count, [&](std::size_t i) {
      const auto entries = plan.outputEntries(pass, tileOf(i), blockOf(i));
      const auto reply = he::parseReply(parameters, entries.size(), bytes[i]);
      if (!reply.ok()) return error.add(reply.error());
      const std::vector<std::uint32_t> wanted = indicesOf(entries);
      SecureVector<std::uint64_t> words(entries.size());
      m_context->m_reply.decode(he::decrypt(parameters, *m_key, *reply, wanted), wanted, words);
      for (std::size_t k = 0; k < entries.size(); ++k) {
        output[entries[k].element] = entries[k].negative ? 0 - words[k] : words[k];
      }
    });
    PILLARBOX_TRY(error.status());
  }
  return {};
}

Result<LinearEngine> LinearEngine::create(std::shared_ptr<const LinearContext> context,
                                          const LinearPlan& plan,
                                          std::span<const std::int32_t> weights,
                                          const LinearBackend* backend) {
  if (weights.size() != plan.op().weightCount()) {
    throw std::logic_error("linear phase: weights of another shape");
  }
  for (const Pass& pass : plan.passes()) {
    const std::size_t leaf = plan.weightsPerLeaf(pass);
    for (std::size_t first = 0; first < weights.size(); first += leaf) {
      std::uint64_t norm = 0;
      double squares = 0;
      for (const std::int32_t weight :
           weights.subspan(first, std::min(leaf, weights.size() - first))) {
        norm += static_cast<std::uint64_t>(weight < 0 ? -std::int64_t{weight} : weight);
        squares += static_cast<double>(weight) * weight;
      }
      if (norm > kMaxLeafNorm || squares > static_cast<double>(kMaxLeafSquares)) {
        const auto text = [](double value) {
          return std::to_string(static_cast<std::uint64_t>(std::ceil(value)));
        };
        return Error{
            ErrorCode::InvalidArgument,
            "the weights of " + plan.op().name +
                " are too large for the two-party offline phase (of " +
                std::to_string(pass.outputs) + " outputs together, the magnitudes add up to " +
                std::to_string(norm) + ", at most " + std::to_string(kMaxLeafNorm) +
                " are safe, and the root of the sum of their squares is " +
                text(std::sqrt(squares)) + ", at most " +
                text(std::sqrt(static_cast<double>(kMaxLeafSquares))) +
                "): export the model with fewer fraction bits for its weights, or use a dealer"};
      }
    }
  }
  LinearEngine engine;
  engine.m_plan = &plan;
  try {
    engine.m_work = backend != nullptr
                        ? backend->prepare(plan, weights)
                        : processorBackend(std::move(context))->prepare(plan, weights);
  } catch (const device::DeviceError& failure) {
    return Error{ErrorCode::Internal, failure.what()};
  }
  return engine;
}

Status LinearEngine::evaluate(const Pass& pass, const LinearKeys& keys, const ByteSource& source,
                              std::span<const std::uint64_t> mask, const ByteSink& sink,
                              unsigned threads) const {
  if (mask.size() != m_plan->op().out.size()) {
    throw std::logic_error("linear phase: a mask of another shape");
  }
  threads = std::max(1U, threads);
  try {
    const auto work = m_work->begin(pass, keys, threads);
    const std::size_t requests = pass.tiles.size() * pass.groups, atOnce = 4 * threads;
    std::vector<std::vector<std::byte>> bytes(std::min(requests, atOnce));
    for (std::size_t first = 0; first < requests; first += atOnce) {
      const std::size_t count = std::min(atOnce, requests - first);
      for (std::size_t i = 0; i < count; ++i) {
        bytes[i].resize(m_plan->sizes().requestBytes);
        PILLARBOX_TRY(source(bytes[i]));
      }
      FirstError error;
      forEach(threads, count,
              [&](std::size_t i) { error.add(work->takeRequest(first + i, bytes[i])); });
      PILLARBOX_TRY(error.status());
    }
    for (std::uint32_t first = 0; first < pass.blocks;) {
      const std::uint32_t blocks = std::min(work->wave(), pass.blocks - first);
      std::vector<random::Seed> secrets(blocks * pass.tiles.size());
      for (random::Seed& secret : secrets) {
        PILLARBOX_ASSIGN(secret, random::freshSeed());
      }
      PILLARBOX_ASSIGN(const auto replies, work->replies(first, blocks, mask, secrets));
      for (const auto& reply : replies) PILLARBOX_TRY(sink(reply));
      first += blocks;
    }
  } catch (const device::DeviceError& failure) {
    return Error{ErrorCode::Internal, failure.what()};
  }
  return {};
}

std::shared_ptr<const LinearBackend> processorBackend(
    std::shared_ptr<const LinearContext> context) {
  return std::make_shared<ProcessorBackend>(std::move(context));
}

}  // namespace pillarbox::offline::two_party
