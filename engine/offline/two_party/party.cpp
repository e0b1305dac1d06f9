#include "engine/offline/two_party/party.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "engine/he/wire.h"
#include "engine/kernels/stage.h"
#include "engine/offline/coefficients.h"
#include "engine/offline/dealing.h"
#include "engine/offline/two_party/linear.h"
#include "engine/offline/two_party/powers.h"
#include "engine/random/random.h"
#include "engine/ring/fixed_point.h"
#include "engine/ring/narrow.h"

namespace pillarbox::offline::two_party {
namespace {

using models::LinearOp;
using models::Stage;
using Words = SecureVector<std::uint64_t>;

struct WeightedOpPlan {
  std::uint32_t stage = 0;
  const LinearOp* op = nullptr;  ///< of the plan's model
  LinearPlan plan;
};

/// One pass of one op: what is requested and answered in one go.
struct Unit {
  std::size_t op = 0;
  const Pass* pass = nullptr;
  std::uint64_t requests = 0, requestBytes = 0;
  std::uint64_t replies = 0, replyBytes = 0;
  double work = 0;
};

/// Of a party that is not this one, in what a set costs.
constexpr unsigned kCountedThreads = 8;

/// Groups of one batch that are worked on together.
struct Window {
  std::size_t batch = 0, first = 0, count = 0;
};

/// A step of the client's.
struct Step {
  enum Kind : std::uint8_t {
    RequestUnit,
    ReceiveUnit,
    RequestGroup,  ///< its first level
    FinishLevel,   ///< of a window: receives the answers, requests the next level
  };
  Kind kind = RequestUnit;
  std::size_t index = 0;  ///< of the unit; of the window
  std::size_t more = 0;   ///< the group inside the window; the level
};

std::uint64_t framed(std::uint64_t frames, std::uint64_t bytes) {
  return bytes + frames * net::kFrameHeaderBytes;
}

Unit unitOf(std::size_t op, const LinearPlan& plan, const Pass& pass) {
  Unit unit;
  unit.op = op;
  unit.pass = &pass;
  unit.requests = pass.tiles.size() * pass.groups;
  unit.requestBytes = unit.requests * plan.sizes().requestBytes;
  unit.replies = pass.tiles.size() * pass.blocks;
  for (const Tile& tile : pass.tiles) {
    for (std::uint32_t block = 0; block < pass.blocks; ++block) {
      unit.replyBytes += plan.replyBytes(plan.outputCount(pass, tile, block));
    }
  }
  // A key switch takes about as long as a dozen products; only the progress shown depends on it.
  unit.work = static_cast<double>(pass.tiles.size() * pass.leaves) * (pass.groups + 12.0);
  return unit;
}

/// The linear phase: requests run ahead of replies as far as the window allows.
std::vector<Step> scheduleOf(const std::vector<Unit>& units) {
  std::vector<Step> steps;
  std::uint64_t requested = 0, expected = 0;
  std::size_t received = 0;
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    while (received < unit && (requested + units[unit].requestBytes > kWindowBytes ||
                               expected + units[unit].replyBytes > kWindowBytes)) {
      requested -= units[received].requestBytes;
      expected -= units[received].replyBytes;
      steps.push_back({Step::ReceiveUnit, received++});
    }
    requested += units[unit].requestBytes;
    expected += units[unit].replyBytes;
    steps.push_back({Step::RequestUnit, unit});
  }
  return steps;
}

/// Round trips that the channel's meter will count for a schedule (see net/channel.h).
std::uint32_t roundsOf(const std::vector<Step>& steps, std::size_t windows) {
  std::vector<std::uint32_t> unitDepth, windowDepth(windows);
  std::uint32_t client = 0, engine = 0;  // the greatest depth that each has received
  for (const Step& step : steps) {
    switch (step.kind) {
      case Step::RequestUnit:
        unitDepth.push_back(client + 1);
        break;
      case Step::ReceiveUnit:
        engine = std::max(engine, unitDepth[step.index]);
        client = std::max(client, engine + 1);
        break;
      case Step::RequestGroup:
        windowDepth[step.index] = client + 1;
        break;
      case Step::FinishLevel:
        engine = std::max(engine, windowDepth[step.index]);
        client = std::max(client, engine + 1);
        windowDepth[step.index] = client + 1;
        break;
    }
  }
  return client / 2;
}

/// Calls work(i) for 0 <= i < count on at most `threads` threads; the first error ends it.
template <typename Work>
Status inParallel(unsigned threads, std::size_t count, const Work& work) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  Status status;
  std::exception_ptr exception;
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      Status one;
      try {
        one = work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        exception = std::current_exception();
        next = count;
        return;
      }
      if (one.ok()) continue;
      const std::lock_guard lock(mutex);
      if (status.ok()) status = one;
      next = count;
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < std::min<std::size_t>(threads, count); ++i)
      others.emplace_back(run);
    run();
  }
  if (exception) std::rethrow_exception(exception);
  return status;
}

Status sendBytes(net::Channel& channel, std::span<const std::byte> bytes) {
  return channel.send(net::FrameKind::Bytes, bytes);
}

/// A fixed cost for every frame that passes: how far the set is, and a chance to give way.
class Progress {
 public:
  Progress(const Pace& pace, double total) : m_pace(pace), m_total(total) {}
  Status add(double work) {
    m_done += work;
    return m_pace ? m_pace(std::min(1.0, m_done / m_total)) : Status();
  }

 private:
  const Pace& m_pace;
  const double m_total;
  double m_done = 0;
};

ByteSink sinkOf(net::Channel& channel, Progress& progress, double workAFrame) {
  return [&channel, &progress, workAFrame](std::span<const std::byte> bytes) -> Status {
    PILLARBOX_TRY(sendBytes(channel, bytes));
    return progress.add(workAFrame);
  };
}

