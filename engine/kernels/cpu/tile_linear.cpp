#include "engine/kernels/cpu/tile_linear.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#define PILLARBOX_TILES \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,amx-tile,amx-int8")))

namespace pillarbox::kernels::cpu {

namespace {

constexpr std::size_t kPlanes = 8;
constexpr std::size_t kTileRows = 16;   // positions, or output channels
constexpr std::size_t kTileDepth = 64;  // bytes summed by one tile product
constexpr std::size_t kTileBytes = 1024;
constexpr std::size_t kMaxTaps = 32768;                    // in one 32-bit sum
constexpr std::size_t kStripBytes = std::size_t{1} << 20;  // planes held at once
constexpr std::size_t kLine = 64;

std::size_t roundUp(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Balanced digits: w = sum_i digit[i] * 256^i, each in [-128, 127].
std::array<std::int8_t, 4> digitsOf(std::int64_t w) {
  std::array<std::int8_t, 4> digits{};
  for (auto& digit : digits) {
    digit = static_cast<std::int8_t>(w & 0xff);
    w = (w - digit) / 256;
  }
  return digits;
}

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t startRow = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t rowBytes[16] = {};
  std::uint8_t rows[16] = {};
};

PILLARBOX_TILES void configureTiles() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.rowBytes[i] = kTileDepth;
    config.rows[i] = kTileRows;
  }
  _tile_loadconfig(&config);
}

// The sums g_0..g_3 (planes 0 to 3) of 16 positions, from position `start` of the planes on, times
// 16 output channels, stored one tile after the other. Consecutive products go to different sums,
// whose latency is four products.
PILLARBOX_TILES void lowSums(std::span<const ChannelBlock> blocks, const std::uint8_t* planes,
                             std::size_t start, const std::int8_t* weights, std::int32_t* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (const ChannelBlock& block : blocks) {
    const std::uint8_t* base = planes + block.offset + start * block.cell;
    const auto stride = static_cast<long>(block.rowStride);
    for (const std::size_t tap : block.taps) {
      const std::uint8_t* x = base + tap;
      _tile_loadd(4, weights, kLine);
      _tile_loadd(5, weights + kTileBytes, kLine);
      _tile_loadd(6, x, stride);
      _tile_dpbusd(0, 6, 4);
      _tile_dpbusd(1, 6, 5);
      _tile_loadd(7, x + 2 * block.planeStride, stride);
      _tile_dpbusd(2, 7, 4);
      _tile_dpbusd(3, 7, 5);
      _tile_loadd(6, x + block.planeStride, stride);
      _tile_dpbusd(1, 6, 4);
      _tile_dpbusd(2, 6, 5);
      _tile_loadd(7, x + 3 * block.planeStride, stride);
      _tile_dpbusd(3, 7, 4);
      weights += 2 * kTileBytes;
    }
  }
  _tile_stored(0, sums, kLine);
  _tile_stored(1, sums + 256, kLine);
  _tile_stored(2, sums + 512, kLine);
  _tile_stored(3, sums + 768, kLine);
}

// The sums g_4..g_7 (planes 3 to 7).
PILLARBOX_TILES void highSums(std::span<const ChannelBlock> blocks, const std::uint8_t* planes,
                              std::size_t start, const std::int8_t* weights, std::int32_t* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (const ChannelBlock& block : blocks) {
    const std::uint8_t* base = planes + block.offset + start * block.cell + 3 * block.planeStride;
    const auto stride = static_cast<long>(block.rowStride);
    for (const std::size_t tap : block.taps) {
      const std::uint8_t* x = base + tap;
      _tile_loadd(4, weights, kLine);
      _tile_loadd(5, weights + kTileBytes, kLine);
      _tile_loadd(6, x, stride);
      _tile_dpbusd(0, 6, 5);
      _tile_loadd(7, x + 2 * block.planeStride, stride);
      _tile_dpbusd(1, 7, 4);
      _tile_dpbusd(2, 7, 5);
      _tile_loadd(6, x + 4 * block.planeStride, stride);
      _tile_dpbusd(3, 6, 4);
      _tile_loadd(7, x + block.planeStride, stride);
      _tile_dpbusd(0, 7, 4);
      _tile_dpbusd(1, 7, 5);
      _tile_loadd(6, x + 3 * block.planeStride, stride);
      _tile_dpbusd(2, 6, 4);
      _tile_dpbusd(3, 6, 5);
      weights += 2 * kTileBytes;
    }
  }
  _tile_stored(0, sums, kLine);
  _tile_stored(1, sums + 256, kLine);
  _tile_stored(2, sums + 512, kLine);
  _tile_stored(3, sums + 768, kLine);
}

