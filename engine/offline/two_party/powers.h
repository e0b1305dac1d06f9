// Shares of λ, λ², ..., λ^d for HoneyBadger, made by the two parties alone.
//
// The client holds λ0 = z0' (its truncated share, signed, |λ0| <= 2^(63 - truncation)), the engine
// draws λ1; λ = λ0 + λ1 over the integers. Shares S_k (client) + E_k (engine) ≡ λ^k are wanted
// modulo 2^K with K = min(128, (d - 1)·f + f_c + 56): truncation drops d·f + f_c - f bits, and what
// is left is used modulo 2^56 by both parties (engine/ring/narrow.h: the client sends y0 - r in 56
// bits, the engine adds y1 and lifts the sum), so the bits above K reach no result (and for K < 128
// no wrap of the shares does).
//
// Levels. λ^(a+b) = λ^a·λ^b = S_a S_b + (S_a E_b + S_b E_a) + E_a E_b: only the cross terms need
// the other party. The client encrypts S_a, S_b; the engine multiplies by its own E_b, E_a, adds
// its mask m and returns the sum, of which the client keeps v + m and the engine -m, both modulo
// 2^K (for a = b: of S_a E_a, doubled afterwards). λ² takes one round trip, λ³ and λ⁴ share a
// second. Which pair (a, b) makes which power is searched by bytes.
//
// Slots. One ciphertext carries n values: modulo a prime p ≡ 1 mod 2n the ring Z_p[X]/(X^n + 1) is
// n copies of Z_p, one for each entry of the transform, and t is a product of such primes, wide
// enough for v + m over the integers. The ciphertext modulus is Q = t·D for an integer D, so that
// a message is encoded as D·m exactly: its transform is D·value in the residues modulo t and zero
// in those modulo D. Dropping primes of t from a ciphertext leaves an encryption of the value
// modulo the rest, so one encryption of S_a serves powers that need a t of different widths.
//
// Widths, in bits, each a public function of (d, f, f_c, truncation): parties derive them alone.
//   λ1       uniform in ±2^55. The opening δ = z - λ is sent modulo 2^56 (engine/ring/narrow.h) and
//            shows nothing of z; the client knows λ0, so it finds δ itself, unless λ1 lies within
//            |z| < 2^(f+4) of an end of its range: 2^-39 a value at f = 12, a wrong result (f <=
//            18)
//   v        |v| < 1.5·2^p, p + 2 = the sum of the factors' signed widths (K for a share)
//   m        uniform in [0, 7·2^(t-3)) with t = p + 63: hides v by |v| / 7·2^(p+60) < 2^-62; and
//            v + m lies inside a range shorter than the modulus: exact over the integers
//   noise    the phase of the product is D·(v + m) + e·P, e the client's fresh error (variance
//            10.5, subgaussian), P the engine's factor with coefficients below t/2: |e·P| < B =
//            2^(t + (log n + 8)/2) except with probability 2^-67 a coefficient
//   flooding uniform in ±2^64·B/4 = ±2^62·B, fresh for each coefficient: statistical distance at
//            most 2^-63 from an error that does not depend on P; and in the mean over e, which is
//            what counts (engine/he/noise.h), 2^-66: |e·P| is at most (10.5·n)^(1/2)·t/2 then
//   D        2^64·B: flooding takes a quarter of D, the bound on correct decryption is a half
//   return   rounded from t·D to t·8 (c0) and t·2^w (c1, w = 12 at n = 32768): 1/16 and 1/10 of
//            a unit of t more; below 0.47 of 0.5 in all
//
// What each party sees. The engine: its own draws and encryptions under the client's key; by RLWE
// (symmetric encryption, seeded) they are simulated by uniform polynomials. The client: answers
// (c0, c1) to which the engine has added an encryption of zero under the client's public key with
// fresh ternary u and error: c1 is pseudorandom by RLWE with secret u; given c1 and the key, c0
// holds exactly D·(v + m) and an error, and is simulated from m alone (distance 2^-62 a value) and
// from flooding alone (2^-66 a coefficient). What remains of u·e and e1·s in the error, below
// 2^30, drowns in the flooding too. Slots without a value hold 0 on the engine's side and are
// masked the same way. Sizes depend on public shapes only. Both parties are assumed to follow the
// protocol.
//
// Why levels. In one round trip, the client would encrypt λ0, λ0², ..., λ0^(d-1) and the engine
// return sum_i binom(k, i) λ0^i λ1^(k-i): more encryptions, all of the greatest width. Bytes an
// activation, both ways together, full ciphertexts (f = 12, f_c = 10, truncation 12):
//
//   degree                        2      3      4      6      8
//   leveled: to the engine     51.6  122.5  139.8  246.3  319.5
//            to the client     44.0   97.8  168.6  330.1  477.6
//            together          95.6  220.3  308.4  576.4  797.1
//            round trips          1      2      2      3      4
//            slots, log2 Q  2^14, 413  2^15, 490  2^15, 604  2^15, 704  2^15, 712
//
// One round takes more from degree 3 on: by 1, 27, 34 and 41 % at degrees 3, 4, 6 and 8 where
// everything is hidden by 40 bits.
//
// Round trips are per set, not per layer, so bytes decide. The bound on log2 Q is that of the
// HomomorphicEncryption.org table (438 at 2^14, 881 at 2^15; engine/he/parameters.h). Where few
// values are wanted, fewer slots are cheaper although t must then be cut into parts, each with a
// ciphertext (and a key) of its own.
//
// Products of other protocols (engine/offline/products.h) are made by the same means, in one round
// trip: the client encrypts its factors u, the engine multiplies by its own factors v, adds up the
// terms of each sum, and a mask, and returns that; shares are u v + ... + m and -m modulo 2^64. All
// factors are signed words and T terms a sum, so |v| <= 2^p for v = u v + ... with p = 126 +
// ceil(log2 T), and m of t = p + 63 bits hides it by 2^p / 7·2^(t-3) < 2^-62. The errors of T
// products are independent: B, and with it flooding and D, is 2^(ceil(log2 T) / 2) times as great.
// What each party sees is as above. The engine sees encryptions of the client's factors, whether
// they follow from its share of a layer (ESPN) or are uniform (Beaver triples); the client sees u v
// + ... + m, which m hides whatever the factors are, and the engine's are uniform and fresh. Bytes
// an activation, both ways together, full ciphertexts, degree 4 without a cubic term: ESPN 328.8,
// square-multiply 211.8, Horner 319.1; 2^15 slots.
//
// Sources: BFV (Fan and Vercauteren, eprint 2012/144) with the scale Q/t an integer; slots: Smart
// and Vercauteren, eprint 2011/133; flooding: Gentry 2009; mod-switched answers: Cheetah, eprint
// 2022/207.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/core/int128.h"
#include "engine/core/result.h"
#include "engine/core/secure_vector.h"
#include "engine/offline/products.h"
#include "models/description.h"

