// DeployController: administration of an engine for a user interface.
//
// Every request runs on a thread of its own over a connection of its own (EngineAdmin), so that
// nothing is held open while somebody thinks. A change is made only if the engine's list is still
// the one that was shown.
#pragma once

#include <memory>

#include "app/client/deploy_model.h"

namespace pillarbox::client {

class DeployController : public DeployModel {
  Q_OBJECT
 public:
  /// @param stateDir  folder of the administrator's key and of the pins; empty: the default
  explicit DeployController(const QString& stateDir = {}, QObject* parent = nullptr);
  ~DeployController() override;

  QString ownFingerprint() const override;
  bool createKey() override;
  void setEngine(const EngineAddress& engine) override;
  void refresh() override;
  void upload(const QString& file, bool activate) override;
  void activate(const QString& id) override;
  void rollBack() override;
  void remove(const QString& id) override;
  void cancel() override;
  void answerTrust(bool accept) override;

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

}  // namespace pillarbox::client
