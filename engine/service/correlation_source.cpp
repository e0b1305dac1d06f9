#include "engine/service/correlation_source.h"

#include <algorithm>
#include <utility>

#include "net/message_io.h"

namespace pillarbox::service {
namespace {

class FirstPartyCorrelations : public SessionCorrelations {
 public:
  FirstPartyCorrelations(std::shared_ptr<const inference::EngineModel> model,
                         std::shared_ptr<const inference::Activations> activations,
                         std::shared_ptr<const offline::WideWeights> weights)
      : m_model(std::move(model)),
        m_activations(std::move(activations)),
        m_weights(std::move(weights)) {}

  Result<std::shared_ptr<const offline::WideWeights>> maskedWeights(const MaskId&) override {
    return Error{ErrorCode::Refused, "this engine deals itself; there are no masked weights"};
  }

  Status prepare(net::Channel& channel, std::uint64_t index) override {
    PILLARBOX_ASSIGN(const random::Seed clientSeed, random::freshSeed());
    PILLARBOX_ASSIGN(const random::Seed engineSeed, random::freshSeed());
    const offline::CorrelationPlan& plan = m_activations->correlations();
    const std::uint64_t words = offline::offlineCost(m_model->description(), plan).correctionWords;
    net::proto::ToClient reply;
    reply.mutable_set_dealt()->set_index(index);
    reply.mutable_set_dealt()->set_words(words);
    PILLARBOX_TRY(net::sendMessage(channel, reply));
    PILLARBOX_TRY(channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(clientSeed.bytes))));
    net::WordStreamWriter writer(channel, words);
    PILLARBOX_TRY(offline::dealSet(
        m_model->description(), *m_weights, clientSeed, engineSeed,
        [&writer](auto piece) { return writer.write(piece); }, plan));
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
  std::shared_ptr<const inference::Activations> m_activations;
  std::shared_ptr<const offline::WideWeights> m_weights;
  std::optional<std::pair<std::uint64_t, random::Seed>> m_seed;
};

class TwoPartyCorrelations : public SessionCorrelations {
 public:
  Result<std::shared_ptr<const offline::WideWeights>> maskedWeights(const MaskId&) override {
    return Error{ErrorCode::Refused, "this engine has no dealer; there are no masked weights"};
  }
  Status prepare(net::Channel&, std::uint64_t) override {
    return Error{ErrorCode::Refused, "this engine makes sets on an offline line only"};
  }
  Result<random::Seed> takeSeed(std::uint64_t) override {
    return Error{ErrorCode::NotFound, "this engine makes sets on an offline line only"};
  }
};

}  // namespace

Result<std::shared_ptr<const offline::two_party::EngineParty>> CorrelationSource::party(
    const Opening&) {
  return Error{ErrorCode::Refused, "this engine does not make sets together with its clients"};
}

Result<std::unique_ptr<SessionCorrelations>> TwoPartySource::open(const Token&, const Opening&) {
  return std::unique_ptr<SessionCorrelations>(std::make_unique<TwoPartyCorrelations>());
}

void TwoPartySource::serve(const ModelList& models) {
  const std::lock_guard lock(m_mutex);
  std::erase_if(m_parties, [&models](const auto& known) {
    return std::none_of(models.begin(), models.end(),
                        [&known](const auto& model) { return model == known.first.lock(); });
  });
}

Result<TwoPartySource::Party> TwoPartySource::party(const Opening& opening) {
  const std::lock_guard lock(m_mutex);
  ByProtocol& parties = m_parties[opening.model];
  if (const auto known = parties.find(opening.protocol); known != parties.end()) {
    return known->second;
  }
  Party& first = parties[offline::Protocol::HoneyBadger];
  if (!first) {
    auto made = m_factory(opening.model);
    if (!made.ok()) {
      m_parties.erase(opening.model);
      return std::move(made).error();
    }
    first = std::move(made).value();
  }
  if (opening.protocol == offline::Protocol::HoneyBadger) return first;
  PILLARBOX_ASSIGN(const auto activations, opening.model->activations(opening.protocol));
  PILLARBOX_ASSIGN(Party party, first->with(activations->correlations()));
  parties.emplace(opening.protocol, party);
  return party;
}

Result<std::unique_ptr<SessionCorrelations>> FirstPartySource::open(const Token&,
                                                                    const Opening& opening) {
  const auto& model = opening.model;
  PILLARBOX_ASSIGN(const auto activations, model->activations(opening.protocol));
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
      std::make_unique<FirstPartyCorrelations>(model, activations, std::move(weights)));
}

}  // namespace pillarbox::service
