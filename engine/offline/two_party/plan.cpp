#include "engine/offline/two_party/plan.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

#include "engine/he/wire.h"

namespace pillarbox::offline::two_party {

namespace {

// What the parts cost, in nanoseconds on one core with AVX2, measured (both parties together), and
// the price of a byte: a link of 10 MB/s. Only their ratios matter, and those only for speed.
constexpr double kTransform = 110e3;
constexpr double kProduct = 25e3;
constexpr double kKeySwitch = 1200e3;
constexpr double kRequest = 1000e3;
constexpr double kReply = 2000e3;
constexpr double kByte = 100;

/// Request ciphertexts that the engine holds at a time, 0.4 MB each at n = 8192.
constexpr std::size_t kMaxRequestsInPass = 160;

/// Ciphertexts of an op, either way: several gigabytes. More are not worth planning, and a
/// description from elsewhere must not make its reader try.
constexpr std::size_t kMaxCiphertexts = std::size_t{1} << 15;

std::int64_t floorDivide(std::int64_t a, std::int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

std::uint32_t ceilDivide(std::uint64_t a, std::uint64_t b) {
  return static_cast<std::uint32_t>((a + b - 1) / b);
}

/// Output positions below p that are elements.
std::int64_t validBelow(const Geometry& geometry, std::int64_t p) {
  return p / geometry.rowLength * geometry.columns +
         std::min(p % geometry.rowLength, geometry.columns);
}

}  // namespace

CiphertextSizes CiphertextSizes::of(const he::Parameters& parameters) {
  CiphertextSizes sizes;
  sizes.degree = static_cast<std::uint32_t>(parameters.degree());
  sizes.requestBytes = he::seededCiphertextBytes(parameters);
  sizes.replyFixedBytes = he::replyBytes(parameters, 0);
  for (std::size_t i = 0; i < parameters.returned().count(); ++i) {
    sizes.replyBits.push_back(parameters.returned().modulus(i).bits());
  }
  return sizes;
}

std::uint32_t Pass::leavesOf(std::uint32_t block) const {
  return std::min(leaves - (block << levels), 1U << levels);
}

Result<LinearPlan> LinearPlan::make(const models::LinearOp& op, const CiphertextSizes& sizes) {
  if (!op.hasWeights() || !std::has_single_bit(sizes.degree) || sizes.degree < 32) {
    throw std::logic_error("linear plan of something else");
  }
  LinearPlan plan;
  plan.m_op = op;
  plan.m_sizes = sizes;
  plan.m_outputChannels = op.out.channels;
  plan.m_inputChannels = op.in.channels;
  std::uint32_t kernelH = 1, kernelW = 1;
  std::int64_t padTop = 0, padLeft = 0;
  if (op.kind == models::OpKind::Convolution) {
    plan.m_inHeight = op.in.height;
    plan.m_inWidth = op.in.width;
    plan.m_outHeight = op.out.height;
    plan.m_outWidth = op.out.width;
    plan.m_strideY = op.strideH;
    plan.m_strideX = op.strideW;
    kernelH = op.kernelH;
    kernelW = op.kernelW;
    padTop = op.padTop;
    padLeft = op.padLeft;
  } else {
    plan.m_inputChannels = static_cast<std::uint32_t>(op.in.size());
  }
  plan.m_kernelSize = kernelH * kernelW;

  // Taps that read at least one element of the input, by phase.
  plan.m_taps.resize(std::size_t{plan.m_strideY} * plan.m_strideX);
  bool any = false;
  for (std::uint32_t ky = 0; ky < kernelH; ++ky) {
    const std::int64_t dy = floorDivide(ky - padTop, plan.m_strideY);
    const std::int64_t phaseY = ky - padTop - dy * plan.m_strideY;
    const std::int64_t lastY = floorDivide(plan.m_inHeight - 1 - phaseY, plan.m_strideY);
    if (plan.m_outHeight - 1 + dy < 0 || dy > lastY || lastY < 0) continue;
    for (std::uint32_t kx = 0; kx < kernelW; ++kx) {
      const std::int64_t dx = floorDivide(kx - padLeft, plan.m_strideX);
      const std::int64_t phaseX = kx - padLeft - dx * plan.m_strideX;
      const std::int64_t lastX = floorDivide(plan.m_inWidth - 1 - phaseX, plan.m_strideX);
      if (plan.m_outWidth - 1 + dx < 0 || dx > lastX || lastX < 0) continue;
      plan.m_taps[static_cast<std::size_t>(phaseY * plan.m_strideX + phaseX)].push_back(
          {ky * kernelW + kx, dy, dx});
      plan.m_dyFirst = any ? std::min(plan.m_dyFirst, dy) : dy;
      plan.m_dyLast = any ? std::max(plan.m_dyLast, dy) : dy;
      plan.m_dxFirst = any ? std::min(plan.m_dxFirst, dx) : dx;
      plan.m_dxLast = any ? std::max(plan.m_dxLast, dx) : dx;
      any = true;
    }
  }
  for (std::uint32_t channel = 0; channel < plan.m_inputChannels; ++channel) {
    for (std::uint32_t phase = 0; phase < plan.m_taps.size(); ++phase) {
      if (plan.m_taps[phase].empty()) continue;
      plan.m_channels.push_back({channel, phase / plan.m_strideX, phase % plan.m_strideX});
    }
  }
  // A kernel that sees nothing but padding: one request that no tap reads, so that the reply is
  // made as any other.
  if (plan.m_channels.empty()) plan.m_channels.push_back({0, 0, 0});

  // Strips of columns: one as a rule; more where rows are so long that a tile would be mostly halo.
  double best = std::numeric_limits<double>::infinity();
  const bool reasonable = std::max(op.in.size(), op.out.size()) / sizes.degree <= kMaxCiphertexts;
  for (std::int64_t strips = 1; reasonable && strips <= plan.m_outWidth; strips *= 2) {
    const std::int64_t columns = (plan.m_outWidth + strips - 1) / strips;
    std::vector<Pass> passes;
    bool fits = true;
    for (std::int64_t first = 0; first < plan.m_outWidth && fits; first += columns) {
      const Geometry geometry = plan.geometryOf(first, std::min(columns, plan.m_outWidth - first));
      std::vector<Pass> strip = plan.plan(geometry);
      fits = !strip.empty();
      for (Pass& pass : strip) passes.push_back(std::move(pass));
    }
    if (!fits) continue;
    const Cost cost = plan.costOf(passes);
    if (std::max(cost.requests, cost.replies) > kMaxCiphertexts) continue;
    const double price = plan.price(cost);
    if (price >= best) break;
    best = price;
    plan.m_passes = std::move(passes);
    plan.m_cost = cost;
  }
  if (plan.m_passes.empty()) {
    return Error{ErrorCode::Unsupported,
                 op.name + " (kernel " + std::to_string(kernelH) + " x " + std::to_string(kernelW) +
                     ", output " + std::to_string(op.out.channels) + " x " +
                     std::to_string(op.out.height) + " x " + std::to_string(op.out.width) +
                     ") is too large for the two-party offline phase; use a dealer for this model"};
  }
  return plan;
}

Geometry LinearPlan::geometryOf(std::int64_t firstColumn, std::int64_t columns) const {
  std::int64_t lastX = 0, lastY = 0;  // of the longest phases
  for (const VirtualChannel& v : m_channels) {
    lastX = std::max(lastX, floorDivide(m_inWidth - 1 - v.phaseX, m_strideX));
    lastY = std::max(lastY, floorDivide(m_inHeight - 1 - v.phaseY, m_strideY));
  }
  Geometry g;
  g.firstColumn = firstColumn;
  g.columns = columns;
  g.leftmost = std::max(m_dxFirst, -firstColumn);
  g.rightmost = std::max(g.leftmost, std::min(columns - 1 + m_dxLast, lastX - firstColumn));
  g.rowLength = std::max({columns - 1 + m_dxLast - g.leftmost, g.rightmost - m_dxFirst,
                          g.rightmost - g.leftmost, columns - 1}) +
                1;
  const std::int64_t top = std::max<std::int64_t>(m_dyFirst, 0);
  const std::int64_t bottom = std::max(top, std::min(m_outHeight - 1 + m_dyLast, lastY));
  g.inputFirst = top * g.rowLength + g.leftmost;
  g.inputLast = bottom * g.rowLength + g.rightmost;
  g.offsetFirst = m_dyFirst * g.rowLength + m_dxFirst;
  g.offsetLast = m_dyLast * g.rowLength + m_dxLast;
  return g;
}

std::vector<Tile> LinearPlan::cover(const Geometry& g, std::int64_t first,
                                    std::uint32_t positions) const {
  const std::int64_t total = (m_outHeight - 1) * g.rowLength + g.columns;
  // The tile of outputs [first, end), if what it reads outside the input's hull falls, modulo
  // `positions`, on none of the positions that hold input.
  const auto fit = [&](std::int64_t end, Tile& tile) {
    const std::int64_t readFirst = tile.first + g.offsetFirst, readLast = end - 1 + g.offsetLast;
    const std::int64_t low = std::min(std::max(g.inputFirst, readFirst), g.inputLast);
    const std::int64_t high = std::max(std::min(g.inputLast, readLast), low);
    tile.end = end;
    tile.origin = low;
    tile.inputEnd = high + 1;
    return end - tile.first <= positions && high - std::min(low, readFirst) < positions &&
           std::max(high, readLast) - low < positions;
  };
  std::vector<Tile> tiles;
  while (first < total) {
    if (first % g.rowLength >= g.columns) {
      first = (first / g.rowLength + 1) * g.rowLength;
      continue;
    }
    Tile tile, longest;
    tile.first = first;
    std::int64_t low = first, high = total;  // fits up to low
    while (low < high) {
      const std::int64_t middle = (low + high + 1) / 2;
      if (fit(middle, tile)) {
        low = middle;
        longest = tile;
      } else {
        high = middle - 1;
      }
    }
    if (low == first || tiles.size() == kMaxCiphertexts) return {};
    tiles.push_back(longest);
    first = low;
  }
  return tiles;
}

std::vector<Pass> LinearPlan::passesOf(const Geometry& geometry, std::uint32_t positions,
                                       std::span<const Tile> tiles) const {
  std::vector<Pass> best;
  double bestPrice = std::numeric_limits<double>::infinity();
  for (std::uint32_t channels = 1; channels * positions <= m_sizes.degree; channels *= 2) {
    Pass pass;
    pass.geometry = geometry;
    pass.positions = positions;
    pass.channels = channels;
    pass.outputs = m_sizes.degree / (channels * positions);
    pass.groups = ceilDivide(m_channels.size(), channels);
    pass.leaves = ceilDivide(m_outputChannels, pass.outputs);
    pass.levels = std::min<std::uint32_t>(
        {static_cast<std::uint32_t>(std::bit_width(channels)) - 1,
         static_cast<std::uint32_t>(std::bit_width(pass.leaves - 1)), kMaxLevels});
    pass.blocks = ceilDivide(pass.leaves, std::uint64_t{1} << pass.levels);
    if (tiles.size() * std::max(pass.groups, pass.blocks) > kMaxCiphertexts) continue;
    std::vector<Pass> passes;
    const std::size_t most = std::max<std::size_t>(1, kMaxRequestsInPass / pass.groups);
    for (std::size_t first = 0; first < tiles.size(); first += most) {
      const auto part = tiles.subspan(first, std::min(most, tiles.size() - first));
      pass.tiles.assign(part.begin(), part.end());
      passes.push_back(pass);
    }
    const double price = this->price(costOf(passes));
    if (price < bestPrice) {
      bestPrice = price;
      best = std::move(passes);
    }
  }
  return best;
}

std::vector<Pass> LinearPlan::plan(const Geometry& geometry) const {
  std::vector<Pass> best;
  double bestPrice = std::numeric_limits<double>::infinity();
  const auto consider = [&](std::vector<Pass> passes) {
    if (passes.empty()) return;
    const double price = this->price(costOf(passes));
    if (price >= bestPrice) return;
    bestPrice = price;
    best = std::move(passes);
  };
  for (std::uint32_t positions = m_sizes.degree; positions > 0; positions /= 2) {
    const std::vector<Tile> tiles = cover(geometry, 0, positions);
    if (tiles.empty()) break;
    consider(passesOf(geometry, positions, tiles));
    if (tiles.size() == 1) continue;
    // The last tile's outputs in smaller ones.
    const std::vector<Pass> full =
        passesOf(geometry, positions, std::span(tiles).first(tiles.size() - 1));
    if (full.empty()) continue;
    for (std::uint32_t smaller = positions / 2; smaller > 0; smaller /= 2) {
      const std::vector<Tile> rest = cover(geometry, tiles.back().first, smaller);
      if (rest.empty()) break;
      std::vector<Pass> small = passesOf(geometry, smaller, rest);
      if (small.empty()) break;
      std::vector<Pass> passes = full;
      for (Pass& pass : small) passes.push_back(std::move(pass));
      consider(std::move(passes));
    }
  }
  return best;
}

LinearPlan::Cost LinearPlan::costOf(std::span<const Pass> passes) const {
  Cost cost;
  for (const Pass& pass : passes) {
    const std::uint64_t tiles = pass.tiles.size();
    cost.requests += tiles * pass.groups;
    cost.replies += tiles * pass.blocks;
    cost.transforms += std::uint64_t{pass.leaves} * pass.groups;
    cost.products += tiles * pass.leaves * pass.groups;
    cost.keySwitches += tiles * (pass.leaves - pass.blocks);
    cost.levels = std::max(cost.levels, pass.levels);
    for (const Tile& tile : pass.tiles) {
      for (std::uint32_t block = 0; block < pass.blocks; ++block) {
        cost.replyBytes += replyBytes(outputCount(pass, tile, block));
      }
    }
  }
  return cost;
}

double LinearPlan::price(const Cost& cost) const {
  const auto bytes = static_cast<double>(cost.requests * m_sizes.requestBytes + cost.replyBytes);
  return static_cast<double>(cost.transforms) * kTransform +
         static_cast<double>(cost.products) * kProduct +
         static_cast<double>(cost.keySwitches) * kKeySwitch +
         static_cast<double>(cost.requests) * kRequest +
         static_cast<double>(cost.replies) * kReply + bytes * kByte;
}

void LinearPlan::gather(const Pass& pass, const Tile& tile, std::uint32_t group,
                        std::span<const std::uint64_t> input,
                        std::span<std::uint64_t> polynomial) const {
  if (input.size() != m_op.in.size() || polynomial.size() != m_sizes.degree) {
    throw std::logic_error("linear plan: a tensor of another shape");
  }
  std::fill(polynomial.begin(), polynomial.end(), 0);
  const Geometry& g = pass.geometry;
  const std::size_t spacing = std::size_t{pass.outputs} * pass.channels;
  for (std::uint32_t lane = 0; lane < pass.channels; ++lane) {
    const std::size_t v = std::size_t{group} * pass.channels + lane;
    if (v >= m_channels.size()) break;
    const VirtualChannel& channel = m_channels[v];
    const std::uint64_t* plane =
        input.data() + static_cast<std::size_t>(channel.channel * m_inHeight * m_inWidth);
    std::int64_t row = floorDivide(tile.origin - g.leftmost, g.rowLength);
    std::int64_t column = tile.origin - row * g.rowLength;
    std::uint64_t* place = polynomial.data() + lane;
    for (std::int64_t p = tile.origin; p < tile.inputEnd; ++p, place += spacing) {
      const std::int64_t y = row * m_strideY + channel.phaseY;
      const std::int64_t x = (g.firstColumn + column) * m_strideX + channel.phaseX;
      if (column <= g.rightmost && x >= 0 && x < m_inWidth && y >= 0 && y < m_inHeight) {
        *place = plane[y * m_inWidth + x];
      }
      if (++column == g.leftmost + g.rowLength) {
        column = g.leftmost;
        ++row;
      }
    }
  }
}

std::vector<LinearPlan::WeightEntry> LinearPlan::weightEntries(const Pass& pass,
                                                               std::uint32_t group) const {
  std::vector<WeightEntry> entries;
  const std::int64_t n = m_sizes.degree;
  const auto g = static_cast<std::int64_t>(pass.channels);
  const std::int64_t spacing = g * pass.outputs;
  for (std::uint32_t lane = 0; lane < pass.channels; ++lane) {
    const std::size_t v = std::size_t{group} * pass.channels + lane;
    if (v >= m_channels.size()) break;
    const VirtualChannel& channel = m_channels[v];
    for (const Tap& tap : m_taps[channel.phaseY * m_strideX + channel.phaseX]) {
      const std::int64_t offset = tap.dy * pass.geometry.rowLength + tap.dx;
      for (std::uint32_t j = 0; j < pass.outputs; ++j) {
        const std::int64_t exponent = (j * g - lane - offset * spacing) & (2 * n - 1);
        const std::uint64_t source =
            (std::uint64_t{j} * m_inputChannels + channel.channel) * m_kernelSize + tap.kernelIndex;
        entries.push_back({static_cast<std::uint32_t>(exponent & (n - 1)), exponent >= n,
                           static_cast<std::uint32_t>(source)});
      }
    }
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const WeightEntry& a, const WeightEntry& b) { return a.index < b.index; });
  return entries;
}

std::vector<LinearPlan::OutputEntry> LinearPlan::outputEntries(const Pass& pass, const Tile& tile,
                                                               std::uint32_t block) const {
  std::vector<OutputEntry> entries;
  entries.reserve(outputCount(pass, tile, block));
  const Geometry& g = pass.geometry;
  const std::int64_t n = m_sizes.degree;
  const std::int64_t spacing = std::int64_t{pass.channels} * pass.outputs;
  for (std::uint32_t leaf = 0; leaf < pass.leavesOf(block); ++leaf) {
    for (std::uint32_t j = 0; j < pass.outputs; ++j) {
      const std::int64_t output = (std::int64_t{block << pass.levels} + leaf) * pass.outputs + j;
      if (output >= m_outputChannels) break;
      const std::int64_t shift =
          std::int64_t{j} * pass.channels + leaf * (pass.channels >> pass.levels);
      for (std::int64_t p = tile.first; p < tile.end; ++p) {
        const std::int64_t y = p / g.rowLength, x = p % g.rowLength;
        if (x >= g.columns) continue;
        const std::int64_t exponent = ((p - tile.origin) * spacing + shift) & (2 * n - 1);
        const std::int64_t element = (output * m_outHeight + y) * m_outWidth + g.firstColumn + x;
        entries.push_back({static_cast<std::uint32_t>(exponent & (n - 1)), exponent >= n,
                           static_cast<std::uint32_t>(element)});
      }
    }
  }
  return entries;
}

std::uint64_t LinearPlan::outputCount(const Pass& pass, const Tile& tile,
                                      std::uint32_t block) const {
  const std::uint64_t first = (std::uint64_t{block} << pass.levels) * pass.outputs;
  const std::uint64_t channels =
      std::min<std::uint64_t>(m_outputChannels - first, std::uint64_t{pass.outputs} << pass.levels);
  return channels * static_cast<std::uint64_t>(validBelow(pass.geometry, tile.end) -
                                               validBelow(pass.geometry, tile.first));
}

std::uint64_t LinearPlan::replyBytes(std::uint64_t coefficients) const {
  std::uint64_t bytes = m_sizes.replyFixedBytes;
  for (const std::uint32_t bits : m_sizes.replyBits) bytes += (coefficients * bits + 7) / 8;
  return bytes;
}

}  // namespace pillarbox::offline::two_party
