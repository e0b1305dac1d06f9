// Linear layers on a GPU (linear_backend.h): weights and keys stay there, requests go in, replies
// come out. Everything between is done in batches of leaves:
//
//   1. weight polynomials of a batch of leaves, from the integers that are there, transformed;
//   those
//      of the first ops are kept transformed, as far as the memory for it goes;
//   2. their products with all tiles' requests, summed over the groups;
//   3. merges. The leaves of a block are numbered k = 0, 1, ...; a level merges k with k + half, so
//   a
//      batch is kept in that order and its second half is merged into its first, level by level. A
//      subtree of a block that does not fit a batch is cut in two, as on the processor; small
//      blocks are taken several at a time;
//   4. replies (he::DeviceRing::replies).
//
// How the work is cut depends on public shapes alone.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <stdexcept>

#include "engine/he/device_ring.h"
#include "engine/he/wire.h"
#include "engine/offline/two_party/linear.h"

namespace pillarbox::offline::two_party {

namespace {

using device::Buffer;
using device::check;
using he::DeviceArena;
using he::DeviceCiphertexts;
using he::DeviceRing;

struct KeptOnDevice : KeptKeys {
  KeptOnDevice(const DeviceRing& ring, const LinearKeys& keys)
      : publicKey(ring.copied(keys.publicKey)) {
    for (const he::GaloisKey& key : keys.galois) {
      exponents.push_back(key.exponent);
      galois.push_back(ring.copied(key));
    }
  }
  const he::DeviceGaloisKey& of(std::uint32_t exponent) const {
    const auto place = std::find(exponents.begin(), exponents.end(), exponent);
    if (place == exponents.end()) throw std::logic_error("a Galois key is missing");
    return galois[static_cast<std::size_t>(place - exponents.begin())];
  }
  he::DevicePublicKey publicKey;
  std::vector<std::uint32_t> exponents;
  std::vector<he::DeviceGaloisKey> galois;
};

/// Leaves that are taken together: of each of some blocks, those that are `residue` mod 2^depth.
struct Batch {
  std::uint32_t firstBlock = 0, blocks = 0;
  std::uint32_t depth = 0, residue = 0;
  std::uint32_t leaves = 0;  ///< of each block
};

/// How a pass is cut into batches.
struct Cut {
  Cut(const Pass& pass, const DeviceBatches& batches) : pass(pass) {
    const std::size_t most = std::max<std::size_t>(
        1, std::min(batches.ciphertexts / pass.tiles.size(), batches.factors / pass.groups));
    while (depth < pass.levels && std::size_t{1} << (pass.levels - depth) > most) ++depth;
    if (depth == 0) {
      blocks = static_cast<std::uint32_t>(
          std::min<std::size_t>(std::max<std::size_t>(1, most >> pass.levels), pass.blocks));
    }
  }
  Batch batch(std::uint32_t firstBlock, std::uint32_t count, std::uint32_t residue) const {
    const std::uint32_t leaves = pass.leavesOf(firstBlock);
    return {firstBlock, count, depth, residue, (leaves + (1U << depth) - 1 - residue) >> depth};
  }
  /// Blocks from `first` on that are taken together: all have the same number of leaves.
  std::uint32_t together(std::uint32_t first) const {
    const std::uint32_t count = std::min(blocks, pass.blocks - first);
    const bool last = first + count == pass.blocks;
    return last && count > 1 && pass.leavesOf(pass.blocks - 1) != pass.leavesOf(first) ? count - 1
                                                                                       : count;
  }
  std::size_t mostLeaves() const { return std::size_t{blocks} << (pass.levels - depth); }
  const Pass& pass;
  std::uint32_t depth = 0;   ///< of the subtrees that are batches
  std::uint32_t blocks = 1;  ///< most that are taken together
};

/// Arenas of passes that are done, for the next ones.
class Shelf {
 public:
  explicit Shelf(device::DevicePtr device) : m_device(std::move(device)) {}
  DeviceArena take(std::size_t bytes) {
    {
      const std::lock_guard lock(m_mutex);
      const auto place = std::find_if(m_arenas.begin(), m_arenas.end(),
                                      [&](const DeviceArena& a) { return a.size() >= bytes; });
      if (place != m_arenas.end()) {
        DeviceArena arena = std::move(*place);
        m_arenas.erase(place);
        return arena;
      }
      if (!m_arenas.empty()) m_arenas.pop_back();  // it is too small, and a greater one replaces it
    }
    return DeviceArena(m_device, bytes);
  }
  /// A cleared one.
  void giveBack(DeviceArena arena) {
    const std::lock_guard lock(m_mutex);
    if (m_arenas.size() < kMostKept) m_arenas.push_back(std::move(arena));
  }

