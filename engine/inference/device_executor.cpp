#include "engine/inference/device_executor.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "engine/core/chunks.h"
#include "engine/core/secure_vector.h"
#include "engine/kernels/cuda/ring_table.h"
#include "engine/kernels/cuda/weights.h"
#include "engine/ring/narrow.h"

namespace pillarbox::inference {

namespace {

using device::Buffer;
using device::check;
using device::DevicePtr;
using device::PinnedBuffer;
using kernels::cuda::Method;
using kernels::cuda::RingTable;
using models::LinearOp;
using models::OpKind;
using models::PublicModel;
using models::Stage;

constexpr std::size_t kStagingBytes = std::size_t{1} << 20;
constexpr std::size_t kStagingSlots = 4;
constexpr std::size_t kMostPieces = 4;

std::size_t roundUp(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

std::size_t packedBytes(std::size_t words) {
  return roundUp(ring::kNarrowBytes * words, 8);
}

std::uint32_t toWord(std::size_t value) {
  return static_cast<std::uint32_t>(value);
}

/// Copies host memory that is not pinned to the device, through memory that is.
class Uploader {
 public:
  explicit Uploader(const DevicePtr& device)
      : m_device(device), m_stream(device), m_staging(device, kStagingSlots * kStagingBytes) {
    for (std::size_t i = 0; i < kStagingSlots; ++i) m_copied.emplace_back(device);
  }
  template <typename T>
  void upload(T* to, std::span<const T> from) {
    const auto bytes = std::as_bytes(from);
    auto* const target = reinterpret_cast<std::byte*>(to);
    for (std::size_t first = 0; first < bytes.size(); first += kStagingBytes) {
      const std::size_t count = std::min(kStagingBytes, bytes.size() - first);
      const std::size_t slot = m_next++ % kStagingSlots;
      if (m_next > kStagingSlots) check(m_device->table().finishEvent(m_copied[slot]));
      std::byte* const staged = m_staging.data() + slot * kStagingBytes;
      std::memcpy(staged, bytes.data() + first, count);
      check(m_device->table().copyIn(m_stream, target + first, staged, count));
      check(m_device->table().record(m_copied[slot], m_stream));
    }
  }
  void finish() { check(m_device->table().finishStream(m_stream)); }
  /// Overwrites what has passed through, once all of it has.
  void wipe() {
    finish();
    secureZero(m_staging.data(), m_staging.size());
  }
  device::Stream stream() const { return m_stream; }

 private:
  DevicePtr m_device;
  device::OwnedStream m_stream;
  PinnedBuffer<std::byte> m_staging;
  std::vector<device::OwnedEvent> m_copied;  ///< by slot
  std::size_t m_next = 0;
};

bool fits(const PublicModel& model, const offline::EngineSet& set) {
  if (set.stages.size() != model.stages.size()) return false;
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    const offline::EngineStage& own = set.stages[s];
    const std::size_t n = stage.output.size();
    if (own.outputMask.size() != n || own.openingMask.size() != (stage.activation ? n : 0) ||
        own.coefficients.size() != (stage.activation ? stage.activation->degree() : 0)) {
      return false;
    }
    for (const auto& tensor : own.coefficients) {
      if (tensor.size() != n) return false;
    }
  }
  return true;
}

}  // namespace

/// A model's weights on the device, and the seats that wait for an inference.
class DeviceModel {
 public:
  struct Weights {
    Method method = Method::Words;
    Buffer<std::byte> packed;
  };

  DeviceModel(const DevicePtr& device, const std::shared_ptr<const EngineModel>& model,
              const DeviceOptions& options, std::shared_ptr<device::Ledger> ledger);

  const DevicePtr& device() const { return m_device; }
  const DeviceOptions& options() const { return m_options; }
  device::Ledger& ledger() const { return *m_ledger; }
  const Weights& weights(const LinearOp& op) const { return m_weights[op.weightIndex]; }
  const std::int64_t* bias(std::size_t stage) const { return m_bias[stage].data(); }

  std::unique_ptr<DeviceSeat::State> take();
  void giveBack(std::unique_ptr<DeviceSeat::State> state);

