#include "tests/support/fake_party.h"

#include <array>

#include "engine/offline/dealing.h"
#include "net/message_io.h"

namespace pillarbox::testing {
namespace {

using namespace offline::two_party;

constexpr std::array<std::uint8_t, 16> kKeys = {0, 1, 2,  3,  4,  5,  6,  7,
                                                8, 9, 10, 11, 12, 13, 14, 15};

class FakeClient : public ClientParty {
 public:
  explicit FakeClient(models::PublicModel model) : m_model(std::move(model)) {}

  SetCost cost() const override { return {}; }

  Status sendKeys(net::Channel& channel) const override {
    return channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(kKeys)));
  }

  Result<offline::ClientSet> makeSet(net::Channel& channel, std::uint64_t index,
                                     const Pace& pace) const override {
    const offline::OfflineCost cost = offline::offlineCost(m_model);
    random::Seed seed;
    PILLARBOX_TRY(channel.receiveBytes(std::as_writable_bytes(std::span(seed.bytes))));
    net::WordStreamReader reader(channel, cost.correctionWords);
    net::WordStreamWriter writer(channel, cost.clientWords);
    return offline::assembleClientSet(
        m_model, nullptr, index, seed,
        [&](std::span<std::uint64_t> words) -> Status {
          PILLARBOX_TRY(pace(0.5));
          return reader.read(words);
        },
        [&](std::span<const std::uint64_t> words) { return writer.write(words); });
  }

 private:
  const models::PublicModel m_model;
};

class FakeEngine : public EngineParty {
 public:
  explicit FakeEngine(std::shared_ptr<const inference::EngineModel> model)
      : m_model(std::move(model)),
        m_weights(offline::WideWeights::plain(m_model->description(), m_model->weights())) {}

  SetCost cost() const override {
    SetCost cost;
    cost.engineMemoryBytes = 2 * offline::offlineCost(m_model->description()).engineMemoryBytes;
    return cost;
  }

  Result<std::shared_ptr<const EngineKeys>> receiveKeys(net::Channel& channel) const override {
    std::array<std::uint8_t, 16> keys{};
    PILLARBOX_TRY(channel.receiveBytes(std::as_writable_bytes(std::span(keys))));
    if (keys != kKeys) return Error{ErrorCode::Format, "these are no keys"};
    return std::shared_ptr<const EngineKeys>(std::make_shared<EngineKeys>());
  }

  Result<offline::EngineSet> makeSet(net::Channel& channel, const EngineKeys&, std::uint64_t index,
                                     const Pace& pace) const override {
    const models::PublicModel& model = m_model->description();
    const offline::OfflineCost cost = offline::offlineCost(model);
    const random::Seed clientSeed = random::freshSeed().value();
    const random::Seed engineSeed = random::freshSeed().value();
    PILLARBOX_TRY(channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(clientSeed.bytes))));
    net::WordStreamWriter writer(channel, cost.correctionWords);
    PILLARBOX_TRY(offline::dealSet(model, m_weights, clientSeed, engineSeed,
                                   [&](std::span<const std::uint64_t> words) -> Status {
                                     PILLARBOX_TRY(pace(0.5));
                                     return writer.write(words);
                                   }));
    net::WordStreamReader reader(channel, cost.clientWords);
    return offline::assembleEngineSet(model, index, engineSeed,
                                      [&](auto words) { return reader.read(words); });
  }

 private:
  const std::shared_ptr<const inference::EngineModel> m_model;
  const offline::WideWeights m_weights;
};

}  // namespace

std::unique_ptr<ClientParty> fakeClientParty(const models::PublicModel& model) {
  return std::make_unique<FakeClient>(model);
}

Result<std::shared_ptr<const EngineParty>> fakeEngineParty(
    const std::shared_ptr<const inference::EngineModel>& model) {
  return std::shared_ptr<const EngineParty>(std::make_shared<FakeEngine>(model));
}

}  // namespace pillarbox::testing