 private:
  static constexpr std::size_t kMostKept = 4;
  const device::DevicePtr m_device;
  std::mutex m_mutex;
  std::vector<DeviceArena> m_arenas;
};

/// One op's weights on the device, and how its passes read them.
class DeviceOp : public OpWork, public std::enable_shared_from_this<DeviceOp> {
 public:
  DeviceOp(std::shared_ptr<const LinearContext> context, std::shared_ptr<const DeviceRing> ring,
           std::shared_ptr<Shelf> shelf, const LinearPlan& plan,
           std::span<const std::int32_t> weights, const DeviceBatches& batches,
           std::atomic<std::uint64_t>& cacheBytes, std::shared_ptr<device::Ledger> ledger)
      : m_context(std::move(context)),
        m_ring(std::move(ring)),
        m_shelf(std::move(shelf)),
        m_plan(plan),
        m_batches(batches),
        m_ledger(std::move(ledger)),
        m_onProcessor(processorBackend(m_context)->prepare(plan, weights)) {
    m_weights = m_ring->copied(weights);
    const std::size_t n = m_ring->degree();
    for (const Pass& pass : plan.passes()) {
      std::vector<std::int32_t> map(pass.groups * n, 0);
      for (std::uint32_t group = 0; group < pass.groups; ++group) {
        for (const auto& entry : plan.weightEntries(pass, group)) {
          const auto source = static_cast<std::int32_t>(entry.source) + 1;
          map[group * n + entry.index] = entry.negative ? -source : source;
        }
      }
      PassData& data = m_passes.emplace_back();
      data.pass = &pass;
      data.map = m_ring->copied<std::int32_t>(map);
      keepFactors(data, cacheBytes);
    }
  }

  std::unique_ptr<PassWork> begin(const Pass& pass, const LinearKeys& keys,
                                  unsigned threads) const override;

  const LinearContext& context() const { return *m_context; }
  const DeviceRing& ring() const { return *m_ring; }
  Shelf& shelf() const { return *m_shelf; }
  const LinearPlan& plan() const { return m_plan; }
  const DeviceBatches& batches() const { return m_batches; }
  device::Ledger& ledger() const { return *m_ledger; }

  struct PassData {
    const Pass* pass = nullptr;
    Buffer<std::int32_t> map;
    /// Transformed weight polynomials by batch, in the order of use; empty where they are not kept.
    std::vector<Buffer<std::uint64_t>> kept;
  };

  /// The transformed weight polynomials of a batch, leaf by leaf (k outermost), group by group.
  void makeFactors(device::Stream stream, const PassData& data, const Batch& batch,
                   std::uint64_t* out) const {
    const Pass& pass = *data.pass;
    const std::size_t polys = std::size_t{batch.leaves} * batch.blocks * pass.groups;
    he::cuda::Leaves leaves;
    leaves.first = (std::uint64_t{batch.firstBlock} << pass.levels) + batch.residue;
    leaves.blocks = batch.blocks;
    leaves.blockStep = 1U << pass.levels;
    leaves.step = 1U << batch.depth;
    leaves.groups = pass.groups;
    leaves.weights = m_plan.weightsPerLeaf(pass);
    const he::cuda::Rows rows = m_ring->q(out, polys);
    check(m_ring->table().factors(stream, m_ring->ring(), rows, m_weights.data(), m_weights.size(),
                                  data.map.data(), leaves));
    check(m_ring->table().forward(stream, m_ring->ring(), rows, false));
  }

