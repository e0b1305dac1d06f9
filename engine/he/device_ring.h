// The ring of one set of parameters on a GPU: the engine's operations on batches of ciphertexts
// that stay there (rlwe.h and galois.h do the same one by one on the processor; results agree word
// for word).
//
// Status: compiled, and tested in emulation (tests/support/cuda_emulator.h); not yet run on a GPU.
//
// A copy of one polynomial to the device takes longer than a transform of it there, and so does a
// launch for one polynomial. Everything here therefore takes many ciphertexts at a time, and
// nothing is copied but what comes from the other party, goes to it, or is used for the whole
// session.
//
// What the device holds is what the engine's memory holds: the client's ciphertexts and public
// keys, weights, masks and the seeds of replies. The kernels keep to the rules of constant time of
// the processor's (no branch and no address depends on a secret; AES without tables), and device
// memory is overwritten when it is released.
//
// Everything may throw device::DeviceError.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "engine/device/device.h"
#include "engine/he/cuda/he_table.h"
#include "engine/he/galois.h"

namespace pillarbox::he {

/// Ciphertexts in device memory, one after the other: c0 over the full basis, c1 over Q,
/// transformed. A view of one or of many.
struct DeviceCiphertexts {
  std::uint64_t* c0 = nullptr;
  std::uint64_t* c1 = nullptr;
};

struct DevicePublicKey {
  device::Buffer<std::uint64_t> b, a;  ///< over Q
};

struct DeviceGaloisKey {
  device::Buffer<std::uint64_t> b, a;  ///< digit by digit, over the full basis
  device::Buffer<std::uint32_t> permutation;
  device::Buffer<std::uint64_t> shift;  ///< X^h over the full basis, h = n / (exponent − 1)
};

/// Waits for a stream at the end of a scope, whatever ends it: declared after what the stream's
/// work reads and writes.
class FinishedStream {
 public:
  FinishedStream(const device::DevicePtr& device, device::Stream stream)
      : m_device(*device), m_stream(stream) {}
  ~FinishedStream() { m_device.table().finishStream(m_stream); }
  FinishedStream(const FinishedStream&) = delete;
  FinishedStream& operator=(const FinishedStream&) = delete;

 private:
  const device::Device& m_device;
  device::Stream m_stream;
};

/// A piece of device memory that is dealt out front to back, for one use after the other: to take
/// and release memory stops the whole device for a moment.
class DeviceArena {
 public:
  /// Measures: what take() returns must not be used.
  DeviceArena() = default;
  DeviceArena(const device::DevicePtr& device, std::size_t bytes) : m_memory(device, bytes) {}
  /// Throws std::logic_error beyond the end.
  template <typename T>
  T* take(std::size_t count) {
    constexpr std::size_t kAlignment = 256;
    const std::size_t first = m_used;
    m_used += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    if (m_memory.data() == nullptr) return nullptr;
    if (m_used > m_memory.size()) throw std::logic_error("more device memory than measured");
    return reinterpret_cast<T*>(m_memory.data() + first);
  }
  std::size_t used() const { return m_used; }
  std::size_t size() const { return m_memory.size(); }
  /// Overwrites what was dealt out; nothing may still use it. Waits.
  void clear(const device::DevicePtr& device, device::Stream stream) {
    device::check(device->table().zero(stream, m_memory.data(), m_used));
    device::check(device->table().finishStream(stream));
    m_used = 0;
  }

 private:
  device::Buffer<std::byte> m_memory;
  std::size_t m_used = 0;
};

/// Immutable; usable from several threads, each with streams and scratch memory of its own.
class DeviceRing {
 public:
  /// @param floodingBits  of replies
  DeviceRing(device::DevicePtr device, std::shared_ptr<const Parameters> parameters,
             std::uint32_t floodingBits);

  const Parameters& parameters() const { return *m_parameters; }
  const device::DevicePtr& device() const { return m_device; }
  const cuda::HeTable& table() const { return *m_device->table().he; }
  cuda::Ring ring() const { return {m_primes.data(), m_logDegree}; }
  std::size_t degree() const { return m_parameters->degree(); }

