#include "engine/inference/device_check.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/inference/device_executor.h"
#include "engine/random/random.h"
#include "engine/ring/narrow.h"
#include "net/memory.h"

namespace pillarbox::inference {

namespace {

using models::LinearOp;
using models::OpKind;
using models::Stage;

class Words {
 public:
  explicit Words(const random::Seed& seed) : m_expander(seed, 0) {}
  SecureVector<std::uint64_t> take(std::size_t count) {
    SecureVector<std::uint64_t> words(count);
    m_expander.fill(words);
    return words;
  }

 private:
  random::Expander m_expander;
};

LinearOp convolution(models::Shape in, std::uint32_t outs) {
  LinearOp op;
  op.inputs = {0};
  op.in = in;
  op.out = {outs, in.height, in.width};
  op.kernelH = op.kernelW = 3;
  op.padTop = op.padLeft = op.padBottom = op.padRight = 1;
  return op;
}

/// Its weights make no sense: words are compared, not classes. The second convolution is just large
/// enough for tensor cores.
std::shared_ptr<const EngineModel> testModel(Words& random) {
  models::PublicModel model;
  models::ModelWeights weights;
  model.name = "device-check";
  model.input = {3, 16, 16};
  model.mean = model.std = {1, 1, 1};
  const auto stage = [&](std::vector<LinearOp> ops, std::vector<std::int64_t> polynomial) {
    Stage next;
    next.inputs = {static_cast<std::uint32_t>(model.stages.size())};
    for (LinearOp& op : ops) {
      if (!op.hasWeights()) continue;
      op.weightIndex = static_cast<std::uint32_t>(weights.weights.size());
      auto& own = weights.weights.emplace_back();
      for (const std::uint64_t word : random.take(op.weightCount())) {
        own.push_back(static_cast<std::int32_t>(word & 0x1fff) - 4096);
      }
    }
    next.output = ops.back().out;
    next.ops = std::move(ops);
    if (!polynomial.empty()) next.activation = models::Polynomial{10, std::move(polynomial)};
    auto& bias = weights.bias.emplace_back();
    for (const std::uint64_t word : random.take(next.output.channels)) {
      bias.push_back(static_cast<std::int64_t>(word) >> 24);
    }
    model.stages.push_back(std::move(next));
  };
  const models::Shape middle{32, 16, 16};
  stage({convolution(model.input, middle.channels)}, {322, 512, 160, 7, -3});
  LinearOp sum;
  sum.kind = OpKind::Combine;
  sum.inputs = {1, 0};
  sum.in = sum.out = middle;
  sum.multipliers = {1, 4096};
  stage({convolution(middle, middle.channels), sum}, {100, 512, 40});
  LinearOp pool;
  pool.kind = OpKind::SumPool;
  pool.inputs = {0};
  pool.in = middle;
  pool.out = {middle.channels, 4, 4};
  pool.kernelH = pool.kernelW = pool.strideH = pool.strideW = 4;
  LinearOp last;
  last.kind = OpKind::FullyConnected;
  last.inputs = {1};
  last.in = pool.out;
  last.out = {10, 1, 1};
  stage({pool, last}, {});
  return std::make_shared<const EngineModel>(std::move(model), std::move(weights));
}

/// The same set for the same seed.
offline::EngineSet testSet(const EngineModel& model, const random::Seed& seed, bool integerMasks) {
  Words random(seed);
  offline::EngineSet set;
  set.integerMasks = integerMasks;
  for (const Stage& stage : model.description().stages) {
    const std::size_t n = stage.output.size();
    offline::EngineStage& own = set.stages.emplace_back();
    own.outputMask = random.take(n);
    if (!stage.activation) continue;
    own.openingMask = random.take(n);
    for (std::uint32_t k = 0; k < stage.activation->degree(); ++k) {
      const SecureVector<std::uint64_t> words = random.take(2 * n);
      auto& coefficient = own.coefficients.emplace_back(n);
      std::memcpy(coefficient.data(), words.data(), n * sizeof(U128));
    }
  }
  return set;
}

/// What the engine answers to a client that sends what `seed` says, whatever it is answered. The
/// connection is large enough for all of it, so that everything is sent before the engine begins.
Result<std::vector<std::byte>> answers(const EngineModel& model, const random::Seed& seed,
                                       const std::function<Status(net::Channel&)>& engine) {
  auto [left, right] = net::makeMemoryPair();
  net::Channel client(std::move(left)), server(std::move(right));
  Words random(seed);
  std::size_t n = model.description().input.size();
  const auto inChunks = [](std::size_t words, const auto& step) -> Status {
    for (std::size_t first = 0; first < words; first += kChunkWords) {
      PILLARBOX_TRY(step(std::min(kChunkWords, words - first)));
    }
    return {};
  };
  for (const Stage& stage : model.description().stages) {
    PILLARBOX_TRY(inChunks(n, [&](std::size_t count) {
      const SecureVector<std::uint64_t> words = random.take(count);
      return client.send(net::FrameKind::Bytes,
                         std::as_bytes(std::span(words)).first(ring::kNarrowBytes * count));
    }));
    n = stage.output.size();
  }
  PILLARBOX_TRY(engine(server));
  std::vector<std::byte> received;
  for (const Stage& stage : model.description().stages) {
    PILLARBOX_TRY(inChunks(stage.output.size(), [&](std::size_t count) -> Status {
      std::vector<std::uint64_t> words(count);
      const auto bytes = std::as_writable_bytes(std::span(words));
      const auto wanted = stage.activation ? bytes.first(ring::kNarrowBytes * count) : bytes;
      PILLARBOX_TRY(stage.activation ? client.receiveBytes(wanted) : client.receiveWords(words));
      received.insert(received.end(), wanted.begin(), wanted.end());
      return {};
    }));
  }
  return received;
}

}  // namespace

Status checkDevice(const device::DevicePtr& device) {
  const std::string name = "no GPU is used, as " + device->description();
  PILLARBOX_ASSIGN(const random::Seed seed, random::freshSeed());
  Words random(seed);
  const auto model = testModel(random);
  DeviceEngine onDevice(device);
  for (const bool integerMasks : {false, true}) {
    PILLARBOX_ASSIGN(const random::Seed words, random::freshSeed());
    PILLARBOX_ASSIGN(const auto expected, answers(*model, words, [&](net::Channel& channel) {
                       return runEngine(channel, *model, testSet(*model, seed, integerMasks));
                     }));
    const auto found = answers(*model, words, [&](net::Channel& channel) -> Status {
      PILLARBOX_ASSIGN(DeviceSeat seat, onDevice.seat(model));
      auto set = testSet(*model, seed, integerMasks);
      PILLARBOX_TRY(seat.take(set));
      return seat.run(channel);
    });
    if (!found.ok()) {
      return Error{ErrorCode::Unsupported,
                   name + " failed when it was tried: " + found.error().message};
    }
    if (*found != expected) {
      return Error{ErrorCode::Unsupported,
                   name + " computed something else than the processor when it was tried"};
    }
  }
  return {};
}

}  // namespace pillarbox::inference