 private:
  void keepFactors(PassData& data, std::atomic<std::uint64_t>& cacheBytes) {
    const Pass& pass = *data.pass;
    const std::uint64_t bytes = 8 * m_ring->qWords(std::size_t{pass.leaves} * pass.groups);
    std::uint64_t left = cacheBytes;
    do {
      if (left < bytes) return;
    } while (!cacheBytes.compare_exchange_weak(left, left - bytes));
    const Cut cut(pass, m_batches);
    const device::OwnedStream stream(m_ring->device());
    const he::FinishedStream finished(m_ring->device(), stream);
    for (std::uint32_t first = 0; first < pass.blocks;) {
      const std::uint32_t blocks = cut.together(first);
      for (const std::uint32_t residue : leafOrder(cut.depth, pass.leavesOf(first))) {
        const Batch batch = cut.batch(first, blocks, residue);
        auto& kept = data.kept.emplace_back(
            m_ring->device(),
            m_ring->qWords(std::size_t{batch.leaves} * batch.blocks * pass.groups));
        makeFactors(stream, data, batch, kept.data());
      }
      first += blocks;
    }
    check(m_ring->device()->table().finishStream(stream));
  }

  /// Residues mod 2^depth in the order in which a tree's subtrees are packed.
  static std::vector<std::uint32_t> leafOrder(std::uint32_t depth, std::uint32_t leaves) {
    std::vector<std::uint32_t> order;
    const auto visit = [&](const auto& self, std::uint32_t level, std::uint32_t residue) -> void {
      if (residue >= leaves) return;
      if (level == depth) return order.push_back(residue);
      self(self, level + 1, residue);
      self(self, level + 1, residue + (1U << level));
    };
    visit(visit, 0, 0);
    return order;
  }

  std::shared_ptr<const LinearContext> m_context;
  std::shared_ptr<const DeviceRing> m_ring;
  std::shared_ptr<Shelf> m_shelf;
  const LinearPlan& m_plan;
  const DeviceBatches m_batches;
  const std::shared_ptr<device::Ledger> m_ledger;
  const std::shared_ptr<const OpWork> m_onProcessor;
  Buffer<std::int32_t> m_weights;
  std::vector<PassData> m_passes;
};

/// What a pass takes of an arena.
struct PassMemory {
  PassMemory(const DeviceRing& ring, DeviceArena& arena, const Pass& pass, const Cut& cut,
             const DeviceBatches& batches, bool factorsAreKept)
      : merges(ring, arena, std::min(batches.merges, mergesAtOnce(pass, cut))),
        replies(ring, arena, std::min(batches.replies, cut.blocks * pass.tiles.size())) {
    const std::size_t tiles = pass.tiles.size(), requests = tiles * pass.groups;
    seeds = arena.take<std::uint8_t>(requests * sizeof(random::Seed::bytes));
    schedules = arena.take<std::uint32_t>(requests * he::cuda::kKeyWords);
    requests0 = arena.take<std::uint64_t>(ring.qWords(requests));
    requests1 = arena.take<std::uint64_t>(ring.qWords(requests));
    const auto ciphertexts = [&](std::size_t count) {
      return DeviceCiphertexts{arena.take<std::uint64_t>(ring.fullWords(count)),
                               arena.take<std::uint64_t>(ring.qWords(count))};
    };
    leaves = ciphertexts(cut.mostLeaves() * tiles);
    for (std::uint32_t slot = 0; cut.depth > 0 && slot <= cut.depth; ++slot) {
      slots.push_back(ciphertexts(tiles));
    }
    if (!factorsAreKept) {
      factors = arena.take<std::uint64_t>(ring.qWords(cut.mostLeaves() * pass.groups));
    }
  }
  static std::size_t mergesAtOnce(const Pass& pass, const Cut& cut) {
    return pass.levels == 0 ? 1
                            : std::max<std::size_t>(1, cut.mostLeaves() / 2) * pass.tiles.size();
  }

