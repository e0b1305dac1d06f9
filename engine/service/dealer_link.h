// The engine's connection to its dealer: dealer mode's CorrelationSource.
//
// One thread keeps one connection: it registers every model, then takes what the dealer pushes
// (engine seeds) and hands it to the session it is for. A model that an administrator adds is
// registered when the first session opens it. When the connection breaks it starts again
// with growing pauses; the dealer then draws a new A, so that clients have to fetch a new E. Sets
// that are complete stay good, sessions that are open register again when their client opens the
// model again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/service/correlation_source.h"
#include "net/messages.pb.h"
#include "net/pin_store.h"
#include "net/tls.h"

namespace pillarbox::service {

class DealerLink : public CorrelationSource {
 public:
  struct Options {
    net::Endpoint address;
    std::optional<net::Endpoint> addressForClients;
    std::optional<net::Fingerprint> trust;  ///< else: the pin store
    bool trustOnFirstUse = false;
    std::filesystem::path stateDirectory;
    std::chrono::milliseconds networkTimeout{30000};
  };

  DealerLink(Options options, ModelList models);
  ~DealerLink() override;

  offline::Mode mode() const override { return offline::Mode::Dealer; }
  Result<std::unique_ptr<SessionCorrelations>> open(const Token& token,
                                                    const Opening& opening) override;
  Status ready() override;
  void serve(const ModelList& models) override;
  void stop() noexcept override;

 private:
  friend class DealtCorrelations;

  /// What the dealer gave for one model on this connection. The mask A belongs to these weights:
  /// other weights under the same A would show clients the difference of the two.
  struct Registration {
    std::weak_ptr<const inference::EngineModel> model;
    MaskId maskId{};
    models::Sha256 maskedWeightsHash{};
    std::shared_ptr<const offline::WideWeights> maskedWeights;
  };
  /// Seeds that the dealer pushed for one session and that no set has used yet.
  struct Inbox {
    std::mutex mutex;
    std::condition_variable arrived;
    std::map<std::uint64_t, random::Seed> seeds;
    bool closed = false;  ///< the connection broke: nothing more will come
  };
  /// A session's registration under way; replies come in the order of the requests.
  struct Request {
    std::optional<Status> answer;
  };

  void run();
  Status serveOnce();
  Result<std::unique_ptr<net::Channel>> connect();
  Status sendModel(net::Channel& channel, const inference::EngineModel& model);
  /// Takes what follows the dealer's answer to sendModel().
  Result<Registration> receiveRegistration(
      net::Channel& channel, const net::proto::ModelRegistered& answer,
      const std::shared_ptr<const inference::EngineModel>& model);
  /// Waits until `model` is registered on `channel`; `order` holds m_writeMutex, before and after.
  Result<Registration> registrationOf(const std::shared_ptr<net::Channel>& channel,
                                      const std::shared_ptr<const inference::EngineModel>& model,
                                      std::unique_lock<std::mutex>& order);
  Status readPushes(net::Channel& channel);
  void ping();
  void closeSession(const Token& token);

  const Options m_options;
  net::PinStore m_pins;

  std::mutex m_mutex;
  std::condition_variable m_changed;
  bool m_stopped = false;
  ModelList m_models;  ///< what a new connection registers
  std::unique_ptr<net::TlsConnector> m_connector;
  std::shared_ptr<net::Channel> m_line;     ///< from the handshake on: what stop() cancels
  std::shared_ptr<net::Channel> m_channel;  ///< the same, once every model is registered
  net::Fingerprint m_fingerprint;
  std::map<models::Sha256, Registration> m_registrations;
  std::deque<std::shared_ptr<const inference::EngineModel>> m_registering;  ///< in order of sending
  std::map<Token, std::shared_ptr<Inbox>> m_inboxes;
  std::deque<std::shared_ptr<Request>> m_requests;
  Error m_lastError{ErrorCode::Unreachable, "the dealer has not answered yet"};

  std::mutex m_writeMutex;  ///< order of requests on the wire is the order in m_requests
  std::thread m_thread;
  std::thread m_pinger;
};

}  // namespace pillarbox::service