 private:
  DevicePtr m_device;
  DeviceOptions m_options;
  std::shared_ptr<device::Ledger> m_ledger;
  std::vector<Weights> m_weights;
  std::vector<Buffer<std::int64_t>> m_bias;  ///< by stage
  std::mutex m_mutex;
  std::vector<std::unique_ptr<DeviceSeat::State>> m_free;
};

/// What an inference needs on the device, and its course.
class DeviceSeat::State {
 public:
  State(const DeviceModel& weights, std::shared_ptr<const EngineModel> model);
  ~State();
  /// Throws DeviceError and leaves the set as it is.
  void take(offline::EngineSet& set);
  Status run(net::Channel& channel, DeviceTimes& times);
  bool failed() const { return m_failed; }
  const EngineModel& model() const { return *m_model; }
  void attach(std::shared_ptr<const EngineModel> model) { m_model = std::move(model); }
  void detach() { m_model = nullptr; }

 private:
  /// Words of a stage's output that leave together.
  struct Piece {
    std::size_t firstChannel = 0, endChannel = 0;
    std::size_t end = 0;  ///< words packed and copied after this piece: whole chunks, or all
    device::OwnedEvent computed, copied;
    device::OwnedGraph graphs[2]{};  ///< dealt masks, integer masks
  };
  struct StagePlan {
    std::vector<Piece> pieces;
    device::OwnedGraph rest;             ///< the polynomial, and the end of the correlations
    device::OwnedEvent began, finished;  ///< what the device computes
  };
  /// Of one stage, uploaded ahead; two of them take turns.
  struct Correlations {
    Buffer<std::uint64_t> mask, opening;
    Buffer<U128> coefficients;  ///< one tensor after the other
    explicit Correlations(const DevicePtr& device)
        : began(device), uploaded(device), used(device) {}
    device::OwnedEvent began, uploaded, used;
    bool everUsed = false;
  };

  const device::Table& table() const { return m_device->table(); }
  const PublicModel& description() const { return m_model->description(); }
  void plan();
  device::OwnedGraph capturePiece(std::size_t s, std::size_t p, bool integerMasks);
  device::OwnedGraph captureRest(std::size_t s);
  void compute(std::size_t s, bool integerMasks);
  void enqueueOp(std::size_t s, std::size_t i, const std::vector<const std::uint64_t*>& values,
                 std::uint64_t* out, std::size_t firstChannel, std::size_t endChannel);
  void enqueuePolynomial(std::size_t s);
  void upload(std::size_t s, const offline::EngineStage& stage);
  Status receive(std::size_t s, net::Channel& channel);
  Status send(std::size_t s, net::Channel& channel);

  const DeviceModel& m_weights;
  DevicePtr m_device;
  std::shared_ptr<const EngineModel> m_model;
  bool m_failed = false;  ///< or in the middle of an inference
  offline::EngineSet m_set;