ByteSource sourceOf(net::Channel& channel, Progress& progress, double workAFrame) {
  return [&channel, &progress, workAFrame](std::span<std::byte> bytes) -> Status {
    PILLARBOX_TRY(channel.receiveBytes(bytes));
    return progress.add(workAFrame);
  };
}

std::vector<std::span<const std::uint64_t>> inputsOf(const Stage& stage,
                                                     const std::vector<Words>& activations) {
  std::vector<std::span<const std::uint64_t>> inputs;
  for (const std::uint32_t input : stage.inputs) inputs.emplace_back(activations[input]);
  return inputs;
}

/// Work of one group of powers in the unit of Unit::work, about.
double groupWork(const PowersPlan& plan) {
  return static_cast<double>(plan.slots()) / 8192 * 60.0 * plan.levels();
}

/// Shares of the powers of a stage's masks.
using Powers = std::vector<SecureVector<U128>>;

/// @param to  by stage
void copyPowers(const std::vector<PowersPiece>& pieces, const Powers& from,
                std::vector<Powers>& to) {
  for (const PowersPiece& piece : pieces) {
    for (std::size_t k = 0; k < from.size(); ++k) {
      std::copy_n(from[k].begin() + static_cast<std::ptrdiff_t>(piece.slot), piece.count,
                  to[piece.stage][k].begin() + static_cast<std::ptrdiff_t>(piece.first));
    }
  }
}

Words gatherLambda(const std::vector<PowersPiece>& pieces, std::size_t count,
                   const std::vector<Words>& lambda) {
  Words values(count);
  for (const PowersPiece& piece : pieces) {
    std::copy_n(lambda[piece.stage].begin() + static_cast<std::ptrdiff_t>(piece.first), piece.count,
                values.begin() + static_cast<std::ptrdiff_t>(piece.slot));
  }
  return values;
}

/// One factor of a group's values, piece by piece. @param fill  of a piece: writes its values
template <typename Fill>
Words gatherFactor(const std::vector<PowersPiece>& pieces, std::size_t count, const Fill& fill) {
  Words values(count);
  for (const PowersPiece& piece : pieces) {
    fill(piece, std::span<std::uint64_t>(values).subspan(piece.slot, piece.count));
  }
  return values;
}

std::span<const std::uint64_t> pieceOf(const Words& tensor, const PowersPiece& piece) {
  return std::span<const std::uint64_t>(tensor).subspan(piece.first, piece.count);
}

/// The shares of a group's sums to where their stages keep them.
template <typename Group, typename To>
void copySums(const std::vector<PowersPiece>& pieces, const Group& group, const To& to) {
  for (const PowersPiece& piece : pieces) {
    std::vector<Words>& sums = to(piece.stage).sums;
    for (std::size_t s = 0; s < sums.size(); ++s) {
      const SecureVector<U128>& from = group.sum(s);
      for (std::size_t i = 0; i < piece.count; ++i) {
        sums[s][piece.first + i] = static_cast<std::uint64_t>(from[piece.slot + i]);
      }
    }
  }
}

/// Room for shares of the sums.
std::vector<Words> emptySums(const ProductPlan& plan, std::size_t values) {
  std::vector<Words> sums;
  for (std::size_t s = 0; s < plan.sums.size(); ++s) sums.emplace_back(values);
  return sums;
}

/// The stream of a seed for a stage's factor; smaller numbers are for whole tensors.
std::uint64_t factorStream(std::size_t stage, std::uint32_t factor) {
  return (std::uint64_t{1} << 32) | (std::uint64_t{stage} << 16) | factor;
}

std::vector<Words> drawFactors(const random::Seed& seed, std::size_t stage, std::uint32_t count,
                               std::size_t values) {
  std::vector<Words> factors;
  for (std::uint32_t i = 0; i < count; ++i) {
    random::Expander(seed, factorStream(stage, i)).fill(factors.emplace_back(values));
  }
  return factors;
}

/// Before any group is made: λ itself, sign-extended, and room for the rest.
Powers firstPowers(std::uint32_t degree, const Words& lambda) {
  Powers powers;
  for (std::uint32_t k = 1; k <= degree; ++k) powers.emplace_back(lambda.size(), 0);
  if (degree > 0) {
    std::transform(lambda.begin(), lambda.end(), powers[0].begin(), [](std::uint64_t value) {
      return static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(value)));
    });
  }
  return powers;
}

}  // namespace

/// What does not depend on the activations' protocol.
struct LinearParts {
  std::shared_ptr<const models::PublicModel> model;
  std::shared_ptr<const LinearContext> linear;
  std::vector<WeightedOpPlan> ops;    ///< in the order of the stages and of their ops
  std::vector<Unit> units;            ///< in the order in which they are requested
  std::vector<Step> schedule;         ///< of the requests
  std::vector<std::uint32_t> galois;  ///< exponents
  SetCost cost;                       ///< so far
  double distance = 0;                ///< of the view from what simulates it
  double work = 0;
};

