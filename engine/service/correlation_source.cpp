#include "engine/service/correlation_source.h"

#include <utility>

#include "net/message_io.h"

namespace pillarbox::service {
namespace {

class FirstPartyCorrelations : public SessionCorrelations {
 public:
  FirstPartyCorrelations(std::shared_ptr<const inference::EngineModel> model,
                         std::shared_ptr<const offline::WideWeights> weights)
      : m_model(std::move(model)), m_weights(std::move(weights)) {}

  Result<std::shared_ptr<const offline::WideWeights>> maskedWeights(const MaskId&) override {
    return Error{ErrorCode::Refused, "this engine deals itself; there are no masked weights"};
  }

  Status prepare(net::Channel& channel, std::uint64_t index) override {
    PILLARBOX_ASSIGN(const random::Seed clientSeed, random::freshSeed());
    PILLARBOX_ASSIGN(const random::Seed engineSeed, random::freshSeed());
    const std::uint64_t words = offline::offlineCost(m_model->description()).correctionWords;
    net::proto::ToClient reply;
    reply.mutable_set_dealt()->set_index(index);
    reply.mutable_set_dealt()->set_words(words);
    PILLARBOX_TRY(net::sendMessage(channel, reply));
    PILLARBOX_TRY(channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(clientSeed.bytes))));
    net::WordStreamWriter writer(channel, words);
    PILLARBOX_TRY(offline::dealSet(m_model->description(), *m_weights, clientSeed, engineSeed,
                                   [&writer](auto piece) { return writer.write(piece); }));
    m_seed.emplace(index, engineSeed);
    return {};
  }

  Result<random::Seed> takeSeed(std::uint64_t index) override {
    if (!m_seed || m_seed->first != index) {
      m_seed.reset();
      return Error{ErrorCode::NotFound, "nobody asked for this set"};
    }
    const random::Seed seed = m_seed->second;
    m_seed.reset();
    return seed;
  }

 private:
  std::shared_ptr<const inference::EngineModel> m_model;
  std::shared_ptr<const offline::WideWeights> m_weights;
  std::optional<std::pair<std::uint64_t, random::Seed>> m_seed;
};

}  // namespace

Result<std::unique_ptr<SessionCorrelations>> FirstPartySource::open(
    const Token&, std::shared_ptr<const inference::EngineModel> model) {
  std::shared_ptr<const offline::WideWeights> weights;
  {
    const std::lock_guard lock(m_mutex);
    std::erase_if(m_weights, [](const auto& entry) { return entry.first.expired(); });
    auto& known = m_weights[model];
    if (!known) {
      known = std::make_shared<offline::WideWeights>(
          offline::WideWeights::plain(model->description(), model->weights()));
    }
    weights = known;
  }
  return std::unique_ptr<SessionCorrelations>(
      std::make_unique<FirstPartyCorrelations>(std::move(model), std::move(weights)));
}

}  // namespace pillarbox::service