  DeviceRing::MergeScratch merges;
  DeviceRing::ReplyScratch replies;
  std::uint8_t* seeds;
  std::uint32_t* schedules;
  std::uint64_t *requests0, *requests1;  ///< tile by tile, group by group
  DeviceCiphertexts leaves;              ///< of a batch
  std::vector<DeviceCiphertexts> slots;  ///< where the tree is cut
  std::uint64_t* factors = nullptr;      ///< of a batch, where they are not kept
};

class DevicePass : public PassWork {
 public:
  DevicePass(std::shared_ptr<const DeviceOp> op, const DeviceOp::PassData& data,
             const LinearKeys& keys)
      : m_op(std::move(op)),
        m_ring(m_op->ring()),
        m_data(data),
        m_pass(*data.pass),
        m_cut(m_pass, m_op->batches()),
        m_kept(std::dynamic_pointer_cast<const KeptOnDevice>(keys.kept)),
        m_requestCount(m_pass.tiles.size() * m_pass.groups),
        m_received(m_ring.qWords(m_requestCount)),
        m_seeds(m_requestCount * sizeof(random::Seed::bytes)),
        m_stream(m_ring.device()),
        m_began(m_ring.device()),
        m_done(m_ring.device()) {
    if (!m_kept) m_kept = std::make_shared<KeptOnDevice>(m_ring, keys);
    for (std::uint32_t level = 0; level < m_pass.levels; ++level) {
      const std::size_t spacing = std::size_t{m_pass.channels >> m_pass.levels} << level;
      m_galois.push_back(&m_kept->of(static_cast<std::uint32_t>(m_ring.degree() / spacing + 1)));
    }
    DeviceArena measured;
    takeMemory(measured);
    m_arena = m_op->shelf().take(measured.used());
    m_memory.emplace(takeMemory(m_arena));
  }

  ~DevicePass() override {
    try {
      m_arena.clear(m_ring.device(), m_stream);
      m_op->shelf().giveBack(std::move(m_arena));
    } catch (const std::exception&) {
      // A device that fails here fails the next pass too, which says so. The stream has ended or
      // will never; the arena's memory is released.
    }
  }

  Status takeRequest(std::size_t number, std::span<const std::byte> bytes) override {
    PILLARBOX_ASSIGN(const he::SeededCiphertext request,
                     he::parseSeededCiphertext(m_ring.parameters(), bytes));
    std::copy_n(request.c0.limb(0), m_ring.qWords(1), m_received.data() + m_ring.qWords(number));
    std::copy(request.seed.bytes.begin(), request.seed.bytes.end(),
              m_seeds.begin() + static_cast<std::ptrdiff_t>(number * request.seed.bytes.size()));
    return {};
  }

  std::uint32_t wave() const override { return m_cut.together(m_next); }

  Result<std::vector<std::vector<std::byte>>> replies(
      std::uint32_t first, std::uint32_t blocks, std::span<const std::uint64_t> mask,
      std::span<const random::Seed> secrets) override {
    if (first != m_next || blocks != m_cut.together(first)) {
      throw std::logic_error("replies in another order");
    }
    return m_op->ledger().watch(device::Purpose::Preparation,
                                [&] { return makeReplies(first, blocks, mask, secrets); });
  }

 private:
  Result<std::vector<std::vector<std::byte>>> makeReplies(std::uint32_t first, std::uint32_t blocks,
                                                          std::span<const std::uint64_t> mask,
                                                          std::span<const random::Seed> secrets) {
    begin();
    if (first == 0) upload();
    const DeviceCiphertexts results = pack(first, blocks, 0, 0, 0);
    m_next += blocks;

    const he::Parameters& parameters = m_ring.parameters();
    const std::size_t n = m_ring.degree(), tiles = m_pass.tiles.size();
    std::vector<std::vector<std::byte>> serialised;
    for (std::size_t from = 0; from < blocks * tiles; from += m_memory->replies.capacity) {
      const std::size_t count = std::min(m_memory->replies.capacity, blocks * tiles - from);
      SecureVector<std::uint64_t> words;
      words.reserve(count * n);
      std::vector<std::vector<std::uint32_t>> wanted;
      for (std::size_t i = from; i < from + count; ++i) {
        const auto entries = m_op->plan().outputEntries(
            m_pass, m_pass.tiles[i % tiles], first + static_cast<std::uint32_t>(i / tiles));
        wanted.push_back(indicesOf(entries));
        const auto addend = negatedMask(parameters, entries, mask);
        words.insert(words.end(), addend.begin(), addend.end());
      }
      if (from > 0) begin();
      const auto replies = m_ring.replies(m_stream, m_kept->publicKey, m_memory->replies,
                                          m_ring.at(results, from), m_op->context().requestWords(),
                                          words, wanted, secrets.subspan(from, count));
      end();
      for (const he::Reply& reply : replies) {
        serialised.push_back(he::serialize(parameters, reply));
      }
    }
    return serialised;
  }

  /// Around work that ends with the host waiting for it: what it took is counted.
  void begin() { check(m_ring.device()->table().record(m_began, m_stream)); }
  void end() {
    const device::Table& table = m_ring.device()->table();
    double seconds = 0;
    check(table.record(m_done, m_stream));
    check(table.finishEvent(m_done));
    check(table.secondsBetween(m_began, m_done, &seconds));
    m_op->ledger().worked(device::Purpose::Preparation, seconds);
  }

