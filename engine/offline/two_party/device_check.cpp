// Whether a device prepares what the processor prepares: party.h's checkDevice().
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/offline/two_party/linear.h"
#include "engine/offline/two_party/linear_backend.h"
#include "engine/offline/two_party/party.h"

namespace pillarbox::offline::two_party {

namespace {

using Replies = std::vector<std::vector<std::byte>>;

/// A pass's replies to the same requests from the same seeds.
Result<Replies> repliesOf(PassWork& work, const Pass& pass, const Replies& requests,
                          std::span<const std::uint64_t> mask,
                          std::span<const random::Seed> secrets) {
  for (std::size_t i = 0; i < requests.size(); ++i) PILLARBOX_TRY(work.takeRequest(i, requests[i]));
  const std::size_t tiles = pass.tiles.size();
  Replies all;
  for (std::uint32_t first = 0; first < pass.blocks;) {
    const std::uint32_t count = std::min(work.wave(), pass.blocks - first);
    PILLARBOX_ASSIGN(auto replies, work.replies(first, count, mask,
                                                secrets.subspan(first * tiles, count * tiles)));
    for (auto& reply : replies) all.push_back(std::move(reply));
    first += count;
  }
  return all;
}

/// False where the two differ.
Result<bool> agrees(const device::DevicePtr& device) {
  // Small, but with several groups, leaves and blocks, the last of them not full.
  models::LinearOp op;
  op.name = "check";
  op.in = {8, 32, 32};
  op.out = {9, 32, 32};
  op.kernelH = op.kernelW = 3;
  op.padTop = op.padLeft = op.padBottom = op.padRight = 1;
  PILLARBOX_ASSIGN(const auto context, LinearContext::create());
  PILLARBOX_ASSIGN(const LinearPlan plan, context->plan(op));
  const he::Parameters& parameters = context->parameters();
  PILLARBOX_ASSIGN(he::Sampler sampler, he::Sampler::fresh());
  const he::SecretKey secret = he::SecretKey::generate(parameters, sampler);
  LinearKeys keys;
  keys.publicKey = he::makePublicKey(parameters, secret, sampler);
  for (const std::uint32_t exponent : galoisExponents(std::span(&plan, 1))) {
    keys.galois.push_back(he::makeGaloisKey(parameters, secret, exponent, sampler));
  }
  PILLARBOX_ASSIGN(const random::Seed seed, random::freshSeed());
  random::Expander expander(seed, 0);
  SecureVector<std::uint64_t> input(op.in.size()), mask(op.out.size());
  expander.fill(input);
  expander.fill(mask);
  std::vector<std::int32_t> weights(op.weightCount());
  for (std::int32_t& weight : weights) {
    std::uint64_t word = 0;
    expander.fill(std::span<std::uint64_t>(&word, 1));
    weight = static_cast<std::int32_t>(word & 0x1fff) - 4096;
  }

  const auto ledger = std::make_shared<device::Ledger>();
  const auto onDevice = deviceBackend(context, device, std::uint64_t{64} << 20, {}, ledger);
  const auto found = onDevice->prepare(plan, weights);
  const auto expected = processorBackend(context)->prepare(plan, weights);
  keys.kept = onDevice->keep(keys);
  const LinearClient client(context, secret);
  for (const Pass& pass : plan.passes()) {
    Replies requests;
    PILLARBOX_TRY(client.request(plan, pass, input, [&](std::span<const std::byte> bytes) {
      requests.emplace_back(bytes.begin(), bytes.end());
      return Status();
    }));
    std::vector<random::Seed> secrets(pass.blocks * pass.tiles.size());
    for (random::Seed& own : secrets) {
      PILLARBOX_ASSIGN(own, random::freshSeed());
    }
    PILLARBOX_ASSIGN(const Replies theirs,
                     repliesOf(*found->begin(pass, keys, 1), pass, requests, mask, secrets));
    PILLARBOX_ASSIGN(const Replies ours,
                     repliesOf(*expected->begin(pass, keys, 1), pass, requests, mask, secrets));
    if (theirs != ours) return false;
  }
  if (ledger->declines(device::Purpose::Preparation) > 0) {
    return Error{ErrorCode::Exhausted, "it has no memory for a small layer"};
  }
  return true;
}

}  // namespace

Status checkDevice(const device::DevicePtr& device) {
  const auto failed = [&](const std::string& reason) -> Error {
    return {ErrorCode::Unsupported, "correlation sets are made without the GPU, as " +
                                        device->description() + " " + reason};
  };
  try {
    const auto same = agrees(device);
    if (!same.ok()) return failed("failed when it was tried: " + same.error().message);
    if (*same) return {};
    return failed("computed something else than the processor when it was tried");
  } catch (const device::DeviceError& error) {
    return failed(std::string("failed when it was tried: ") + error.what());
  }
}

}  // namespace pillarbox::offline::two_party
