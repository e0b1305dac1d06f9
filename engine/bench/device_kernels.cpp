#include "engine/bench/device_kernels.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/kernels/cuda/ring_table.h"
#include "engine/kernels/cuda/weights.h"

namespace pillarbox::bench {

namespace {

using device::Buffer;
using device::check;
using device::DevicePtr;
using kernels::cuda::ConvolutionArguments;
using kernels::cuda::Method;
using kernels::cuda::PeakArguments;
using nlohmann::json;

/// A stream, and a clock around what it does.
class Stopwatch {
 public:
  explicit Stopwatch(DevicePtr device)
      : m_device(std::move(device)), m_stream(m_device), m_began(m_device), m_done(m_device) {}
  ~Stopwatch() { m_device->table().finishStream(m_stream); }

  device::Stream stream() const { return m_stream; }
  void finish() const { check(m_device->table().finishStream(m_stream)); }
  template <typename T>
  Buffer<T> put(std::span<const T> values) const {
    Buffer<T> buffer(m_device, values.size());
    check(m_device->table().copyIn(m_stream, buffer.data(), values.data(), values.size_bytes()));
    finish();
    return buffer;
  }

  /// Seconds of one run: the least of the averages over launches that follow one another, after one
  /// that is not counted, for `budget` seconds.
  double fastest(double budget, const std::function<void()>& run) const {
    using Clock = std::chrono::steady_clock;
    constexpr int kTogether = 8;
    run();
    finish();
    double best = std::numeric_limits<double>::infinity();
    const auto end = Clock::now() + std::chrono::duration<double>(budget);
    do {
      check(m_device->table().record(m_began, m_stream));
      for (int i = 0; i < kTogether; ++i) run();
      check(m_device->table().record(m_done, m_stream));
      check(m_device->table().finishEvent(m_done));
      double seconds = 0;
      check(m_device->table().secondsBetween(m_began, m_done, &seconds));
      best = std::min(best, seconds / kTogether);
    } while (Clock::now() < end);
    return best;
  }

 private:
  const DevicePtr m_device;
  const device::OwnedStream m_stream;
  const device::OwnedEvent m_began, m_done;
};

}  // namespace

json measureDevicePeaks(const DevicePtr& device, const PeakSizes& sizes) {
  constexpr double kBudget = 0.1;
  const kernels::cuda::RingTable& ring = *device->table().ring;
  const std::uint32_t blocks = sizes.blocksOfProcessor * device->info().processors;
  const std::uint64_t warps = std::uint64_t{blocks} * kernels::cuda::kWarps;
  const Buffer<std::uint64_t> memory(device, std::max<std::uint64_t>(sizes.words, warps * 32));
  const Stopwatch watch(device);
  check(device->table().zero(watch.stream(), memory.data(), memory.size() * 8));
  const PeakArguments arguments{memory.data(), blocks, sizes.rounds, sizes.words};

  const double tiles =
      watch.fastest(kBudget, [&] { check(ring.peakTiles(watch.stream(), arguments)); });
  const double words =
      watch.fastest(kBudget, [&] { check(ring.peakWords(watch.stream(), arguments)); });
  const double copy =
      watch.fastest(kBudget, [&] { check(ring.peakCopy(watch.stream(), arguments)); });
  const double rounds = sizes.rounds;
  // Words of eight bytes and weights of two: 15 products of bytes matter mod 2^64.
  const double products = static_cast<double>(warps) * PeakArguments::kTiles * 16 * 8 * 32 * rounds;
  const double sums = static_cast<double>(warps) * 32 * PeakArguments::kWords * rounds;
  return {{"tile_gmacs", 1e-9 * products / 15 / tiles},
          {"word_gmacs", 1e-9 * sums / words},
          {"copy_gigabytes", 1e-9 * 8 * static_cast<double>(sizes.words) / copy}};
}

json measureDeviceLayer(const DevicePtr& device, const models::LinearOp& op,
                        std::span<const std::int32_t> weights, std::span<const std::uint64_t> in,
                        std::span<const std::uint64_t> expected, double seconds) {
  const kernels::cuda::RingTable& ring = *device->table().ring;
  const auto toWord = [](auto value) { return static_cast<std::uint32_t>(value); };
  json result = {{"seconds", json::object()}};
  const auto nameOf = [](Method method) {
    return method == Method::Tiles ? "tiles" : method == Method::Words ? "words" : "rows";
  };
  result["method"] = nameOf(kernels::cuda::methodFor(op, weights));

  std::vector<Method> methods = {Method::Rows};
  if (op.kind == models::OpKind::Convolution) methods = {Method::Words};
  if (kernels::cuda::fitTiles(op, weights)) methods.push_back(Method::Tiles);
  const Buffer<std::byte> planes(device, kernels::cuda::planeBytes(op));
  const Buffer<std::uint64_t> out(device, op.out.size());
  std::vector<std::uint64_t> found(op.out.size());
  const Stopwatch watch(device);
  const auto input = watch.put(in);
  for (const Method method : methods) {
    const auto packed =
        watch.put(std::span<const std::byte>(kernels::cuda::pack(op, weights, method)));
    const ConvolutionArguments arguments{
        .in = input.data(),
        .out = out.data(),
        .weights = packed.data(),
        .planes = planes.data(),
        .inChannels = op.in.channels,
        .outChannels = op.out.channels,
        .firstOut = 0,
        .outs = op.out.channels,
        .window = {op.in.height, op.in.width, op.out.height, op.out.width, op.kernelH, op.kernelW,
                   op.strideH, op.strideW, static_cast<std::int32_t>(op.padTop),
                   static_cast<std::int32_t>(op.padLeft)}};
    const auto run = [&] {
      if (method == Method::Rows) {
        const auto* rows = reinterpret_cast<const std::int32_t*>(packed.data());
        check(ring.multiplyVector(watch.stream(), {input.data(), out.data(), rows,
                                                   toWord(op.in.size()), toWord(op.out.size())}));
      } else if (method == Method::Words) {
        check(ring.convolveWords(watch.stream(), arguments));
      } else {
        check(ring.spread(watch.stream(), arguments));
        check(ring.convolveTiles(watch.stream(), arguments));
      }
    };
    check(device->table().zero(watch.stream(), out.data(), out.size() * 8));
    result["seconds"][nameOf(method)] = watch.fastest(seconds, run);
    check(device->table().copyOut(watch.stream(), found.data(), out.data(), found.size() * 8));
    watch.finish();
    if (!std::equal(found.begin(), found.end(), expected.begin(), expected.end())) {
      throw std::runtime_error(device->description() +
                               " gives another output than the processor, "
                               "by the method " +
                               nameOf(method));
    }
  }
  return result;
}

}  // namespace pillarbox::bench