  PassMemory takeMemory(DeviceArena& arena) const {
    return PassMemory(m_ring, arena, m_pass, m_cut, m_op->batches(), !m_data.kept.empty());
  }

  /// The requests, expanded and multiplied by 2^-levels.
  void upload() {
    const device::Table& memory = m_ring.device()->table();
    const he::Basis& q = m_ring.parameters().q();
    std::vector<std::uint64_t> undoubling;
    for (std::size_t i = 0; i < q.count(); ++i) {
      undoubling.push_back(q.modulus(i).inverse(q.modulus(i).power(2, m_pass.levels)));
    }
    const he::cuda::Scalars scalars = DeviceRing::scalars(undoubling);
    const he::FinishedStream finished(m_ring.device(), m_stream);
    check(memory.copyIn(m_stream, m_memory->requests0, m_received.data(), m_received.size() * 8));
    check(memory.copyIn(m_stream, m_memory->seeds, m_seeds.data(), m_seeds.size()));
    m_ring.expand(m_stream, m_memory->requests1, m_memory->seeds, m_memory->schedules,
                  m_requestCount);
    for (std::uint64_t* requests : {m_memory->requests0, m_memory->requests1}) {
      const he::cuda::Rows rows = m_ring.q(requests, m_requestCount);
      check(m_ring.table().scale(m_stream, m_ring.ring(), rows, rows, scalars));
    }
    check(memory.finishStream(m_stream));
    m_received = {};
  }

  /// The merged leaves that are `residue` mod 2^level, of some blocks: a ciphertext for each block
  /// and tile. Where the tree is cut they go to slot `target`.
  DeviceCiphertexts pack(std::uint32_t first, std::uint32_t blocks, std::uint32_t level,
                         std::uint32_t residue, std::size_t target) {
    const std::size_t count = blocks * m_pass.tiles.size();
    if (m_cut.depth == 0) return leaves(m_cut.batch(first, blocks, residue));
    const DeviceCiphertexts result = m_memory->slots[target];
    if (level == m_cut.depth) {
      const DeviceCiphertexts packed = leaves(m_cut.batch(first, blocks, residue));
      he::cuda::Scalars ones;
      std::fill(std::begin(ones.values), std::end(ones.values), 1);
      check(m_ring.table().scale(m_stream, m_ring.ring(), m_ring.full(result.c0, count),
                                 m_ring.full(packed.c0, count), ones));
      check(m_ring.table().scale(m_stream, m_ring.ring(), m_ring.q(result.c1, count),
                                 m_ring.q(packed.c1, count), ones));
      return result;
    }
    pack(first, blocks, level + 1, residue, target);
    const std::uint32_t odd = residue + (1U << level);
    if (odd < m_pass.leavesOf(first)) {
      m_ring.merge(m_stream, *m_galois[level], m_memory->merges, result,
                   pack(first, blocks, level + 1, odd, target + 1), count);
    } else {
      m_ring.twice(m_stream, result, count);
    }
    return result;
  }

  /// The products of a batch's leaves, merged.
  DeviceCiphertexts leaves(const Batch& batch) {
    const he::cuda::HeTable& table = m_ring.table();
    const std::size_t tiles = m_pass.tiles.size(), each = batch.blocks * tiles;
    const auto qs = static_cast<std::uint32_t>(m_ring.parameters().q().count());
    const std::uint32_t group = m_pass.groups * qs;
    const std::uint64_t* factors = nullptr;
    if (m_data.kept.empty()) {
      m_op->makeFactors(m_stream, m_data, batch, m_memory->factors);
      factors = m_memory->factors;
    } else {
      factors = m_data.kept[m_batches++].data();
    }
    const DeviceCiphertexts nodes = m_memory->leaves;
    const std::size_t count = batch.leaves * each;
    check(m_ring.device()->table().zero(m_stream, nodes.c0, m_ring.fullWords(count) * 8));
    check(table.dotPair(
        m_stream, m_ring.ring(), m_ring.lower(nodes.c0, count), m_ring.q(nodes.c1, count),
        {factors, group, 0, qs, 1}, {m_memory->requests0, 0, group, qs, 1},
        {m_memory->requests1, 0, group, qs, 1}, static_cast<std::uint32_t>(tiles), m_pass.groups));
    std::size_t present = batch.leaves;
    for (std::uint32_t level = m_pass.levels; level-- > batch.depth;) {
      const std::size_t half = std::size_t{1} << (level - batch.depth);
      const std::size_t pairs = present > half ? present - half : 0;
      m_ring.merge(m_stream, *m_galois[level], m_memory->merges, nodes,
                   m_ring.at(nodes, half * each), pairs * each);
      present = std::min(present, half);
      m_ring.twice(m_stream, m_ring.at(nodes, pairs * each), (present - pairs) * each);
    }
    return nodes;
  }