namespace {

Result<std::shared_ptr<const LinearParts>> planLinear(
    std::shared_ptr<const models::PublicModel> model) {
  auto parts = std::make_shared<LinearParts>();
  parts->model = model;
  PILLARBOX_ASSIGN(parts->linear, LinearContext::create());
  for (std::uint32_t s = 0; s < model->stages.size(); ++s) {
    for (const LinearOp& op : model->stages[s].ops) {
      if (!op.hasWeights()) continue;
      PILLARBOX_ASSIGN(LinearPlan plan, parts->linear->plan(op));
      parts->ops.push_back({s, &op, std::move(plan)});
    }
  }
  std::vector<LinearPlan> plans;
  SetCost& cost = parts->cost;
  const he::Parameters& ring = parts->linear->parameters();
  const std::uint64_t ciphertextMemory = 16 * ring.degree() * ring.q().count();
  for (std::size_t i = 0; i < parts->ops.size(); ++i) {
    const LinearPlan& plan = parts->ops[i].plan;
    plans.push_back(plan);
    for (const Pass& pass : plan.passes()) {
      const Unit unit = unitOf(i, plan, pass);
      cost.bytesToEngine += framed(unit.requests, unit.requestBytes);
      cost.bytesToClient += framed(unit.replies, unit.replyBytes);
      parts->work += unit.work;
      parts->units.push_back(unit);
    }
    parts->distance += parts->linear->replyDistance() * static_cast<double>(plan.op().out.size());
  }
  cost.linearBytesToEngine = cost.bytesToEngine;
  cost.linearBytesToClient = cost.bytesToClient;
  parts->galois = galoisExponents(plans);
  parts->schedule = scheduleOf(parts->units);
  cost.keyBytes = framed(1, he::publicKeyBytes(ring)) +
                  parts->galois.size() * framed(1, he::galoisKeyBytes(ring));
  const std::uint64_t galoisMemory =
      16 * ring.degree() * ring.full().count() * ring.q().count() + 8 * ring.degree();
  cost.engineKeyMemoryBytes = ciphertextMemory + parts->galois.size() * galoisMemory;
  return std::shared_ptr<const LinearParts>(std::move(parts));
}

}  // namespace

struct SetPlan::Parts {
  Parts(std::shared_ptr<const LinearParts> shared, CorrelationPlan plan)
      : base(std::move(shared)),
        correlations(std::move(plan)),
        schedule(base->schedule),
        work(base->work) {}

  const std::shared_ptr<const LinearParts> base;
  const CorrelationPlan correlations;
  const std::shared_ptr<const models::PublicModel>& model = base->model;
  const std::shared_ptr<const LinearContext>& linear = base->linear;
  const std::vector<WeightedOpPlan>& ops = base->ops;
  const std::vector<Unit>& units = base->units;
  const std::vector<std::uint32_t>& galois = base->galois;
  std::vector<Step> schedule;  ///< the client's; the engine answers in its order
  std::vector<PowersBatch> batches;
  std::vector<Window> windows;
  std::uint64_t groupMemory = 0;  ///< of the greatest window
  double work;

  bool ofPowers() const { return correlations.protocol == Protocol::HoneyBadger; }

  /// Appends what comes after the linear requests. The groups of the first window are requested as
  /// soon as the shares are there that they begin with, those of another before the last answers
  /// of the one before it are awaited: so the engine never waits for the client.
  void schedulePowers() {
    std::size_t received = 0;
    for (const Step& step : schedule) received += step.kind == Step::ReceiveUnit ? 1 : 0;
    const auto receiveUntil = [&](std::uint32_t stage) {
      while (received < units.size() && ops[units[received].op].stage <= stage) {
        schedule.push_back({Step::ReceiveUnit, received++});
      }
    };
    const auto requestGroups = [&](std::size_t window) {
      const Window& here = windows[window];
      for (std::size_t g = 0; g < here.count; ++g) {
        for (const PowersPiece& piece : batches[here.batch].groups[here.first + g]) {
          receiveUntil(piece.stage);
        }
        schedule.push_back({Step::RequestGroup, window, g});
      }
    };
    if (!windows.empty()) requestGroups(0);
    receiveUntil(static_cast<std::uint32_t>(model->stages.size()));
    for (std::size_t window = 0; window < windows.size(); ++window) {
      const std::uint32_t levels = batches[windows[window].batch].plan.levels();
      for (std::uint32_t level = 0; level < levels; ++level) {
        if (level + 1 == levels && window + 1 < windows.size()) requestGroups(window + 1);
        schedule.push_back({Step::FinishLevel, window, level});
      }
    }
  }

  /// Most memory that a pass takes at an engine which gives it so many threads (LinearEngine): its
  /// requests, the subtrees that are packed, and of each thread what lies on its way down a tree.
  /// Each of these sums has a leaf of its own.
  std::uint64_t passMemory(unsigned threads) const {
    const he::Parameters& ring = linear->parameters();
    const std::uint64_t limb = 8 * ring.degree(), request = 2 * ring.q().count() * limb;
    const std::uint64_t sum = (ring.full().count() + ring.q().count()) * limb;
    std::uint64_t most = 0;
    for (const Unit& unit : units) {
      const Pass& pass = *unit.pass;
      const std::uint64_t sums =
          std::min<std::uint64_t>(pass.leaves, std::uint64_t{threads} * (pass.levels + 6));
      most = std::max(most, unit.requests * request + sums * pass.tiles.size() * sum);
    }
    return most + threads * 32 * limb;
  }
  /// What a party holds while it makes a set, the finished set included. Sets are copied once as
  /// they are put together; what is sent waits in the channel (net/tls.h).
  std::uint64_t engineMemory(const SetCost& cost, unsigned threads) const {
    return 2 * offlineCost(*model, correlations).engineMemoryBytes +
           std::max(passMemory(threads), groupMemory) +
           std::min(cost.bytesToClient, 2 * kWindowBytes);
  }
  std::uint64_t clientMemory(const SetCost& cost, unsigned threads) const {
    const std::uint64_t limb = 8 * linear->parameters().degree();
    const std::uint64_t shares = ofPowers() ? 8 * model->activationCount() : 0;  // λ0
    return 2 * (offlineCost(*model, correlations).clientMemoryBytes + shares) +
           std::max<std::uint64_t>(threads * 32 * limb, groupMemory) +
           std::min(cost.bytesToEngine, 2 * kWindowBytes);
  }