  PinnedBuffer<std::byte> m_wireIn, m_wireOut;
  Buffer<std::byte> m_packedIn, m_packedOut, m_planes;
  Buffer<std::uint64_t> m_shares[2];             ///< of even and odd stages: δ, then the own share
  std::vector<Buffer<std::uint64_t>> m_masked;   ///< ŷ, by slot
  std::vector<std::size_t> m_slots;              ///< of an activation
  std::vector<Buffer<std::uint64_t>> m_between;  ///< results of a stage's ops but the last
  // Streams after the memory that their work uses: they are closed first.
  std::vector<Correlations> m_correlations;
  std::vector<StagePlan> m_stages;
  Uploader m_uploader;
  device::OwnedUrgentStream m_compute;  // no inference waits for a set that is being prepared
  device::OwnedUrgentStream m_copyOut;
};

DeviceModel::DeviceModel(const DevicePtr& device, const std::shared_ptr<const EngineModel>& model,
                         const DeviceOptions& options, std::shared_ptr<device::Ledger> ledger)
    : m_device(device), m_options(options), m_ledger(std::move(ledger)) {
  const models::ModelWeights& weights = model->weights();
  Uploader uploader(device);
  m_weights.resize(weights.weights.size());
  for (const Stage& stage : model->description().stages) {
    for (const LinearOp& op : stage.ops) {
      if (!op.hasWeights()) continue;
      const std::span<const std::int32_t> own = weights.weights[op.weightIndex];
      Weights& place = m_weights[op.weightIndex];
      place.method = kernels::cuda::methodFor(op, own);
      const std::vector<std::byte> packed = kernels::cuda::pack(op, own, place.method);
      place.packed = Buffer<std::byte>(device, packed.size());
      uploader.upload(place.packed.data(), std::span<const std::byte>(packed));
    }
  }
  for (const std::vector<std::int64_t>& bias : weights.bias) {
    m_bias.emplace_back(device, bias.size());
    uploader.upload(m_bias.back().data(), std::span<const std::int64_t>(bias));
  }
  uploader.wipe();
}

std::unique_ptr<DeviceSeat::State> DeviceModel::take() {
  const std::lock_guard lock(m_mutex);
  if (m_free.empty()) return nullptr;
  auto state = std::move(m_free.back());
  m_free.pop_back();
  return state;
}

void DeviceModel::giveBack(std::unique_ptr<DeviceSeat::State> state) {
  const std::lock_guard lock(m_mutex);
  m_free.push_back(std::move(state));
}

DeviceSeat::State::State(const DeviceModel& weights, std::shared_ptr<const EngineModel> model)
    : m_weights(weights),
      m_device(weights.device()),
      m_model(std::move(model)),
      m_uploader(m_device),
      m_compute(m_device),
      m_copyOut(m_device) {
  plan();
}

DeviceSeat::State::~State() {
  // What fails here has failed before, and there is nobody to tell.
  for (const device::Stream stream :
       {m_uploader.stream(), device::Stream(m_compute), device::Stream(m_copyOut)}) {
    table().finishStream(stream);
  }
}

void DeviceSeat::State::plan() {
  const PublicModel& model = description();
  std::size_t largest = model.input.size(), wire = ring::kNarrowBytes * largest, planes = 0;
  std::size_t mostCoefficients = 0;
  std::vector<std::size_t> between;
  for (const Stage& stage : model.stages) {
    const std::size_t n = stage.output.size();
    largest = std::max(largest, n);
    wire = std::max(wire, n * (stage.activation ? ring::kNarrowBytes : 8));
    if (stage.activation)
      mostCoefficients = std::max(mostCoefficients, n * stage.activation->degree());
    for (std::size_t i = 0; i < stage.ops.size(); ++i) {
      const LinearOp& op = stage.ops[i];
      if (i + 1 < stage.ops.size()) {
        between.resize(std::max(between.size(), i + 1));
        between[i] = std::max<std::size_t>(between[i], op.out.size());
      }
      if (op.hasWeights() && m_weights.weights(op).method == Method::Tiles) {
        planes = std::max(planes, kernels::cuda::planeBytes(op));
      }
    }
  }
  m_wireIn = {m_device, roundUp(wire, 8)};
  m_wireOut = {m_device, roundUp(wire, 8)};
  m_packedIn = {m_device, packedBytes(largest)};
  m_packedOut = {m_device, packedBytes(largest)};
  m_planes = {m_device, planes};
  for (auto& share : m_shares) share = {m_device, largest};
  for (const std::size_t words : between) m_between.emplace_back(m_device, words);
  for (int i = 0; i < 2; ++i) {
    Correlations& correlations = m_correlations.emplace_back(m_device);
    correlations.mask = {m_device, largest};
    correlations.opening = {m_device, largest};
    correlations.coefficients = {m_device, mostCoefficients};
  }

  // Activations share memory where one is needed no more when the other comes.
  std::vector<std::size_t> sizes, freeAfter;
  for (std::size_t a = 0; a < model.stages.size(); ++a) {
    const std::size_t words = a == 0 ? model.input.size() : model.stages[a - 1].output.size();
    std::size_t best = sizes.size();
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (freeAfter[i] < a && (best == sizes.size() || sizes[i] > sizes[best])) best = i;
    }
    if (best == sizes.size()) {
      sizes.push_back(0);
      freeAfter.push_back(0);
    }
    sizes[best] = std::max(sizes[best], words);
    freeAfter[best] = std::max(a, m_model->lastUses()[a]);
    m_slots.push_back(best);
  }
  for (const std::size_t words : sizes) m_masked.emplace_back(m_device, words);

  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    StagePlan& plan = m_stages.emplace_back(
        StagePlan{.began = device::OwnedEvent(m_device), .finished = device::OwnedEvent(m_device)});
    const std::size_t n = stage.output.size(), channels = stage.output.channels;
    // Parts begin where a tile of output channels does.
    const std::size_t blocks =
        (channels + kernels::cuda::kTileChannels - 1) / kernels::cuda::kTileChannels;
    const bool whole =
        stage.ops.back().kind != OpKind::Convolution && stage.ops.back().kind != OpKind::Combine;
    const std::size_t count = whole ? 1
                                    : std::clamp<std::size_t>(n / m_weights.options().pieceWords, 1,
                                                              std::min(kMostPieces, blocks));
    for (std::size_t p = 0; p < count; ++p) {
      Piece piece{.computed = device::OwnedEvent(m_device), .copied = device::OwnedEvent(m_device)};
      piece.firstChannel = p == 0 ? 0 : plan.pieces.back().endChannel;
      piece.endChannel =
          std::min(channels, blocks * (p + 1) / count * kernels::cuda::kTileChannels);
      const std::size_t end = piece.endChannel * (n / channels);
      piece.end = p + 1 == count ? n : end / kChunkWords * kChunkWords;
      plan.pieces.push_back(std::move(piece));
    }
  }
}