/// Transposes 8 x 8 words in registers.
PILLARBOX_TILES inline void transpose(__m512i (&row)[8]) {
  __m512i pair[8];
  for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm512_unpacklo_epi64(row[i], row[i + 1]);
    pair[i + 1] = _mm512_unpackhi_epi64(row[i], row[i + 1]);
  }
  __m512i quad[8];
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      quad[i + j] = _mm512_shuffle_i64x2(pair[i + j], pair[i + j + 2], 0x88);
      quad[i + j + 2] = _mm512_shuffle_i64x2(pair[i + j], pair[i + j + 2], 0xdd);
    }
  }
  for (int j = 0; j < 4; ++j) {
    row[j] = _mm512_shuffle_i64x2(quad[j], quad[j + 4], 0x88);
    row[j + 4] = _mm512_shuffle_i64x2(quad[j], quad[j + 4], 0xdd);
  }
}

/// Joins the sums g_0..g_7 of a tile and stores `positions` words for each of `channels` channels
/// at out + channel * channelStride, or adds them times 2^shift.
PILLARBOX_TILES void join(const std::int32_t* sums, std::size_t positions, std::size_t channels,
                          std::size_t channelStride, bool add, unsigned shift, std::uint64_t* out) {
  for (std::size_t p = 0; p < positions; p += 8) {
    const auto mask =
        static_cast<__mmask8>(positions - p >= 8 ? 0xff : (1U << (positions - p)) - 1);
    for (std::size_t c = 0; c < channels; c += 8) {
      __m512i rows[8];
      for (std::size_t r = 0; r < 8; ++r) {
        const std::int32_t* g = sums + (p + r) * 16 + c;
        const auto word = [&](std::size_t s) PILLARBOX_TILES {
          return _mm256_load_si256(reinterpret_cast<const __m256i*>(g + s * 256));
        };
        const __m512i even = _mm512_add_epi64(
            _mm512_cvtepi32_epi64(word(0)), _mm512_slli_epi64(_mm512_cvtepi32_epi64(word(2)), 16));
        const __m512i odd = _mm512_add_epi64(_mm512_cvtepi32_epi64(word(1)),
                                             _mm512_slli_epi64(_mm512_cvtepi32_epi64(word(3)), 16));
        const __m256i highEven = _mm256_add_epi32(word(4), _mm256_slli_epi32(word(6), 16));
        const __m256i highOdd = _mm256_add_epi32(word(5), _mm256_slli_epi32(word(7), 16));
        const __m256i high = _mm256_add_epi32(highEven, _mm256_slli_epi32(highOdd, 8));
        rows[r] = _mm512_add_epi64(_mm512_add_epi64(even, _mm512_slli_epi64(odd, 8)),
                                   _mm512_slli_epi64(_mm512_cvtepu32_epi64(high), 32));
      }
      transpose(rows);
      const std::size_t count = std::min<std::size_t>(8, channels - c);
      for (std::size_t r = 0; r < count; ++r) {
        std::uint64_t* place = out + (c + r) * channelStride + p;
        __m512i value = rows[r];
        if (add) {
          value = _mm512_add_epi64(_mm512_slli_epi64(value, shift),
                                   _mm512_maskz_loadu_epi64(mask, place));
        }
        _mm512_mask_storeu_epi64(place, mask, value);
      }
    }
  }
}