  std::size_t batchOf(std::uint32_t stage) const {
    for (std::size_t b = 0; b < batches.size(); ++b) {
      for (const auto& group : batches[b].groups) {
        for (const PowersPiece& piece : group) {
          if (piece.stage == stage) return b;
        }
      }
    }
    throw std::logic_error("a stage without a batch of powers");
  }
};

namespace {

/// Plans what the linear layers are followed by.
Status planActivations(SetPlan::Parts& parts, SetCost& cost) {
  double distance = parts.base->distance;
  if (parts.ofPowers()) {
    PILLARBOX_ASSIGN(parts.batches, planPowers(*parts.model));
  } else {
    PILLARBOX_ASSIGN(parts.batches, planProducts(*parts.model, parts.correlations));
  }
  for (std::size_t b = 0; b < parts.batches.size(); ++b) {
    const PowersPlan& plan = parts.batches[b].plan;
    const std::size_t groups = plan.groups();
    distance += plan.distance();
    if (groups == 0) continue;
    cost.keyBytes += framed(1, plan.publicKeyBytes());
    cost.engineKeyMemoryBytes += plan.publicKeyMemoryBytes();
    cost.bytesToEngine += framed(groups * plan.levels(), plan.bytesToEngine());
    cost.bytesToClient += framed(groups * plan.levels(), plan.bytesToClient());
    std::uint64_t most = kGroupsMemory / std::max<std::size_t>(1, plan.workBytes());
    for (std::uint32_t level = 0; level < plan.levels(); ++level) {
      most = std::min({most, kWindowBytes / plan.requestBytes(level),
                       2 * kWindowBytes / plan.answerBytes(level)});
    }
    const std::size_t atOnce = std::clamp<std::size_t>(most, 1, groups);
    for (std::size_t first = 0; first < groups; first += atOnce) {
      parts.windows.push_back({b, first, std::min(atOnce, groups - first)});
    }
    parts.groupMemory = std::max<std::uint64_t>(parts.groupMemory, atOnce * plan.workBytes());
    parts.work += static_cast<double>(groups) * groupWork(plan);
  }
  parts.schedulePowers();
  cost.rounds = roundsOf(parts.schedule, parts.windows.size());
  cost.hidingBits = -std::log2(distance);
  cost.clientMemoryBytes = parts.clientMemory(cost, kCountedThreads);
  cost.engineMemoryBytes = parts.engineMemory(cost, kCountedThreads);
  return {};
}

}  // namespace

Result<std::shared_ptr<const SetPlan>> SetPlan::create(
    std::shared_ptr<const models::PublicModel> model, const CorrelationPlan& correlations) {
  PILLARBOX_ASSIGN(auto base, planLinear(std::move(model)));
  return create(std::move(base), correlations);
}

Result<std::shared_ptr<const SetPlan>> SetPlan::with(const CorrelationPlan& correlations) const {
  return create(m_parts->base, correlations);
}

Result<std::shared_ptr<const SetPlan>> SetPlan::create(std::shared_ptr<const LinearParts> base,
                                                       const CorrelationPlan& correlations) {
  SetCost cost = base->cost;
  auto parts = std::make_shared<Parts>(std::move(base), correlations);
  PILLARBOX_TRY(planActivations(*parts, cost));
  auto plan = std::make_shared<SetPlan>();
  plan->m_parts = std::move(parts);
  plan->m_cost = cost;
  return std::shared_ptr<const SetPlan>(std::move(plan));
}

namespace {

// ------------------------------------------------------------------------------------- client

class Client : public ClientParty {
 public:
  static Result<std::unique_ptr<const ClientParty>> create(std::shared_ptr<const SetPlan> plan,
                                                           unsigned threads) {
    PILLARBOX_ASSIGN(he::Sampler sampler, he::Sampler::fresh());
    auto client = std::unique_ptr<Client>(new Client(std::move(plan), threads));
    client->m_key = he::SecretKey::generate(client->m_parts.linear->parameters(), sampler);
    for (const PowersBatch& batch : client->m_parts.batches) {
      std::optional<PowersSecretKey> key;
      if (batch.plan.groups() > 0) {
        PILLARBOX_ASSIGN(key, PowersSecretKey::create(batch.plan));
      }
      client->m_powersKeys.push_back(std::move(key));
    }
    return std::unique_ptr<const ClientParty>(std::move(client));
  }

  SetCost cost() const override {
    SetCost cost = m_plan->cost();
    cost.clientMemoryBytes = m_parts.clientMemory(cost, m_threads);
    return cost;
  }

  Status sendKeys(net::Channel& channel) const override {
    const he::Parameters& ring = m_parts.linear->parameters();
    PILLARBOX_ASSIGN(he::Sampler sampler, he::Sampler::fresh());
    PILLARBOX_TRY(sendBytes(channel, he::serialize(ring, he::makePublicKey(ring, m_key, sampler))));
    for (const std::uint32_t exponent : m_parts.galois) {
      PILLARBOX_TRY(sendBytes(
          channel, he::serialize(ring, he::makeGaloisKey(ring, m_key, exponent, sampler))));
    }
    for (const auto& key : m_powersKeys) {
      if (key) PILLARBOX_TRY(sendBytes(channel, key->publicKey()));
    }
    return {};
  }

  Result<ClientSet> makeSet(net::Channel& channel, std::uint64_t index,
                            const Pace& pace) const override {
    Progress progress(pace, m_parts.work);
    PILLARBOX_ASSIGN(const random::Seed seed, random::freshSeed());
    Making making{*this, channel, progress};
    return making.run(index, seed);
  }

