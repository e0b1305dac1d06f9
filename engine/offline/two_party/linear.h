// Shares of W·r of one weighted op, made by the two parties alone: the client ends with W·r − s',
// the engine with s', both mod 2^64, for a tensor r that only the client knows, weights W and a
// mask s' that only the engine knows.
//
// One op takes one message each way:
//   client   lays r out in polynomials (plan.h), scales them to Q (he::Word64: round(Q·r / 2^64))
//            and sends fresh symmetric encryptions of them;
//   engine   multiplies by the weight polynomials, packs the results, subtracts the mask, and sends
//            them back flooded and rerandomised, over a smaller modulus (he::reply);
//   client   decrypts the wanted coefficients and reads them as round(2^64·phase / Q').
//
// Packing. A leaf's product has its outputs at the multiples of g and rubbish elsewhere. With
// τ: X → X^(n/h + 1), which keeps X^i for multiples i of 2h and negates it for odd multiples of h,
//   merge(A, B, h) = A + X^h·B + τ(A − X^h·B)
// doubles the wanted coefficients of A (multiples of 2h), puts those of B between them (odd
// multiples of h), doubled too, and moves the rubbish among itself. k levels of merges, from
// h = g/2 down to g/2^k, pack 2^k leaves, each wanted coefficient multiplied by 2^k: the requests
// are therefore multiplied by 2^(-k) mod Q as they arrive, which makes it exact. A merge whose B
// does not exist is 2·A.
//
// What each party sees. The engine: encryptions under the client's key; nothing else, whatever the
// weights. The client: for each wanted coefficient the phase of a reply, that is
// Q·(W·r − s')/2^64 plus an error that the flooding drowns: s' is uniform, so the value is; and c1,
// which a fresh encryption of zero makes independent of the weights. A client that knows its key
// could simulate the reply from W·r − s' alone, up to the statistical distance below. How many
// ciphertexts travel, their sizes and the time they take follow from the public shapes: zero
// weights are multiplied like all others.
//
// Error. n = 8192, Q ≈ 2^150 in 3 primes, one special prime of 50 bits. Two columns: what is never
// exceeded (errors at most 21), and the mean of the magnitude (engine/he/noise.h):
//   request × weights   a coefficient collects every weight of its leaf: ‖leaf‖₁·(21 + 1/2), in the
//                       mean ‖leaf‖₁/2 + 3.24·‖leaf‖₂; the engine refuses weights with ‖leaf‖₁
//                       above 2^24 or ‖leaf‖₂ above 2^20                        < 2^28.5   < 2^23.5
//   key switching       at most 3·n·21 + n/2 + 1 a switch (digits below 2^50, the special prime
//                       divided out), 546 in the mean, times 2^k − 1 over k <= 10 levels
//                                                                               < 2^29.0   < 2^19.1
//   zero encryption     21·(1 + 2n)                                             < 2^18.4   < 2^8.5
//   sum                 with 2 for the roundings of c0 and of the mask          < 2^29.8   < 2^23.6
//   flooding            uniform in ±2^84
//   scale               Q/2^64 > 2^85.99: half of it is more than twice the flooding, so that after
//                       the switch to Q' ≈ 2^74 in 2 primes less than 2^8 + 1/2 of the allowed 2^9
//                       are taken, and the rounding of c1, times s, has the rest: a sum of n
//                       independent terms of deviation at most 12^(-1/2), beyond 254 with a
//                       probability below 2^-67 even for an s without a zero.
//
// Distance. Fix everything but the flooding: the client's random choices (r, keys, errors), the
// weights, and u, e0, e1 of the encryption of zero. Then the phase that the client sees in a
// coefficient is what W·r − s' says, plus a number x that is fixed, plus the flooding; the
// simulator leaves x out, which is noticed with a probability of |x|/2^85 at most. So the client's
// views of a set, real and simulated, its own random choices included, are apart by at most the sum
// over all coefficients of the mean of |x|/2^85: 2^-61.4 each. (Where an honest client's errors
// happen to be as large as they can be, and all aligned with the weights, it would be 2^-55.2.)
// With x gone, c1 is a sample of learning with errors under u, and uniform.
//
// Cost of one op: LinearPlan::requestBytes() and replyBytes(), exactly; LinearPlan::cost().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/core/result.h"
#include "engine/he/galois.h"
#include "engine/he/rlwe.h"
#include "engine/offline/two_party/linear_backend.h"
#include "engine/offline/two_party/plan.h"

namespace pillarbox::offline::two_party {

/// Takes the next bytes of a stream (at most one ciphertext a call); called from one thread.
using ByteSink = std::function<Status(std::span<const std::byte>)>;
/// Fills with the next bytes of a stream.
using ByteSource = std::function<Status(std::span<std::byte>)>;

/// The parameters of the linear phase and what is computed from them once. Immutable; shared by all
/// ops, threads and sessions.
class LinearContext {
 public:
  /// Errors: those of he::Parameters::create (none with the parameters above).
  static Result<std::shared_ptr<const LinearContext>> create();