void DeviceSeat::State::enqueueOp(std::size_t s, std::size_t i,
                                  const std::vector<const std::uint64_t*>& values,
                                  std::uint64_t* out, std::size_t firstChannel,
                                  std::size_t endChannel) {
  const LinearOp& op = description().stages[s].ops[i];
  const RingTable& ring = *table().ring;
  const std::uint64_t* const in = values[op.inputs[0]];
  const kernels::cuda::Window window{op.in.height,
                                     op.in.width,
                                     op.out.height,
                                     op.out.width,
                                     op.kernelH,
                                     op.kernelW,
                                     op.strideH,
                                     op.strideW,
                                     static_cast<std::int32_t>(op.padTop),
                                     static_cast<std::int32_t>(op.padLeft)};
  switch (op.kind) {
    case OpKind::Convolution: {
      const DeviceModel::Weights& weights = m_weights.weights(op);
      const kernels::cuda::ConvolutionArguments arguments{.in = in,
                                                          .out = out,
                                                          .weights = weights.packed.data(),
                                                          .planes = m_planes.data(),
                                                          .inChannels = op.in.channels,
                                                          .outChannels = op.out.channels,
                                                          .firstOut = toWord(firstChannel),
                                                          .outs = toWord(endChannel - firstChannel),
                                                          .window = window};
      if (weights.method == Method::Tiles) {
        if (firstChannel == 0) check(ring.spread(m_compute, arguments));
        check(ring.convolveTiles(m_compute, arguments));
      } else {
        check(ring.convolveWords(m_compute, arguments));
      }
      break;
    }
    case OpKind::FullyConnected:
      check(ring.multiplyVector(
          m_compute,
          {in, out, reinterpret_cast<const std::int32_t*>(m_weights.weights(op).packed.data()),
           toWord(op.in.size()), toWord(op.out.size())}));
      break;
    case OpKind::SumPool:
      check(ring.pool(m_compute, {in, out, op.out.channels, window}));
      break;
    case OpKind::Combine: {
      const std::size_t area = op.out.size() / op.out.channels, first = firstChannel * area;
      kernels::cuda::CombineArguments arguments{};
      arguments.out = out + first;
      arguments.count = toWord((endChannel - firstChannel) * area);
      for (std::size_t k = 0; k < op.inputs.size();) {
        arguments.add = k > 0;
        std::uint32_t count = 0;
        for (; k < op.inputs.size() && count < arguments.kMaxInputs; ++k, ++count) {
          arguments.inputs[count] = values[op.inputs[k]] + first;
          arguments.factors[count] = static_cast<std::uint64_t>(op.multipliers[k]);
        }
        arguments.inputCount = count;
        check(ring.combine(m_compute, arguments));
      }
      break;
    }
  }
}

void DeviceSeat::State::enqueuePolynomial(std::size_t s) {
  const protocol::HoneyBadger& polynomial = m_model->polynomials()[s];
  const std::size_t n = description().stages[s].output.size();
  kernels::cuda::PolynomialArguments arguments{};
  arguments.opening = arguments.out = m_shares[s % 2].data();
  arguments.count = toWord(n);
  arguments.degree = polynomial.degree();
  arguments.truncation = polynomial.truncation();
  arguments.leading = polynomial.leading();
  for (std::size_t i = 0; i < polynomial.degree(); ++i) {
    arguments.coefficients[i] = m_correlations[s % 2].coefficients.data() + i * n;
  }
  check(table().ring->polynomial(m_compute, arguments));
}