/// Within each 64-bit word's group of eight: word w, byte b -> word b, byte w.
PILLARBOX_TILES inline __m512i byteTranspose(__m512i words) {
  alignas(64) static constexpr auto kIndex = [] {
    std::array<std::uint8_t, 64> index{};
    for (std::size_t i = 0; i < 64; ++i) index[i] = static_cast<std::uint8_t>(8 * (i % 8) + i / 8);
    return index;
  }();
  return _mm512_permutexvar_epi8(_mm512_load_si512(kIndex.data()), words);
}

constexpr std::size_t kAhead = 32;  // positions that split() asks for in advance

/// Splits `count` (1 to 8) positions of up to 64 channels into bytes: lines[position][plane] holds
/// one byte of each channel. Channels beyond `channels` get zeros.
PILLARBOX_TILES void split(const std::uint64_t* in, std::size_t channelStride, std::size_t channels,
                           std::size_t count, std::uint8_t (*lines)[kPlanes][kLine]) {
  alignas(64) std::uint64_t staged[8][8][8];  // [octet][position][plane]: 8 channels' bytes
  const auto mask = static_cast<__mmask8>(count >= 8 ? 0xff : (1U << count) - 1);
  const std::size_t octets = (channels + 7) / 8;
  for (std::size_t o = 0; o < octets; ++o) {
    __m512i rows[8];
    for (std::size_t r = 0; r < 8; ++r) {
      const std::size_t c = 8 * o + r;
      rows[r] = c < channels ? _mm512_maskz_loadu_epi64(mask, in + c * channelStride)
                             : _mm512_setzero_si512();
      // One stream a channel is more than the hardware follows.
      if (c < channels) _mm_prefetch(in + c * channelStride + kAhead, _MM_HINT_T0);
    }
    transpose(rows);
    for (std::size_t p = 0; p < 8; ++p) _mm512_store_si512(staged[o][p], byteTranspose(rows[p]));
  }
  for (std::size_t p = 0; p < count; ++p) {
    __m512i rows[8];
    for (std::size_t o = 0; o < 8; ++o) {
      rows[o] = o < octets ? _mm512_load_si512(staged[o][p]) : _mm512_setzero_si512();
    }
    transpose(rows);
    for (std::size_t b = 0; b < kPlanes; ++b) _mm512_store_si512(lines[p][b], rows[b]);
  }
}

PILLARBOX_TILES inline void copyLine(std::uint8_t* to, const std::uint8_t* from, __mmask64 mask) {
  _mm512_mask_storeu_epi8(to, mask, _mm512_load_si512(from));
}

}  // namespace

bool fitTiles(const models::LinearOp& op, std::span<const std::int32_t> weights) {
  constexpr std::int32_t kMaxWeight = 127 * 0x01010101;
  const bool small = std::all_of(weights.begin(), weights.end(), [](std::int32_t w) {
    return w <= kMaxWeight && w >= -kMaxWeight;
  });
  return small && (op.kind == models::OpKind::FullyConnected ||
                   std::uint64_t{op.kernelH} * op.kernelW <= kMaxTaps / kTileDepth);
}

TileWeights::TileWeights(const models::LinearOp& op, std::span<const std::int32_t> weights)
    : m_op(op) {
  if (weights.size() != op.weightCount()) {
    throw std::logic_error("the weights do not fit the operation " + op.name);
  }
  if (!fitTiles(op, weights)) throw std::logic_error("tiles cannot compute " + op.name);
  for (const std::int32_t w : weights) {
    if (w < -128 * 257 || w > 127 * 257) m_parts = 2;
  }
  m_vector = op.kind == models::OpKind::FullyConnected ||
             (op.out.height == 1 && op.out.width == 1 && op.kernelH == op.in.height &&
              op.kernelW == op.in.width && op.padTop == 0 && op.padLeft == 0);
  m_outBlocks = (op.out.channels + kTileRows - 1) / kTileRows;
  m_vector ? planVector() : planConvolution();
  pack(weights);
}