 private:
  Client(std::shared_ptr<const SetPlan> plan, unsigned threads)
      : m_plan(std::move(plan)), m_parts(m_plan->parts()), m_threads(std::max(1U, threads)) {}

  /// One set in the making.
  struct Making {
    const Client& client;
    net::Channel& channel;
    Progress& progress;
    const SetPlan::Parts& parts = client.m_parts;
    const LinearClient linear{client.m_parts.linear, client.m_key};
    std::vector<Words> masks;                 ///< r: of the image, then by stage
    std::vector<Words> inputs, outputs;       ///< of the ops with weights
    std::vector<Words> shares;                ///< z0' by stage, as far as they are finished
    std::vector<std::vector<Words>> factors;  ///< uniform ones by stage; none for powers
    struct Groups {
      std::vector<std::unique_ptr<PowersClient>> groups;
      std::vector<std::vector<std::byte>> requests;
    };
    std::vector<Groups> windows;
    std::vector<Powers> powers;  ///< by stage
    ClientSet set;

    Result<ClientSet> run(std::uint64_t index, const random::Seed& seed) {
      const models::PublicModel& model = *parts.model;
      set.index = index;
      set.protocol = parts.correlations.protocol;
      set.integerMasks = parts.ofPowers();
      masks.emplace_back(model.input.size());
      for (std::size_t s = 0; s + 1 < model.stages.size(); ++s) {
        masks.emplace_back(model.stages[s].output.size());
      }
      for (std::size_t i = 0; i < masks.size(); ++i) {
        random::Expander(seed, i).fill(masks[i]);
        ring::narrow(masks[i]);
      }
      for (std::size_t s = 0; s + 1 < model.stages.size(); ++s) {
        const ProductPlan* products = parts.correlations.of(s);
        factors.push_back(drawFactors(seed, s, products != nullptr ? products->clientUniform() : 0,
                                      model.stages[s].output.size()));
      }
      prepareInputs();
      finishStages(0);
      windows.resize(parts.windows.size());
      const std::vector<Step>& steps = parts.schedule;
      for (std::size_t i = 0; i < steps.size();) {
        const Step& step = steps[i++];
        switch (step.kind) {
          case Step::RequestUnit:
            PILLARBOX_TRY(requestUnit(step.index));
            break;
          case Step::ReceiveUnit:
            PILLARBOX_TRY(receiveUnit(step.index));
            break;
          case Step::RequestGroup: {
            std::size_t count = 1;  // of one window, with nothing to be received between them
            while (i < steps.size() && steps[i].kind == Step::RequestGroup &&
                   steps[i].index == step.index && count < client.m_threads) {
              ++count, ++i;
            }
            PILLARBOX_TRY(requestGroups(step.index, step.more, count));
            break;
          }
          case Step::FinishLevel:
            PILLARBOX_TRY(finishLevel(step.index, step.more));
            break;
        }
      }
      if (set.stages.empty()) takeStages();
      for (std::size_t s = 0; s < set.stages.size(); ++s) {
        ClientStage& stage = set.stages[s];
        stage.share = std::move(shares[s]);
        stage.products.factors = std::move(factors[s]);
        if (!parts.ofPowers()) continue;
        powersToCoefficients(*model.stages[s].activation, model.precisionBits, Party::Client,
                             powers[s]);
        stage.coefficients = std::move(powers[s]);
      }
      set.inputMask = std::move(masks[0]);
      set.logitShare = std::move(shares.back());
      return std::move(set);
    }

    void prepareInputs() {
      for (const Stage& stage : parts.model->stages) {
        Words ignored(stage.output.size());
        kernels::applyStageAround(
            stage, inputsOf(stage, masks),
            [&](const LinearOp&, std::span<const std::uint64_t> in, std::span<std::uint64_t> out) {
              inputs.emplace_back(in.begin(), in.end());
              std::fill(out.begin(), out.end(), 0);
            },
            ignored);
      }
      outputs.resize(inputs.size());
    }

    /// The shares of all stages whose units have been received.
    void finishStages(std::size_t unitsDone) {
      const std::uint32_t busy = unitsDone < parts.units.size()
                                     ? parts.ops[parts.units[unitsDone].op].stage
                                     : static_cast<std::uint32_t>(parts.model->stages.size());
      std::size_t op = 0;
      while (op < parts.ops.size() && parts.ops[op].stage < shares.size()) ++op;
      while (shares.size() < busy) {
        const Stage& stage = parts.model->stages[shares.size()];
        Words share(stage.output.size());
        kernels::applyStageAround(
            stage, inputsOf(stage, masks),
            [&](const LinearOp&, std::span<const std::uint64_t>, std::span<std::uint64_t> out) {
              std::copy(outputs[op].begin(), outputs[op].end(), out.begin());
              outputs[op] = {};
              ++op;
            },
            share);
        ring::truncateClient(share, stage.truncation);
        shares.push_back(std::move(share));
      }
    }

    Status requestUnit(std::size_t number) {
      const Unit& unit = parts.units[number];
      PILLARBOX_TRY(linear.request(parts.ops[unit.op].plan, *unit.pass, inputs[unit.op],
                                   sinkOf(channel, progress, 0), client.m_threads));
      const bool last = number + 1 == parts.units.size() || parts.units[number + 1].op != unit.op;
      if (last) inputs[unit.op] = {};
      return {};
    }

    Status receiveUnit(std::size_t number) {
      const Unit& unit = parts.units[number];
      const LinearPlan& plan = parts.ops[unit.op].plan;
      if (outputs[unit.op].empty()) outputs[unit.op].resize(plan.op().out.size());
      PILLARBOX_TRY(
          linear.receive(plan, *unit.pass,
                         sourceOf(channel, progress, unit.work / static_cast<double>(unit.replies)),
                         outputs[unit.op], client.m_threads));
      finishStages(number + 1);
      return {};
    }

