#include "app/client/engine_pin.h"

#include <utility>

#include "net/pin_store.h"

namespace pillarbox::client {

Result<EnginePin> EnginePin::find(const std::filesystem::path& stateDirectory,
                                  const net::Endpoint& engine,
                                  const std::optional<net::Fingerprint>& trust) {
  PILLARBOX_ASSIGN(
      const auto pin,
      net::PinStore(stateDirectory).find(net::PinKind::Engine, engine.host, engine.port));
  if (pin && trust && pin->fingerprint != *trust) {
    return Error{ErrorCode::Untrusted,
                 "the fingerprint given with --trust is not the one that is pinned for " +
                     net::toString(engine) + " (" + pin->fingerprint.text() +
                     "); remove that pin first (pillarbox-cli trust remove " +
                     net::toString(engine) + ")"};
  }
  EnginePin found;
  found.m_stateDirectory = stateDirectory;
  found.m_engine = engine;
  if (pin) found.m_pinned = pin->fingerprint;
  found.m_trust = trust;
  return found;
}

net::PinPolicy EnginePin::policy(std::function<bool(const net::Fingerprint&)> ask) const {
  net::PinPolicy policy;
  policy.expected = m_pinned ? m_pinned : m_trust;
  if (!policy.expected) policy.ask = std::move(ask);
  return policy;
}

bool EnginePin::changed(const Error& error,
                        const std::optional<net::Fingerprint>& presented) const {
  return error.code == ErrorCode::Untrusted && m_pinned && presented && *presented != *m_pinned;
}

Error EnginePin::changedError(const net::Fingerprint& presented) const {
  return {ErrorCode::Untrusted,
          "the engine at " + net::toString(m_engine) +
              " shows another certificate than before: pinned " + m_pinned->text() + ", now " +
              presented.text() +
              "; if the change is known to be right, remove the old pin (pillarbox-cli trust "
              "remove " +
              net::toString(m_engine) + ", or the app's Engines, All certificates)"};
}

Result<bool> EnginePin::keep(const net::Fingerprint& fingerprint) const {
  if (m_pinned) return false;
  PILLARBOX_TRY(net::PinStore(m_stateDirectory)
                    .add(net::PinKind::Engine, m_engine.host, m_engine.port, fingerprint));
  return true;
}

}  // namespace pillarbox::client