void TileWeights::planVector() {
  ChannelBlock block;
  block.channels = m_op.in.size();
  block.width = roundUp(block.channels, kTileDepth);
  block.planeStride = block.width;
  for (std::size_t k = 0; k < block.width; k += kTileDepth) block.taps.push_back(k);
  m_depth = block.taps.size();
  m_scratchBytes = kPlanes * block.planeStride;
  m_blocks.push_back(std::move(block));
}

void TileWeights::planConvolution() {
  const std::size_t outW = m_op.out.width, kh = m_op.kernelH, kw = m_op.kernelW;
  const std::size_t tilesInRow = (outW + kTileRows - 1) / kTileRows;
  m_expanded = kw == 1 || 8 * outW < 7 * tilesInRow * kTileRows;
  m_columns = m_expanded ? outW : (outW - 1) * m_op.strideW + kw;
  m_phases = std::min<std::size_t>(m_op.strideH, kh);

  for (std::size_t first = 0; first < m_op.in.channels; first += kTileDepth) {
    ChannelBlock block;
    block.firstChannel = first;
    block.channels = std::min<std::size_t>(kTileDepth, m_op.in.channels - first);
    block.width = roundUp(block.channels, 4);
    const bool folded = m_expanded && kw * block.width <= kTileDepth;
    block.cell = folded ? kw * block.width : block.width;
    block.rowStride = m_expanded ? block.cell : m_op.strideW * block.cell;
    block.rowBytes = m_columns * block.cell;
    block.columnStride = folded ? block.width : 0;  // unfolded: set once the strip is known
    m_blocks.push_back(std::move(block));
  }

  // As many output rows as keep the planes within kStripBytes.
  const auto layOut = [&](std::size_t rows) {
    m_stripRows = rows;
    m_phaseRows = rows + (kh - 1) / m_op.strideH;
    std::size_t offset = 0;
    for (ChannelBlock& block : m_blocks) {
      const bool folded = m_expanded && block.cell != block.width;
      const std::size_t copies = m_expanded && !folded ? kw : 1;
      const std::size_t rowsOfPlane =
          m_expanded ? m_phases * m_phaseRows : (rows - 1) * m_op.strideH + kh;
      if (m_expanded && !folded) block.columnStride = rowsOfPlane * block.rowBytes;
      block.planeStride = roundUp(copies * rowsOfPlane * block.rowBytes, kLine);
      block.offset = offset;
      offset += kPlanes * block.planeStride;
    }
    // A tile may reach past the last position, and past a window's last byte.
    m_scratchBytes = offset + kTileRows * m_blocks.front().rowStride + kTileDepth;
  };
  std::size_t rows = m_op.out.height;
  layOut(rows);
  if (m_scratchBytes > kStripBytes) {
    layOut(1);
    const std::size_t one = m_scratchBytes;
    layOut(std::min<std::size_t>(rows, 2));
    const std::size_t more = std::max<std::size_t>(m_scratchBytes - one, 1);
    const std::size_t fit = one >= kStripBytes ? 1 : 1 + (kStripBytes - one) / more;
    const std::size_t strips = (rows + fit - 1) / fit;
    layOut((rows + strips - 1) / strips);
  }

  m_depth = 0;
  std::size_t taps = 0;  // in the segment's sums
  for (std::size_t b = 0; b < m_blocks.size(); ++b) {
    ChannelBlock& block = m_blocks[b];
    taps += block.width * kh * kw;
    if (b == 0 || taps > kMaxTaps) {
      m_segments.push_back({b, 0, m_depth});
      taps = block.width * kh * kw;
    }
    ++m_segments.back().blocks;
    for (std::size_t ky = 0; ky < kh; ++ky) {
      const std::size_t row =
          m_expanded ? (ky % m_op.strideH) * m_phaseRows + ky / m_op.strideH : ky;
      if (m_expanded && block.cell == block.width) {
        for (std::size_t kx = 0; kx < kw; ++kx) {
          block.taps.push_back(row * block.rowBytes + kx * block.columnStride);
        }
      } else {
        for (std::size_t k = 0; k < kw * block.width; k += kTileDepth) {
          block.taps.push_back(row * block.rowBytes + k);
        }
      }
    }
    m_depth += block.taps.size();
  }
}