    Status sendRequests(Groups& here, std::size_t first, std::size_t count) {
      for (std::size_t g = first; g < first + count; ++g) {
        PILLARBOX_TRY(sendBytes(channel, std::exchange(here.requests[g], {})));
        PILLARBOX_TRY(progress.add(0));
      }
      return {};
    }

    Status requestGroups(std::size_t number, std::size_t first, std::size_t count) {
      const Window& window = parts.windows[number];
      const PowersBatch& batch = parts.batches[window.batch];
      Groups& here = windows[number];
      here.groups.resize(window.count);
      here.requests.resize(window.count);
      PILLARBOX_TRY(inParallel(client.m_threads, count, [&](std::size_t i) -> Status {
        const std::size_t group = window.first + first + i;
        const PowersSecretKey& key = *client.m_powersKeys[window.batch];
        auto& made = here.groups[first + i];
        if (parts.ofPowers()) {
          const Words values =
              gatherLambda(batch.groups[group], batch.plan.valuesIn(group), shares);
          made = std::make_unique<PowersClient>(batch.plan, key, values);
        } else {
          made = std::make_unique<PowersClient>(batch.plan, key, groupFactors(batch, group));
        }
        PILLARBOX_ASSIGN(here.requests[first + i], here.groups[first + i]->request());
        return {};
      }));
      return sendRequests(here, first, count);
    }

    /// The client's factors of a group's values.
    std::vector<Words> groupFactors(const PowersBatch& batch, std::size_t group) const {
      const std::vector<PowersPiece>& pieces = batch.groups[group];
      const std::uint32_t count = parts.correlations.of(pieces.front().stage)->clientFactors;
      std::vector<Words> result;
      for (std::uint32_t f = 0; f < count; ++f) {
        result.push_back(
            gatherFactor(pieces, batch.plan.valuesIn(group),
                         [&](const PowersPiece& piece, std::span<std::uint64_t> out) {
                           const ProductPlan& products = *parts.correlations.of(piece.stage);
                           if (products.derive)
                             return products.derive(f, pieceOf(shares[piece.stage], piece), out);
                           std::ranges::copy(pieceOf(factors[piece.stage][f], piece), out.begin());
                         }));
      }
      return result;
    }

    Status finishLevel(std::size_t number, std::size_t level) {
      if (set.stages.empty()) takeStages();
      const Window& window = parts.windows[number];
      const PowersBatch& batch = parts.batches[window.batch];
      const PowersPlan& plan = batch.plan;
      const double work = groupWork(plan) / plan.levels();
      const bool last = level + 1 == plan.levels();
      Groups& here = windows[number];
      for (std::size_t first = 0; first < window.count; first += client.m_threads) {
        const std::size_t count = std::min<std::size_t>(client.m_threads, window.count - first);
        std::vector<std::vector<std::byte>> answers(count);
        for (auto& answer : answers) {
          answer.resize(plan.answerBytes(static_cast<std::uint32_t>(level)));
          PILLARBOX_TRY(channel.receiveBytes(answer));
          PILLARBOX_TRY(progress.add(work));
        }
        PILLARBOX_TRY(inParallel(client.m_threads, count, [&](std::size_t i) -> Status {
          PILLARBOX_TRY(here.groups[first + i]->finish(answers[i]));
          if (last) return {};
          PILLARBOX_ASSIGN(here.requests[first + i], here.groups[first + i]->request());
          return {};
        }));
        if (!last) {
          PILLARBOX_TRY(sendRequests(here, first, count));
          continue;
        }
        for (std::size_t g = first; g < first + count; ++g) {
          const std::vector<PowersPiece>& pieces = batch.groups[window.first + g];
          if (parts.ofPowers()) {
            copyPowers(pieces, here.groups[g]->powers(), powers);
          } else {
            copySums(
                pieces, *here.groups[g], [&](std::uint32_t stage) -> auto& {
                  return set.stages[stage].products;
                });
          }
          here.groups[g].reset();
        }
      }
      return {};
    }

    /// Once all shares are there.
    void takeStages() {
      const models::PublicModel& model = *parts.model;
      for (std::size_t s = 0; s < model.stages.size(); ++s) {
        if (!model.stages[s].activation) continue;
        ClientStage& stage = set.stages.emplace_back();
        stage.mask = std::move(masks[s + 1]);
        if (const ProductPlan* products = parts.correlations.of(s)) {
          stage.products.sums = emptySums(*products, shares[s].size());
        } else {
          powers.push_back(firstPowers(model.stages[s].activation->degree(), shares[s]));
        }
      }
    }
  };

  const std::shared_ptr<const SetPlan> m_plan;
  const SetPlan::Parts& m_parts;
  const unsigned m_threads;
  he::SecretKey m_key;
  std::vector<std::optional<PowersSecretKey>> m_powersKeys;  ///< by batch
};

// ------------------------------------------------------------------------------------- engine

class Keys : public EngineKeys {
 public:
  LinearKeys linear;
  std::vector<std::optional<PowersPublicKey>> powers;  ///< by batch
};

class Engine : public EngineParty {
 public:
  static Result<std::shared_ptr<const EngineParty>> create(
      std::shared_ptr<const SetPlan> plan, std::shared_ptr<const models::ModelWeights> weights,
      unsigned threads, device::DevicePtr device, std::shared_ptr<device::Ledger> ledger) {
    auto engine = std::shared_ptr<Engine>(new Engine(std::move(plan), std::move(weights), threads));
    if (device) {
      const std::uint64_t forWeights = device->info().memoryBytes / 4;
      PILLARBOX_TRY(onDevice([&] {
        engine->m_backend = deviceBackend(engine->m_parts.linear, std::move(device), forWeights, {},
                                          std::move(ledger));
      }));
    }
    auto linear = std::make_shared<std::vector<LinearEngine>>();
    for (const WeightedOpPlan& op : engine->m_parts.ops) {
      PILLARBOX_ASSIGN(LinearEngine one,
                       LinearEngine::create(engine->m_parts.linear, op.plan,
                                            engine->m_weights->weights[op.op->weightIndex],
                                            engine->m_backend.get()));
      linear->push_back(std::move(one));
    }
    engine->m_linear = std::move(linear);
    return std::shared_ptr<const EngineParty>(std::move(engine));
  }