  const he::Parameters& parameters() const { return *m_parameters; }
  const std::shared_ptr<const he::Parameters>& sharedParameters() const { return m_parameters; }
  const CiphertextSizes& sizes() const { return m_sizes; }
  Result<LinearPlan> plan(const models::LinearOp& op) const {
    return LinearPlan::make(op, m_sizes);
  }
  /// The encoding of requests, over Q.
  const he::Word64& requestWords() const { return m_request; }
  /// How far a coefficient of a reply is from what the client's own share tells, in statistical
  /// distance, whatever the weights ("Distance" above).
  double replyDistance() const;

 private:
  friend class LinearClient;
  explicit LinearContext(std::shared_ptr<const he::Parameters> parameters);
  std::shared_ptr<const he::Parameters> m_parameters;
  CiphertextSizes m_sizes;
  he::Word64 m_request, m_reply;  ///< encodings over Q and over the return basis
};

/// The automorphisms that these plans need: exponents, rising. Public; both parties derive them.
std::vector<std::uint32_t> galoisExponents(std::span<const LinearPlan> plans);

/// What the engine needs of the client's key.
struct LinearKeys {
  he::PublicKey publicKey;
  std::vector<he::GaloisKey> galois;  ///< one for each of galoisExponents()
  /// What LinearBackend::keep() made of them; where it is missing, each pass makes its own.
  std::shared_ptr<const KeptKeys> kept;
};

/// he::reply's flooding is uniform in [−2^84, 2^84).
inline constexpr std::uint32_t kFloodingBits = 85;

/// The coefficients of a reply, and what is added to them.
std::vector<std::uint32_t> indicesOf(std::span<const LinearPlan::OutputEntry> entries);
SecureVector<std::uint64_t> negatedMask(const he::Parameters& parameters,
                                        std::span<const LinearPlan::OutputEntry> entries,
                                        std::span<const std::uint64_t> mask);

/// What the weights of one leaf's polynomials may be together at most: the sum of their magnitudes,
/// and the sum of their squares.
inline constexpr std::uint64_t kMaxLeafNorm = std::uint64_t{1} << 24;
inline constexpr std::uint64_t kMaxLeafSquares = std::uint64_t{1} << 40;

/// The client's side. Does not own the key, which must outlive it. Usable from several threads.
class LinearClient {
 public:
  LinearClient(std::shared_ptr<const LinearContext> context, const he::SecretKey& key)
      : m_context(std::move(context)), m_key(&key) {}

  /// Encrypts and sends a pass's requests: its tiles' ciphertexts, tile by tile.
  /// @param input  r, op.in.size() words
  /// @param threads  at most so many at a time
  Status request(const LinearPlan& plan, const Pass& pass, std::span<const std::uint64_t> input,
                 const ByteSink& sink, unsigned threads = 1) const;
  /// Receives a pass's replies and writes this party's share of its outputs, W·r − s'; the passes
  /// of a plan together write all of `output` (op.out.size() words).
  /// Errors: those of the source; Format, Protocol for bytes that are no reply.
  Status receive(const LinearPlan& plan, const Pass& pass, const ByteSource& source,
                 std::span<std::uint64_t> output, unsigned threads = 1) const;

 private:
  std::shared_ptr<const LinearContext> m_context;
  const he::SecretKey* m_key;
};

/// The engine's side of one op. Holds views of the plan and the weights, which must outlive it.
/// Usable from several threads.
class LinearEngine {
 public:
  /// @param weights  [outC][inC][kernelH][kernelW] or [out][in]
  /// @param backend  does the arithmetic; null: the processor
  /// Errors: InvalidArgument if a leaf's weights are above kMaxLeafNorm or kMaxLeafSquares;
  /// Internal if a device fails.
  static Result<LinearEngine> create(std::shared_ptr<const LinearContext> context,
                                     const LinearPlan& plan, std::span<const std::int32_t> weights,
                                     const LinearBackend* backend = nullptr);

  /// Receives a pass's requests, then computes and sends its replies: block by block, and in a
  /// block tile by tile. Memory: the pass's requests (0.4 MB each, at most 160 unless one tile has
  /// more), and about 2·threads·(levels + 2) ciphertexts a tile.
  /// @param mask  s', op.out.size() words, uniform and fresh
  /// Errors: those of source and sink; Format, Protocol for bytes that are no request; Internal if
  /// a device fails.
  Status evaluate(const Pass& pass, const LinearKeys& keys, const ByteSource& source,
                  std::span<const std::uint64_t> mask, const ByteSink& sink,
                  unsigned threads = 1) const;

 private:
  LinearEngine() = default;
  const LinearPlan* m_plan = nullptr;
  std::shared_ptr<const OpWork> m_work;
};

}  // namespace pillarbox::offline::two_party