namespace pillarbox::offline::two_party {

/// All that the widths depend on.
struct PowersShape {
  std::uint32_t degree = 0;          ///< of the polynomial, 1 to 8
  std::uint32_t polynomialBits = 0;  ///< fraction bits of its coefficients
  std::uint32_t precisionBits = 0;   ///< f
  std::uint32_t truncation = 0;      ///< of the stage: bounds λ0 by 2^(63 - truncation)
  bool operator==(const PowersShape&) const = default;
};

/// The sizes of everything for `count` values of one shape. Values are dealt to groups of slots()
/// in order; groups are independent of each other, levels inside one follow each other. Immutable
/// and cheap to copy.
class PowersPlan {
 public:
  /// The plan with the fewest bytes. Errors: Unsupported if f is above 18 (too many results would
  /// be wrong); InvalidArgument for a degree outside 1 to 8 or a truncation above 48.
  static Result<PowersPlan> create(const PowersShape& shape, std::uint64_t count);
  /// The same with a given number of slots: 8192, 16384 or 32768.
  static Result<PowersPlan> create(const PowersShape& shape, std::uint64_t count,
                                   std::uint32_t slots);

  /// For products. Errors: Unsupported for more of them than any activation protocol asks for;
  /// InvalidArgument. @param slots  as above; 0: whatever takes the fewest bytes
  static Result<PowersPlan> forProducts(const ProductPlan& products, std::uint64_t count,
                                        std::uint32_t slots = 0);

  std::uint32_t degree() const;    ///< d; 0 for products
  std::uint32_t ringBits() const;  ///< K
  std::uint32_t slots() const;     ///< values in a full group
  std::uint64_t count() const { return m_count; }
  std::uint64_t groups() const;  ///< 0 where there is nothing to be made: a linear polynomial
  std::size_t valuesIn(std::uint64_t group) const;
  std::uint32_t levels() const;  ///< round trips, 0 for a linear polynomial

  /// Exact bytes of one group at a level, client to engine and back.
  std::size_t requestBytes(std::uint32_t level) const;
  std::size_t answerBytes(std::uint32_t level) const;
  std::size_t publicKeyBytes() const;        ///< client to engine, once a session
  std::size_t publicKeyMemoryBytes() const;  ///< at the engine
  /// Of all groups and levels, without the key.
  std::uint64_t bytesToEngine() const;
  std::uint64_t bytesToClient() const;
  /// Statistical distance of the client's view of the answers from one that depends on nothing but
  /// its own shares: a bound for all values together.
  double distance() const;
  /// What one group holds beside the shares while it is worked on, about.
  std::size_t workBytes() const;