/// A piece of a stage's output, from its input to the packed opening; the first one with what comes
/// before it.
device::OwnedGraph DeviceSeat::State::capturePiece(std::size_t s, std::size_t p,
                                                   bool integerMasks) {
  const Stage& stage = description().stages[s];
  const RingTable& ring = *table().ring;
  const Piece& piece = m_stages[s].pieces[p];
  const std::size_t n = stage.output.size(), area = n / stage.output.channels;
  const std::size_t last = stage.ops.size() - 1;
  std::uint64_t* const share = m_shares[s % 2].data();
  const Correlations& correlations = m_correlations[s % 2];
  std::vector<const std::uint64_t*> values;
  for (const std::uint32_t input : stage.inputs) values.push_back(m_masked[m_slots[input]].data());
  for (std::size_t i = 0; i < last; ++i) values.push_back(m_between[i].data());

  return device::OwnedGraph::record(m_device, m_compute, [&] {
    if (p == 0) {
      const std::size_t arriving =
          s == 0 ? description().input.size() : description().stages[s - 1].output.size();
      check(ring.arrive(m_compute,
                        {m_packedIn.data(), s == 0 ? nullptr : m_shares[(s - 1) % 2].data(),
                         m_masked[m_slots[s]].data(), toWord(arriving)}));
      for (std::size_t i = 0; i < last; ++i) {
        enqueueOp(s, i, values, m_between[i].data(), 0, stage.ops[i].out.channels);
      }
    }
    enqueueOp(s, last, values, share, piece.firstChannel, piece.endChannel);
    const std::size_t biases = m_model->weights().bias[s].size(), run = n / biases;
    const std::size_t first = piece.firstChannel * area, end = piece.endChannel * area;
    check(ring.finish(
        m_compute,
        {share + first, correlations.mask.data() + first, m_weights.bias(s) + first / run,
         stage.activation ? correlations.opening.data() + first : nullptr, toWord(end - first),
         toWord(run), stage.truncation, stage.activation && !integerMasks}));
    const std::size_t packed = p == 0 ? 0 : m_stages[s].pieces[p - 1].end;
    if (stage.activation && piece.end > packed) {
      check(ring.pack(m_compute, {share + packed, m_packedOut.data() + ring::kNarrowBytes * packed,
                                  toWord(piece.end - packed)}));
    }
  });
}

device::OwnedGraph DeviceSeat::State::captureRest(std::size_t s) {
  const Stage& stage = description().stages[s];
  const std::size_t n = stage.output.size();
  const Correlations& correlations = m_correlations[s % 2];
  return device::OwnedGraph::record(m_device, m_compute, [&] {
    if (stage.activation) {
      enqueuePolynomial(s);
      check(table().zero(m_compute, correlations.opening.data(), 8 * n));
      check(table().zero(m_compute, correlations.coefficients.data(),
                         sizeof(U128) * n * stage.activation->degree()));
    }
    check(table().zero(m_compute, correlations.mask.data(), 8 * n));
  });
}

/// Starts all that the device does for a stage once its last chunk is there.
void DeviceSeat::State::compute(std::size_t s, bool integerMasks) {
  StagePlan& plan = m_stages[s];
  Correlations& correlations = m_correlations[s % 2];
  const bool narrow = description().stages[s].activation.has_value();
  check(table().wait(m_compute, correlations.uploaded));
  check(table().record(plan.began, m_compute));
  std::size_t copied = 0;
  for (std::size_t p = 0; p < plan.pieces.size(); ++p) {
    Piece& piece = plan.pieces[p];
    device::OwnedGraph& graph = piece.graphs[integerMasks ? 1 : 0];
    if (device::Graph(graph) == nullptr) graph = capturePiece(s, p, integerMasks);
    check(table().launchGraph(graph, m_compute));
    check(table().record(piece.computed, m_compute));
    check(table().wait(m_copyOut, piece.computed));
    if (piece.end > copied) {
      const std::size_t each = narrow ? ring::kNarrowBytes : 8, at = each * copied;
      const std::byte* const from =
          narrow ? m_packedOut.data() : reinterpret_cast<const std::byte*>(m_shares[s % 2].data());
      check(table().copyOut(m_copyOut, m_wireOut.data() + at, from + at,
                            each * (piece.end - copied)));
    }
    check(table().record(piece.copied, m_copyOut));
    copied = piece.end;
  }
  if (device::Graph(plan.rest) == nullptr) plan.rest = captureRest(s);
  check(table().launchGraph(plan.rest, m_compute));
  check(table().record(plan.finished, m_compute));
  check(table().record(correlations.used, m_compute));
  correlations.everUsed = true;
}