  Result<std::shared_ptr<const EngineParty>> with(
      const CorrelationPlan& correlations) const override {
    PILLARBOX_ASSIGN(auto plan, m_plan->with(correlations));
    auto engine = std::shared_ptr<Engine>(new Engine(std::move(plan), m_weights, m_threads));
    engine->m_backend = m_backend;
    engine->m_linear = m_linear;
    return std::shared_ptr<const EngineParty>(std::move(engine));
  }

  SetCost cost() const override {
    SetCost cost = m_plan->cost();
    cost.engineMemoryBytes = m_parts.engineMemory(cost, m_threads);
    return cost;
  }

  Result<std::shared_ptr<const EngineKeys>> receiveKeys(net::Channel& channel) const override {
    const he::Parameters& ring = m_parts.linear->parameters();
    auto keys = std::make_shared<Keys>();
    std::vector<std::byte> bytes(he::publicKeyBytes(ring));
    PILLARBOX_TRY(channel.receiveBytes(bytes));
    PILLARBOX_ASSIGN(keys->linear.publicKey, he::parsePublicKey(ring, bytes));
    bytes.resize(he::galoisKeyBytes(ring));
    for (const std::uint32_t exponent : m_parts.galois) {
      PILLARBOX_TRY(channel.receiveBytes(bytes));
      PILLARBOX_ASSIGN(auto key, he::parseGaloisKey(ring, exponent, bytes));
      keys->linear.galois.push_back(std::move(key));
    }
    if (m_backend) keys->linear.kept = m_backend->keep(keys->linear);
    for (const PowersBatch& batch : m_parts.batches) {
      std::optional<PowersPublicKey> key;
      if (batch.plan.groups() > 0) {
        bytes.resize(batch.plan.publicKeyBytes());
        PILLARBOX_TRY(channel.receiveBytes(bytes));
        PILLARBOX_ASSIGN(key, PowersPublicKey::parse(batch.plan, bytes));
      }
      keys->powers.push_back(std::move(key));
    }
    return std::shared_ptr<const EngineKeys>(std::move(keys));
  }

  Result<EngineSet> makeSet(net::Channel& channel, const EngineKeys& abstractKeys,
                            std::uint64_t index, const Pace& pace) const override {
    const auto& keys = dynamic_cast<const Keys&>(abstractKeys);
    const models::PublicModel& model = *m_parts.model;
    Progress progress(pace, m_parts.work);
    EngineSet set;
    set.index = index;
    set.protocol = m_parts.correlations.protocol;
    set.integerMasks = m_parts.ofPowers();
    PILLARBOX_TRY(linearPhase(channel, keys, set, progress));

    std::vector<Words> lambda(model.stages.size());
    std::vector<Powers> powers(model.stages.size());
    PILLARBOX_ASSIGN(const random::Seed seed, random::freshSeed());
    for (std::size_t s = 0; s < model.stages.size(); ++s) {
      const Stage& stage = model.stages[s];
      if (!stage.activation) continue;
      if (const ProductPlan* products = m_parts.correlations.of(s)) {
        ProductShares& own = set.stages[s].products;
        own.factors = drawFactors(seed, s, products->engineFactors, stage.output.size());
        own.sums = emptySums(*products, stage.output.size());
        continue;
      }
      PILLARBOX_ASSIGN(lambda[s],
                       m_parts.batches[m_batchOf[s]].plan.drawLambda(stage.output.size()));
      EngineStage& correlations = set.stages[s];
      powers[s] = firstPowers(stage.activation->degree(), lambda[s]);
      correlations.openingMask.resize(lambda[s].size());
      std::transform(lambda[s].begin(), lambda[s].end(), correlations.openingMask.begin(),
                     [](std::uint64_t value) { return std::uint64_t{0} - value; });
    }
    PILLARBOX_TRY(powersPhase(channel, keys, lambda, powers, set, progress));
    for (std::size_t s = 0; s < powers.size(); ++s) {
      if (powers[s].empty()) continue;
      powersToCoefficients(*model.stages[s].activation, model.precisionBits, Party::Engine,
                           powers[s]);
      set.stages[s].coefficients = std::move(powers[s]);
    }
    return set;
  }

 private:
  Engine(std::shared_ptr<const SetPlan> plan, std::shared_ptr<const models::ModelWeights> weights,
         unsigned threads)
      : m_plan(std::move(plan)),
        m_parts(m_plan->parts()),
        m_weights(std::move(weights)),
        m_threads(std::max(1U, threads)) {
    for (std::uint32_t s = 0; s < m_parts.model->stages.size(); ++s) {
      m_batchOf.push_back(m_parts.model->stages[s].activation ? m_parts.batchOf(s) : 0);
    }
  }

  static Status onDevice(const std::function<void()>& work) {
    try {
      work();
    } catch (const device::DeviceError& failure) {
      return Error{ErrorCode::Internal, failure.what()};
    }
    return {};
  }