  /// λ1: signed, uniform in ±2^55. The engine's openingMask is its negative.
  /// Errors: Internal if the system has no randomness.
  Result<SecureVector<std::uint64_t>> drawLambda(std::size_t count) const;

  struct Scheme;
  const Scheme& scheme() const { return *m_scheme; }

 private:
  PowersPlan(std::shared_ptr<const Scheme> scheme, std::uint64_t count)
      : m_scheme(std::move(scheme)), m_count(count) {}
  std::shared_ptr<const Scheme> m_scheme;
  std::uint64_t m_count = 0;
};

/// A run of a stage's values inside a group.
struct PowersPiece {
  std::uint32_t stage = 0;  ///< index into PublicModel::stages
  std::uint64_t first = 0;  ///< value of the stage
  std::size_t slot = 0;     ///< value of the group
  std::size_t count = 0;
};

/// Stages that share ciphertexts: the widths depend on a polynomial's degree and scale, not on its
/// coefficients, so all activations of a usual network are one batch and only its last group has
/// empty slots.
struct PowersBatch {
  PowersPlan plan;
  std::vector<std::vector<PowersPiece>> groups;  ///< [group]
};

/// One batch for each pair of (degree, scale) of the model's activations, in order of appearance;
/// stages in their order. Errors: as PowersPlan::create.
Result<std::vector<PowersBatch>> planPowers(const models::PublicModel& model);
/// The same for products, one batch for each set of sums that occurs.
Result<std::vector<PowersBatch>> planProducts(const models::PublicModel& model,
                                              const CorrelationPlan& correlations);

/// The client's keys for one plan's scheme; one session, any number of groups.
class PowersSecretKey {
 public:
  /// Errors: Internal if the system has no randomness.
  static Result<PowersSecretKey> create(const PowersPlan& plan);
  /// plan.publicKeyBytes() bytes for PowersPublicKey::parse.
  const std::vector<std::byte>& publicKey() const { return m_publicKey; }

 private:
  friend class PowersClient;
  struct State;
  std::shared_ptr<const State> m_state;
  std::vector<std::byte> m_publicKey;
};

/// The client's public key as the engine holds it.
class PowersPublicKey {
 public:
  /// Errors: Protocol for a wrong length or residues out of range.
  static Result<PowersPublicKey> parse(const PowersPlan& plan, std::span<const std::byte> bytes);

 private:
  friend class PowersEngine;
  struct State;
  std::shared_ptr<const State> m_state;
};

/// The client's side of one group. For each level in turn: request(), then finish(). Groups may be
/// worked on by several threads at once, one thread a group.
class PowersClient {
 public:
  /// @param lambda  λ0 as two's complement words, at most plan.slots() of them
  PowersClient(const PowersPlan& plan, const PowersSecretKey& key,
               std::span<const std::uint64_t> lambda);
  /// Of products. @param factors  all of the client's, equally long
  PowersClient(const PowersPlan& plan, const PowersSecretKey& key,
               std::span<const SecureVector<std::uint64_t>> factors);
  ~PowersClient();
  PowersClient(PowersClient&&) noexcept;
  PowersClient& operator=(PowersClient&&) noexcept;

  /// plan.requestBytes(level) bytes for the engine. Errors: Internal (no randomness).
  Result<std::vector<std::byte>> request();
  /// Takes the engine's answer. Errors: Protocol for a wrong length or residues out of range.
  Status finish(std::span<const std::byte> answer);

  /// [k-1]: shares of λ^k, k = 1..d, correct modulo 2^ringBits(); after the last level. [0] is λ0,
  /// sign-extended.
  std::vector<SecureVector<U128>>& powers();
  /// Of products: this party's share of a sum, correct modulo 2^64.
  const SecureVector<U128>& sum(std::size_t number) const;

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

/// The engine's side of one group: answer() for each level in turn.
class PowersEngine {
 public:
  /// @param lambda  λ1 of the group's values, from plan.drawLambda()
  PowersEngine(const PowersPlan& plan, const PowersPublicKey& key,
               std::span<const std::uint64_t> lambda);
  /// Of products. @param factors  all of the engine's, uniform, as many values as the client's
  PowersEngine(const PowersPlan& plan, const PowersPublicKey& key,
               std::span<const SecureVector<std::uint64_t>> factors);
  ~PowersEngine();
  PowersEngine(PowersEngine&&) noexcept;
  PowersEngine& operator=(PowersEngine&&) noexcept;

  /// plan.answerBytes(level) bytes for the client. Errors: Protocol for a wrong length or residues
  /// out of range; Internal (no randomness).
  Result<std::vector<std::byte>> answer(std::span<const std::byte> request);

  std::vector<SecureVector<U128>>& powers();
  const SecureVector<U128>& sum(std::size_t number) const;

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

}  // namespace pillarbox::offline::two_party