/// Brings a stage's correlations to the device.
void DeviceSeat::State::upload(std::size_t s, const offline::EngineStage& stage) {
  Correlations& correlations = m_correlations[s % 2];
  const std::size_t n = stage.outputMask.size();
  if (correlations.everUsed) check(table().wait(m_uploader.stream(), correlations.used));
  check(table().record(correlations.began, m_uploader.stream()));
  m_uploader.upload(correlations.mask.data(), std::span<const std::uint64_t>(stage.outputMask));
  m_uploader.upload(correlations.opening.data(), std::span<const std::uint64_t>(stage.openingMask));
  for (std::size_t i = 0; i < stage.coefficients.size(); ++i) {
    m_uploader.upload(correlations.coefficients.data() + i * n,
                      std::span<const U128>(stage.coefficients[i]));
  }
  check(table().record(correlations.uploaded, m_uploader.stream()));
}

Status DeviceSeat::State::receive(std::size_t s, net::Channel& channel) {
  const std::size_t words =
      s == 0 ? description().input.size() : description().stages[s - 1].output.size();
  return inPieces(words, kChunkWords, [&](std::size_t first, std::size_t count) -> Status {
    const std::size_t at = ring::kNarrowBytes * first, bytes = ring::kNarrowBytes * count;
    PILLARBOX_TRY(channel.receiveBytes(m_wireIn.span().subspan(at, bytes)));
    check(table().copyIn(m_compute, m_packedIn.data() + at, m_wireIn.data() + at, bytes));
    return {};
  });
}

Status DeviceSeat::State::send(std::size_t s, net::Channel& channel) {
  const bool narrow = description().stages[s].activation.has_value();
  std::size_t sent = 0;
  for (const Piece& piece : m_stages[s].pieces) {
    check(table().finishEvent(piece.copied));
    PILLARBOX_TRY(inPieces(
        piece.end - sent, kChunkWords, [&](std::size_t first, std::size_t count) -> Status {
          const std::size_t at = sent + first;
          if (narrow) {
            return channel.send(
                net::FrameKind::Bytes,
                m_wireOut.span().subspan(ring::kNarrowBytes * at, ring::kNarrowBytes * count));
          }
          return channel.sendWords(
              {reinterpret_cast<const std::uint64_t*>(m_wireOut.data()) + at, count});
        }));
    sent = piece.end;
  }
  return {};
}

void DeviceSeat::State::take(offline::EngineSet& set) {
  m_failed = true;
  const std::size_t first = std::min<std::size_t>(2, description().stages.size());
  for (std::size_t s = 0; s < first; ++s) upload(s, set.stages[s]);
  m_uploader.finish();  // a device that is out of order shows it here, while others can step in
  m_set = std::move(set);
  for (std::size_t s = 0; s < first; ++s) m_set.stages[s] = {};  // which overwrites them
}

Status DeviceSeat::State::run(net::Channel& channel, DeviceTimes& times) {
  const std::size_t count = description().stages.size();
  const auto between = [this](device::Event first, device::Event second) {
    double seconds = 0;
    check(table().secondsBetween(first, second, &seconds));
    return seconds;
  };
  times = {};
  for (std::size_t s = 0; s < count; ++s) {
    PILLARBOX_TRY(receive(s, channel));
    compute(s, m_set.integerMasks);
    PILLARBOX_TRY(send(s, channel));
    times.copying += between(m_correlations[s % 2].began, m_correlations[s % 2].uploaded);
    if (s + 2 < count) {
      upload(s + 2, m_set.stages[s + 2]);
      m_set.stages[s + 2] = {};
    }
  }
  m_uploader.wipe();
  check(table().finishStream(m_compute));
  for (std::size_t s = 0; s < count; ++s) {
    times.computing += between(m_stages[s].began, m_stages[s].finished);
    const Stage& stage = description().stages[s];
    const std::size_t degree = stage.activation ? stage.activation->degree() : 0;
    times.copiedBytes += stage.output.size() * (degree > 0 ? 16 + sizeof(U128) * degree : 8);
  }
  m_set = {};
  m_failed = false;
  return {};
}

