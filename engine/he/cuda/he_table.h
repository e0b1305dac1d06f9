// The kernels of encryption on the device: what ntt.h, rns.h and sampling.h do on the processor,
// with the same results word by word.
//
// The unit of work is a batch of polynomials that stay on the device: to copy one polynomial takes
// longer than all that is done to it there (engine/he/device_ring.h drives it). All results are
// canonical residues, and streams of random words are those of random::Expander.
//
// No branch and no address depends on a residue, a weight, a key or a random word, except in
// `uniform`, which expands public seeds.
//
// Every function sends work to a stream and returns null, or a sentence (engine/device/table.h).
// All pointers are addresses on the device. Arguments are copied by the call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/device/table.h"

namespace pillarbox::he::cuda {

/// Most primes that one operation with a constant for each can take.
inline constexpr std::uint32_t kMaxWidth = 48;
/// Most primes on either side of a change of basis.
inline constexpr std::uint32_t kMaxBasis = 32;
/// Words of a bitsliced AES-256 key schedule.
inline constexpr std::uint32_t kKeyWords = 15 * 8;

/// One prime and its transform. Tables are in device memory: n pairs of a root (in the order of
/// NttTables) and floor(root * 2^64 / q).
struct Prime {
  std::uint64_t value = 0;
  std::uint64_t ratioLow = 0, ratioHigh = 0;  ///< floor(2^128 / q)
  std::uint64_t two64 = 0;                    ///< 2^64 mod q
  std::uint64_t inverseDegree = 0, inverseDegreeShoup = 0;
  const std::uint64_t* roots = nullptr;
  const std::uint64_t* inverseRoots = nullptr;
  std::uint32_t bits = 0;
};

/// Primes (in device memory) of polynomials with 2^logDegree coefficients.
struct Ring {
  const Prime* primes = nullptr;
  std::uint32_t logDegree = 0;
};

/// A batch of polynomials in device memory. Limb l < width of polynomial p < polys begins
/// (p * stride + l) * n words after `data` and belongs to prime number prime + l / inner. A stride
/// of 0 is one polynomial for all.
struct Rows {
  std::uint64_t* data = nullptr;
  std::uint32_t polys = 0, width = 0, stride = 0;
  std::uint32_t prime = 0, inner = 1;
};

/// An operand of a sum of products: row (x * this->x + y * this->y + k * term + l * limb) holds
/// limb l of term k for output (x, y).
struct Operand {
  const std::uint64_t* data = nullptr;
  std::uint32_t x = 0, y = 0, term = 0, limb = 0;
};

/// One residue for each limb.
struct Scalars {
  std::uint64_t values[kMaxWidth] = {};
};

/// A change of basis (he::BasisChange), constants in device memory: [inputs] factors and
/// reciprocals, [outputs][inputs + 1] factors.
struct Change {
  const std::uint64_t* in = nullptr;
  const double* reciprocals = nullptr;
  const std::uint64_t* out = nullptr;
  std::uint32_t inputs = 0, outputs = 0;
};

/// Which weights the leaves of a batch have: leaf number x of the batch is leaf
/// first + (x % blocks) * blockStep + (x / blocks) * step of the op.
struct Leaves {
  std::uint64_t first = 0;
  std::uint32_t blocks = 1, blockStep = 0, step = 0;
  std::uint32_t groups = 0;   ///< polynomials a leaf
  std::uint64_t weights = 0;  ///< a leaf
};

/// Where a function takes two batches they have the same numbers of polynomials and limbs; an
/// output may be an input where the comment says so.
struct HeTable {
  /// In place, residues in and out. `diagonal`: limbs l with l / inner == l % inner are left alone.
  device::Sentence (*forward)(device::Stream stream, Ring ring, Rows rows, bool diagonal);
  device::Sentence (*inverse)(device::Stream stream, Ring ring, Rows rows);
  /// out may be a or b.
  device::Sentence (*add)(device::Stream stream, Ring ring, Rows out, Rows a, Rows b);
  device::Sentence (*multiply)(device::Stream stream, Ring ring, Rows out, Rows a, Rows b);
  /// out = a * scalars[l]; out may be a.
  device::Sentence (*scale)(device::Stream stream, Ring ring, Rows out, Rows a, Scalars scalars);
  /// x = odd * shift: less = even - x; even += x.
  device::Sentence (*butterfly)(device::Stream stream, Ring ring, Rows even, Rows odd, Rows shift,
                                Rows less);
  /// Sums of products, two with one factor: polynomial x * ys + y of `first` is the sum over
  /// k < terms of shared * a, of `second` that of shared * b.
  device::Sentence (*dotPair)(device::Stream stream, Ring ring, Rows first, Rows second,
                              Operand shared, Operand a, Operand b, std::uint32_t ys,
                              std::uint32_t terms);
  /// Residues of one prime as integers mod another: limb l of out is limb l % in.width of `in`, and
  /// where l / inner == l % inner that of `same` instead.
  device::Sentence (*lift)(device::Stream stream, Ring ring, Rows out, Rows in, Rows same);
  /// sum[t] += in[from[t]], entry by entry.
  device::Sentence (*permuteAdd)(device::Stream stream, Ring ring, Rows sum, Rows in,
                                 const std::uint32_t* from);
  /// BasisChange::apply.
  device::Sentence (*change)(device::Stream stream, Ring ring, Rows out, Rows in, Change change);
  /// out[p][l][i] = in[p][l][wanted[p][i]] for i < counts[p]; out and wanted have n entries a row.
  device::Sentence (*gather)(device::Stream stream, Ring ring, std::uint64_t* out, Rows in,
                             const std::uint32_t* wanted, const std::uint32_t* counts);
  /// Word64::encode of words[p][n]: times `factor` mod 2^64, signed, times scalars[l].
  device::Sentence (*encode)(device::Stream stream, Ring ring, Rows out, const std::uint64_t* words,
                             std::uint64_t factor, Scalars scalars);
  /// Weight polynomials, coefficients: entry i of polynomial leaf * groups + g is, by map[g][i]: 0,
  /// or for s + 1 and -s - 1 plus and minus weights[number(leaf) * leaves.weights + s] (0 from
  /// `count` on).
  device::Sentence (*factors)(device::Stream stream, Ring ring, Rows out,
                              const std::int32_t* weights, std::uint64_t count,
                              const std::int32_t* map, Leaves leaves);