  /// s by stage.
  Status linearPhase(net::Channel& channel, const Keys& keys, EngineSet& set,
                     Progress& progress) const {
    const models::PublicModel& model = *m_parts.model;
    PILLARBOX_ASSIGN(const random::Seed seed, random::freshSeed());
    std::vector<Words> zero;
    zero.emplace_back(model.input.size(), 0);
    for (const Stage& stage : model.stages) zero.emplace_back(stage.output.size(), 0);
    std::size_t op = 0, unit = 0;
    for (const Stage& stage : model.stages) {
      Status status;
      EngineStage correlations;
      correlations.outputMask.resize(stage.output.size());
      kernels::applyStageAround(
          stage, inputsOf(stage, zero),
          [&](const LinearOp&, std::span<const std::uint64_t>, std::span<std::uint64_t> out) {
            random::Expander(seed, op).fill(out);
            for (; unit < m_parts.units.size() && m_parts.units[unit].op == op; ++unit) {
              if (!status.ok()) continue;
              const Unit& here = m_parts.units[unit];
              status = (*m_linear)[op].evaluate(
                  *here.pass, keys.linear, sourceOf(channel, progress, 0), out,
                  sinkOf(channel, progress, here.work / static_cast<double>(here.replies)),
                  m_threads);
            }
            ++op;
          },
          correlations.outputMask);
      PILLARBOX_TRY(status);
      set.stages.push_back(std::move(correlations));
    }
    return {};
  }

  /// The engine's factors of a group's values.
  static std::vector<Words> groupFactors(const PowersBatch& batch, std::size_t group,
                                         const EngineSet& set) {
    const std::vector<PowersPiece>& pieces = batch.groups[group];
    std::vector<Words> result;
    for (std::size_t f = 0; f < set.stages[pieces.front().stage].products.factors.size(); ++f) {
      result.push_back(gatherFactor(pieces, batch.plan.valuesIn(group),
                                    [&](const PowersPiece& piece, std::span<std::uint64_t> out) {
                                      const Words& factor =
                                          set.stages[piece.stage].products.factors[f];
                                      std::ranges::copy(pieceOf(factor, piece), out.begin());
                                    }));
    }
    return result;
  }

  Status powersPhase(net::Channel& channel, const Keys& keys, const std::vector<Words>& lambda,
                     std::vector<Powers>& powers, EngineSet& set, Progress& progress) const {
    for (const Window& window : m_parts.windows) {
      const PowersBatch& batch = m_parts.batches[window.batch];
      const PowersPlan& plan = batch.plan;
      const double work = groupWork(plan) / plan.levels();
      std::vector<std::unique_ptr<PowersEngine>> groups(window.count);
      for (std::uint32_t level = 0; level < plan.levels(); ++level) {
        for (std::size_t first = 0; first < window.count; first += m_threads) {
          const std::size_t count = std::min<std::size_t>(m_threads, window.count - first);
          std::vector<std::vector<std::byte>> messages(count);
          for (auto& message : messages) {
            message.resize(plan.requestBytes(level));
            PILLARBOX_TRY(channel.receiveBytes(message));
          }
          PILLARBOX_TRY(inParallel(m_threads, count, [&](std::size_t i) -> Status {
            auto& group = groups[first + i];
            if (!group) {
              const std::size_t number = window.first + first + i;
              const PowersPublicKey& key = *keys.powers[window.batch];
              if (m_parts.ofPowers()) {
                const Words values =
                    gatherLambda(batch.groups[number], plan.valuesIn(number), lambda);
                group = std::make_unique<PowersEngine>(plan, key, values);
              } else {
                group = std::make_unique<PowersEngine>(plan, key, groupFactors(batch, number, set));
              }
            }
            PILLARBOX_ASSIGN(messages[i], group->answer(messages[i]));
            return {};
          }));
          for (const auto& message : messages) {
            PILLARBOX_TRY(sendBytes(channel, message));
            PILLARBOX_TRY(progress.add(work));
          }
          if (level + 1 < plan.levels()) continue;
          for (std::size_t g = first; g < first + count; ++g) {
            const std::vector<PowersPiece>& pieces = batch.groups[window.first + g];
            if (m_parts.ofPowers()) {
              copyPowers(pieces, groups[g]->powers(), powers);
            } else {
              copySums(
                  pieces, *groups[g], [&](std::uint32_t stage) -> auto& {
                    return set.stages[stage].products;
                  });
            }
            groups[g].reset();
          }
        }
      }
    }
    return {};
  }

  const std::shared_ptr<const SetPlan> m_plan;
  const SetPlan::Parts& m_parts;
  const std::shared_ptr<const models::ModelWeights> m_weights;
  const unsigned m_threads;
  std::vector<std::size_t> m_batchOf;                         ///< by stage
  std::shared_ptr<const LinearBackend> m_backend;             ///< null: the processor
  std::shared_ptr<const std::vector<LinearEngine>> m_linear;  ///< by op
};

}  // namespace

Result<std::shared_ptr<const EngineParty>> EngineParty::with(const CorrelationPlan&) const {
  return Error{ErrorCode::Unsupported, "these parties make sets for one activation protocol only"};
}

Result<std::unique_ptr<const ClientParty>> makeClientParty(std::shared_ptr<const SetPlan> plan,
                                                           unsigned threads) {
  return Client::create(std::move(plan), threads);
}

Result<std::shared_ptr<const EngineParty>> makeEngineParty(
    std::shared_ptr<const SetPlan> plan, std::shared_ptr<const models::ModelWeights> weights,
    unsigned threads, device::DevicePtr device, std::shared_ptr<device::Ledger> ledger) {
  return Engine::create(std::move(plan), std::move(weights), threads, std::move(device),
                        std::move(ledger));
}

}  // namespace pillarbox::offline::two_party