DeviceSeat::DeviceSeat(std::shared_ptr<DeviceModel> model, std::unique_ptr<State> state)
    : m_model(std::move(model)), m_state(std::move(state)) {}
DeviceSeat::DeviceSeat(DeviceSeat&&) noexcept = default;

DeviceSeat::~DeviceSeat() {
  if (m_state == nullptr || m_state->failed()) return;
  try {
    m_state->detach();
    m_model->giveBack(std::move(m_state));
  } catch (const std::bad_alloc&) {
    // Then the next inference makes a new one.
  }
}

Status DeviceSeat::take(offline::EngineSet& set) {
  if (set.protocol != offline::Protocol::HoneyBadger) {
    return Error{ErrorCode::Unsupported,
                 std::string("activations by ") + offline::toString(set.protocol) +
                     " are not evaluated on a device; run this inference on the processor"};
  }
  if (!fits(m_state->model().description(), set)) {
    return Error{ErrorCode::Internal, "the correlation set was made for another model"};
  }
  try {
    m_state->take(set);
    return {};
  } catch (const device::DeviceError& error) {
    m_model->ledger().declined(device::Purpose::Inference);
    m_deviceFailed = true;
    return Error{ErrorCode::Exhausted, error.what()};
  }
}

Status DeviceSeat::run(net::Channel& channel) {
  device::Ledger& ledger = m_model->ledger();
  try {
    PILLARBOX_TRY(
        ledger.watch(device::Purpose::Inference, [&] { return m_state->run(channel, m_times); }));
    ledger.worked(device::Purpose::Inference, m_times.computing);
    return {};
  } catch (const device::DeviceError& error) {
    m_deviceFailed = true;
    return Error{ErrorCode::Internal, error.what()};
  }
}

struct DeviceEngine::Models {
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::shared_ptr<DeviceModel> model;
    Clock::time_point retryAt{};
    std::string reason;  ///< why nothing could be made before that
  };
  std::mutex mutex;
  std::map<std::weak_ptr<const EngineModel>, Entry, std::owner_less<>> models;
};

DeviceEngine::DeviceEngine(device::DevicePtr device, DeviceOptions options,
                           std::shared_ptr<device::Ledger> ledger)
    : m_device(std::move(device)),
      m_options(options),
      m_ledger(std::move(ledger)),
      m_models(std::make_unique<Models>()) {}

DeviceEngine::~DeviceEngine() = default;

std::string DeviceEngine::description() const {
  return m_device->description();
}

Result<DeviceSeat> DeviceEngine::seat(const std::shared_ptr<const EngineModel>& model) {
  using Clock = Models::Clock;
  const auto declined = [&](const std::string& reason) -> Error {
    m_ledger->declined(device::Purpose::Inference);
    return {ErrorCode::Exhausted, reason};
  };
  try {
    std::shared_ptr<DeviceModel> weights;
    bool mayMake = true;
    std::string reason;
    {
      const std::lock_guard lock(m_models->mutex);
      std::erase_if(m_models->models, [](const auto& entry) { return entry.first.expired(); });
      Models::Entry& known = m_models->models[model];
      mayMake = Clock::now() >= known.retryAt;
      reason = known.reason;
      if (known.model == nullptr && mayMake) {
        known.model = std::make_shared<DeviceModel>(m_device, model, m_options, m_ledger);
      }
      weights = known.model;
    }
    std::unique_ptr<DeviceSeat::State> state = weights ? weights->take() : nullptr;
    if (state != nullptr) {
      state->attach(model);
    } else if (!mayMake) {
      return declined(reason);
    } else {
      state = std::make_unique<DeviceSeat::State>(*weights, model);
    }
    return DeviceSeat(std::move(weights), std::move(state));
  } catch (const device::DeviceError& error) {
    const std::lock_guard lock(m_models->mutex);
    Models::Entry& known = m_models->models[model];
    known.retryAt = Clock::now() + m_options.retry;
    known.reason = error.what();
    return declined(known.reason);
  }
}

}  // namespace pillarbox::inference