void TileWeights::pack(std::span<const std::int32_t> weights) {
  const std::size_t window = std::size_t{m_op.kernelH} * m_op.kernelW;
  const std::size_t taps = weights.size() / m_op.out.channels;
  // For every tile and byte: which of an output channel's weights, or none.
  constexpr std::size_t kNone = ~std::size_t{0};
  std::vector<std::size_t> source;
  source.reserve(m_depth * kTileDepth);
  for (const ChannelBlock& block : m_blocks) {
    const std::size_t tilesOfRow = m_vector ? 1 : block.taps.size() / m_op.kernelH;
    for (std::size_t t = 0; t < block.taps.size(); ++t) {
      for (std::size_t k = 0; k < kTileDepth; ++k) {
        if (m_vector) {
          const std::size_t i = t * kTileDepth + k;
          source.push_back(i < block.channels ? i : kNone);
          continue;
        }
        const std::size_t ky = t / tilesOfRow, part = t % tilesOfRow;
        const bool byColumn = m_expanded && block.cell == block.width;
        const std::size_t at = byColumn ? part * block.width + k : part * kTileDepth + k;
        const std::size_t kx = byColumn ? part : at / block.width;
        const std::size_t c = byColumn ? k : at % block.width;
        const bool inside = kx < m_op.kernelW && c < block.channels;
        source.push_back(inside ? (block.firstChannel + c) * window + ky * m_op.kernelW + kx
                                : kNone);
      }
    }
  }
  m_packed.assign(m_parts * m_outBlocks * m_depth * 2 * kTileBytes, 0);
  for (std::size_t n = 0; n < m_outBlocks; ++n) {
    const std::size_t channels = std::min(kTileRows, m_op.out.channels - n * kTileRows);
    for (std::size_t t = 0; t < m_depth; ++t) {
      for (std::size_t k = 0; k < kTileDepth; ++k) {
        const std::size_t index = source[t * kTileDepth + k];
        if (index == kNone) continue;
        for (std::size_t c = 0; c < channels; ++c) {
          const auto digits = digitsOf(weights[(n * kTileRows + c) * taps + index]);
          for (std::size_t d = 0; d < 2 * m_parts; ++d) {
            const std::size_t tile = (((d / 2) * m_outBlocks + n) * m_depth + t) * 2 + d % 2;
            m_packed[tile * kTileBytes + (k / 4) * kLine + 4 * c + k % 4] = digits[d];
          }
        }
      }
    }
  }
}