  const std::shared_ptr<const DeviceOp> m_op;
  const DeviceRing& m_ring;
  const DeviceOp::PassData& m_data;
  const Pass& m_pass;
  const Cut m_cut;
  std::shared_ptr<const KeptOnDevice> m_kept;
  const std::size_t m_requestCount;
  std::vector<std::uint64_t> m_received;  ///< c0 of the requests, until they are uploaded
  std::vector<std::uint8_t> m_seeds;
  std::vector<const he::DeviceGaloisKey*> m_galois;  ///< by level
  std::uint32_t m_next = 0;                          ///< block
  std::size_t m_batches = 0;                         ///< used so far
  DeviceArena m_arena;
  std::optional<PassMemory> m_memory;
  const device::OwnedStream m_stream;
  const device::OwnedEvent m_began, m_done;
};

std::unique_ptr<PassWork> DeviceOp::begin(const Pass& pass, const LinearKeys& keys,
                                          unsigned threads) const {
  const auto data = std::find_if(m_passes.begin(), m_passes.end(),
                                 [&pass](const PassData& own) { return own.pass == &pass; });
  if (data == m_passes.end()) throw std::logic_error("a pass of another plan");
  try {
    if (m_ledger->usable()) return std::make_unique<DevicePass>(shared_from_this(), *data, keys);
  } catch (const device::DeviceError&) {
    m_ledger->declined(device::Purpose::Preparation);
  }
  return m_onProcessor->begin(pass, keys, threads);
}

class DeviceBackend : public LinearBackend {
 public:
  DeviceBackend(std::shared_ptr<const LinearContext> context, device::DevicePtr device,
                std::uint64_t keptBytes, const DeviceBatches& batches,
                std::shared_ptr<device::Ledger> ledger)
      : m_context(std::move(context)),
        m_ledger(std::move(ledger)),
        m_ring(std::make_shared<DeviceRing>(std::move(device), m_context->sharedParameters(),
                                            kFloodingBits)),
        m_shelf(std::make_shared<Shelf>(m_ring->device())),
        m_batches(batches),
        m_keptBytes(keptBytes) {}
  std::shared_ptr<const OpWork> prepare(const LinearPlan& plan,
                                        std::span<const std::int32_t> weights) const override {
    return std::make_shared<DeviceOp>(m_context, m_ring, m_shelf, plan, weights, m_batches,
                                      m_keptBytes, m_ledger);
  }
  std::shared_ptr<const KeptKeys> keep(const LinearKeys& keys) const override {
    try {
      if (m_ledger->usable()) return std::make_shared<KeptOnDevice>(*m_ring, keys);
    } catch (const device::DeviceError&) {
      m_ledger->declined(device::Purpose::Preparation);
    }
    return nullptr;  // each pass brings them along, if there is room for it then
  }

 private:
  std::shared_ptr<const LinearContext> m_context;
  std::shared_ptr<device::Ledger> m_ledger;
  std::shared_ptr<const DeviceRing> m_ring;
  std::shared_ptr<Shelf> m_shelf;
  const DeviceBatches m_batches;
  mutable std::atomic<std::uint64_t> m_keptBytes;  ///< left
};

}  // namespace

std::shared_ptr<const LinearBackend> deviceBackend(std::shared_ptr<const LinearContext> context,
                                                   device::DevicePtr device,
                                                   std::uint64_t keptBytes,
                                                   const DeviceBatches& batches,
                                                   std::shared_ptr<device::Ledger> ledger) {
  return std::make_shared<DeviceBackend>(std::move(context), std::move(device), keptBytes, batches,
                                         std::move(ledger));
}

}  // namespace pillarbox::offline::two_party