  /// Polynomials over Q, one after the other unless another stride (in polynomials of one limb) is
  /// given; over the full and the return basis.
  cuda::Rows q(std::uint64_t* data, std::size_t polys) const;
  cuda::Rows full(std::uint64_t* data, std::size_t polys) const;
  cuda::Rows returned(std::uint64_t* data, std::size_t polys) const;
  /// Of polynomials over the full basis, the limbs over Q, and those over the special primes.
  cuda::Rows lower(std::uint64_t* data, std::size_t polys) const;
  cuda::Rows special(std::uint64_t* data, std::size_t polys) const;
  /// Words of so many polynomials.
  std::size_t qWords(std::size_t polys) const { return polys * m_qs * degree(); }
  std::size_t fullWords(std::size_t polys) const { return polys * m_fulls * degree(); }
  DeviceCiphertexts at(const DeviceCiphertexts& batch, std::size_t number) const {
    return {batch.c0 + fullWords(number), batch.c1 + qWords(number)};
  }
  /// One residue mod each prime of Q.
  static cuda::Scalars scalars(std::span<const std::uint64_t> residues);

  /// A copy on the device. Waits.
  template <typename T>
  device::Buffer<T> copied(std::span<const T> host) const {
    device::Buffer<T> buffer(m_device, host.size());
    const device::OwnedStream stream(m_device);
    if (!host.empty()) {
      device::check(
          m_device->table().copyIn(stream, buffer.data(), host.data(), host.size_bytes()));
      device::check(m_device->table().finishStream(stream));
    }
    return buffer;
  }
  DevicePublicKey copied(const PublicKey& key) const;
  DeviceGaloisKey copied(const GaloisKey& key) const;

  /// out[p] = expandUniform(Q, seeds[p]), `polys` of them; seeds of 32 bytes on the device.
  /// @param schedules  cuda::kKeyWords words for each
  void expand(device::Stream stream, std::uint64_t* out, const std::uint8_t* seeds,
              std::uint32_t* schedules, std::size_t polys) const;

  /// Memory for merges of up to `capacity` pairs at a time, about 1.6 MB each.
  struct MergeScratch {
    MergeScratch(const DeviceRing& ring, DeviceArena& arena, std::size_t capacity);
    std::size_t capacity;
    std::uint64_t *less0, *less1, *coefficients, *digits, *c0, *c1;
  };
  /// even := even + X^h·odd + τ(even − X^h·odd) of `count` pairs (linear.h of the two-party phase).
  void merge(device::Stream stream, const DeviceGaloisKey& key, const MergeScratch& scratch,
             DeviceCiphertexts even, DeviceCiphertexts odd, std::size_t count) const;
  /// x += x.
  void twice(device::Stream stream, DeviceCiphertexts x, std::size_t count) const;

  /// Memory for up to `capacity` replies at a time, about 2 MB each.
  struct ReplyScratch {
    ReplyScratch(const DeviceRing& ring, DeviceArena& arena, std::size_t capacity);
    std::size_t capacity;
    std::uint8_t* seeds;
    std::uint32_t *schedules, *wanted, *counts;
    std::uint64_t *random, *narrow, *u, *e, *c0, *c1, *returned0, *returned1, *chosen, *words;
  };
  /// reply() of `secrets.size()` ciphertexts, at most the scratch's capacity; results are
  /// overwritten. Waits.
  /// @param results  c0 over the full basis: narrowed() first
  /// @param words    addends as Word64 words, n for each
  /// @param secrets  of a Sampler for each; nothing else may use them
  std::vector<Reply> replies(device::Stream stream, const DevicePublicKey& key,
                             const ReplyScratch& scratch, DeviceCiphertexts results,
                             const Word64& encoding, std::span<const std::uint64_t> words,
                             std::span<const std::vector<std::uint32_t>> wanted,
                             std::span<const random::Seed> secrets) const;

 private:
  struct Change {
    device::Buffer<std::uint64_t> in, out;
    device::Buffer<double> reciprocals;
    std::uint32_t inputs = 0, outputs = 0;
    cuda::Change view() const {
      return {in.data(), reciprocals.data(), out.data(), inputs, outputs};
    }
  };
  Change copied(const BasisChange& change) const;
  cuda::Rows rows(std::uint64_t* data, std::size_t polys, std::size_t width, std::size_t stride,
                  std::size_t prime) const;
  void mergeSome(device::Stream stream, const DeviceGaloisKey& key, const MergeScratch& scratch,
                 DeviceCiphertexts even, DeviceCiphertexts odd, std::size_t count) const;

  device::DevicePtr m_device;
  std::shared_ptr<const Parameters> m_parameters;
  std::uint32_t m_logDegree = 0;
  std::size_t m_qs, m_fulls, m_specials, m_returneds;  ///< limbs
  std::vector<device::Buffer<std::uint64_t>> m_roots;
  device::Buffer<cuda::Prime> m_primes;  ///< of the full basis, then of the return basis
  Change m_toReturned, m_dropSpecial;
  std::uint32_t m_floodingBits;
  device::Buffer<std::uint64_t> m_flooding;  ///< scalars (he_table.h)
};

}  // namespace pillarbox::he