// Spreads the input rows that output rows [firstRow, firstRow + rows) need.
PILLARBOX_TILES void TileWeights::spread(std::span<const std::uint64_t> in, std::size_t firstRow,
                                         std::size_t rows, std::uint8_t* scratch) const {
  const std::size_t sh = m_op.strideH, sw = m_op.strideW, kh = m_op.kernelH, kw = m_op.kernelW;
  const std::size_t height = m_op.in.height, width = m_op.in.width;
  alignas(64) std::uint8_t lines[8][kPlanes][kLine];
  for (const ChannelBlock& block : m_blocks) {
    std::uint8_t* planes = scratch + block.offset;
    const __mmask64 mask = ~std::uint64_t{0} >> (kLine - block.width);
    const std::uint64_t* source = in.data() + block.firstChannel * height * width;
    const auto zero = [&](std::size_t offset, std::size_t bytes) {
      for (std::size_t b = 0; b < kPlanes; ++b) {
        std::memset(planes + b * block.planeStride + offset, 0, bytes);
      }
    };
    for (std::size_t row = 0; row < (rows - 1) * sh + kh; ++row) {
      if (m_expanded && row % sh >= m_phases) continue;
      const std::size_t slot = m_expanded ? (row % sh) * m_phaseRows + row / sh : row;
      const std::size_t base = slot * block.rowBytes;
      const auto y = static_cast<std::int64_t>(firstRow * sh + row) - m_op.padTop;
      const bool outside = y < 0 || y >= static_cast<std::int64_t>(height);
      // Zeros: whole rows, then the columns left and right of the image.
      const std::size_t copies = m_expanded ? kw : 1;
      const std::size_t step = m_expanded ? sw : 1;  // image columns from one position to the next
      for (std::size_t kx = 0; kx < copies; ++kx) {
        const std::size_t copy = base + kx * block.columnStride;
        const auto left = static_cast<std::int64_t>(kx) - m_op.padLeft;  // column of position 0
        for (std::size_t p = 0; p < m_columns; ++p) {
          const std::int64_t x = left + static_cast<std::int64_t>(p * step);
          if (!outside && x >= 0 && x < static_cast<std::int64_t>(width)) {
            // Skip the inside of the image.
            p += (width - 1 - static_cast<std::size_t>(x)) / step;
            continue;
          }
          zero(copy + p * block.cell, block.width);
        }
      }
      if (outside) continue;
      const std::uint64_t* line = source + static_cast<std::size_t>(y) * width;
      for (std::size_t x = 0; x < width; x += 8) {
        const std::size_t count = std::min<std::size_t>(8, width - x);
        split(line + x, height * width, block.channels, count, lines);
        for (std::size_t p = 0; p < count; ++p) {
          for (std::size_t kx = 0; kx < copies; ++kx) {
            const auto at =
                static_cast<std::int64_t>(x + p + m_op.padLeft) - static_cast<std::int64_t>(kx);
            if (at < 0 || (m_expanded && at % static_cast<std::int64_t>(sw) != 0)) continue;
            const std::size_t position = static_cast<std::size_t>(at) / step;
            if (position >= m_columns) continue;
            std::uint8_t* to = planes + base + kx * block.columnStride + position * block.cell;
            for (std::size_t b = 0; b < kPlanes; ++b) {
              copyLine(to + b * block.planeStride, lines[p][b], mask);
            }
          }
        }
      }
    }
  }
}

PILLARBOX_TILES void TileWeights::applyConvolution(std::span<const std::uint64_t> in,
                                                   std::uint8_t* scratch,
                                                   std::span<std::uint64_t> out) const {
  const std::size_t outW = m_op.out.width, outH = m_op.out.height;
  const std::size_t outSize = outW * outH;
  alignas(64) std::int32_t sums[kPlanes * 256];
  configureTiles();
  for (std::size_t firstRow = 0; firstRow < outH; firstRow += m_stripRows) {
    const std::size_t rows = std::min(m_stripRows, outH - firstRow);
    spread(in, firstRow, rows, scratch);
    asm volatile("" ::: "memory");  // the tile loads do not tell the compiler what they read
    for (std::size_t part = 0; part < m_parts; ++part) {
      for (std::size_t n = 0; n < m_outBlocks; ++n) {
        const std::int8_t* weights =
            m_packed.data() + (part * m_outBlocks + n) * m_depth * 2 * kTileBytes;
        const std::size_t channels = std::min(kTileRows, m_op.out.channels - n * kTileRows);
        const auto tile = [&](std::size_t row, std::size_t column, std::size_t count) {
          const std::size_t start = m_expanded
                                        ? row * outW + column
                                        : row * m_op.strideH * m_columns + column * m_op.strideW;
          for (const Segment& segment : m_segments) {
            const auto blocks =
                std::span<const ChannelBlock>(m_blocks).subspan(segment.firstBlock, segment.blocks);
            const std::int8_t* tiles = weights + segment.firstTile * 2 * kTileBytes;
            lowSums(blocks, scratch, start, tiles, sums);
            highSums(blocks, scratch, start, tiles, sums + 4 * 256);
            join(sums, count, channels, outSize, part != 0 || segment.firstBlock != 0,
                 static_cast<unsigned>(16 * part),
                 out.data() + n * kTileRows * outSize + (firstRow + row) * outW + column);
          }
        };
        if (m_expanded) {
          for (std::size_t p = 0; p < rows * outW; p += kTileRows) {
            tile(0, p, std::min(kTileRows, rows * outW - p));
          }
        } else {
          for (std::size_t row = 0; row < rows; ++row) {
            for (std::size_t column = 0; column < outW; column += kTileRows) {
              tile(row, column, std::min(kTileRows, outW - column));
            }
          }
        }
      }
    }
  }
  _tile_release();
}