  /// Key schedules of seeds of 32 bytes, kKeyWords words each.
  device::Sentence (*keys)(device::Stream stream, std::uint32_t* schedules,
                           const std::uint8_t* seeds, std::uint32_t count);
  /// words[p][0 .. count): words 4 * firstFour and following of stream `number` of schedule p;
  /// count is a multiple of 4.
  device::Sentence (*words)(device::Stream stream, std::uint64_t* words,
                            const std::uint32_t* schedules, std::uint32_t polys,
                            std::uint64_t number, std::uint64_t firstFour, std::uint64_t count);
  /// Sampler::ternary and Sampler::error of words[p * stride + i].
  device::Sentence (*ternary)(device::Stream stream, Ring ring, Rows out,
                              const std::uint64_t* words, std::uint64_t stride);
  device::Sentence (*error)(device::Stream stream, Ring ring, Rows out, const std::uint64_t* words,
                            std::uint64_t stride);
  /// Sampler::flooding of words[p * stride + d * n + i], d < digits = ceil(bits / 48), added to
  /// out. scalars[l][digits + 1]: 2^(48 d) mod the limb's prime, then the negated half range.
  device::Sentence (*flooding)(device::Stream stream, Ring ring, Rows out,
                               const std::uint64_t* words, std::uint64_t stride, std::uint32_t bits,
                               const std::uint64_t* scalars);
  /// expandUniform: limb l of polynomial p from stream first + l of schedule p.
  device::Sentence (*uniform)(device::Stream stream, Ring ring, Rows out,
                              const std::uint32_t* schedules, std::uint64_t first);
};

extern const HeTable kHeTable;

}  // namespace pillarbox::he::cuda