PILLARBOX_TILES void TileWeights::applyVector(std::span<const std::uint64_t> in,
                                              std::uint8_t* scratch,
                                              std::span<std::uint64_t> out) const {
  const ChannelBlock& block = m_blocks.front();
  // Spread: byte b of word i to plane b, position i.
  for (std::size_t i = 0; i < block.width; i += 8) {
    const std::size_t left = i < in.size() ? std::min<std::size_t>(8, in.size() - i) : 0;
    const auto mask = static_cast<__mmask8>((1U << left) - 1);
    const __m512i words = byteTranspose(_mm512_maskz_loadu_epi64(mask, in.data() + i));
    alignas(64) std::uint64_t planes[8];
    _mm512_store_si512(planes, words);
    for (std::size_t b = 0; b < kPlanes; ++b) {
      std::memcpy(scratch + b * block.planeStride + i, planes + b, 8);
    }
  }
  asm volatile("" ::: "memory");
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.rowBytes[i] = kTileDepth;
    config.rows[i] = i < 4 || i == 6 ? kPlanes : kTileRows;  // 4, 5, 7: weights
  }
  _tile_loadconfig(&config);
  alignas(64) std::int32_t sums[2][kPlanes][16];
  constexpr std::size_t kSegment = kMaxTaps / kTileDepth;
  for (std::size_t part = 0; part < m_parts; ++part) {
    for (std::size_t n = 0; n < m_outBlocks; ++n) {
      const std::int8_t* weights =
          m_packed.data() + (part * m_outBlocks + n) * m_depth * 2 * kTileBytes;
      const std::size_t channels = std::min(kTileRows, m_op.out.channels - n * kTileRows);
      for (std::size_t first = 0; first < m_depth; first += kSegment) {
        const std::size_t end = std::min(m_depth, first + kSegment);
        _tile_zero(0);
        _tile_zero(1);
        for (std::size_t t = first; t < end; ++t) {
          const std::int8_t* w = weights + t * 2 * kTileBytes;
          _tile_loadd(6, scratch + block.taps[t], static_cast<long>(block.planeStride));
          _tile_loadd(4, w, kLine);
          _tile_loadd(5, w + kTileBytes, kLine);
          _tile_dpbusd(0, 6, 4);
          _tile_dpbusd(1, 6, 5);
        }
        _tile_stored(0, sums[0], kLine);
        _tile_stored(1, sums[1], kLine);
        for (std::size_t c = 0; c < channels; ++c) {
          std::uint64_t value = 0;
          for (std::size_t b = 0; b < kPlanes; ++b) {
            value += static_cast<std::uint64_t>(std::int64_t{sums[0][b][c]}) << (8 * b);
            if (b > 0)
              value += static_cast<std::uint64_t>(std::int64_t{sums[1][b - 1][c]}) << (8 * b);
          }
          std::uint64_t& place = out[n * kTileRows + c];
          value <<= 16 * part;
          place = part == 0 && first == 0 ? value : place + value;
        }
      }
    }
  }
  _tile_release();
}

void TileWeights::apply(std::span<const std::uint64_t> in, std::uint8_t* scratch,
                        std::span<std::uint64_t> out) const {
  if (in.size() != m_op.in.size() || out.size() != m_op.out.size()) {
    throw std::logic_error("tensor sizes do not fit the operation " + m_op.name);
  }
  m_vector ? applyVector(in, scratch, out) : applyConvolution(in, scratch, out);
}

}  // namespace pillarbox::kernels::cpu
