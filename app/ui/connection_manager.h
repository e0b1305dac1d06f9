// Named engines: add, edit, remove, see which answer, forget a pinned certificate, connect.
#pragma once

#include <QDialog>
#include <QHash>

#include "app/client/session_model.h"

class QLabel;
class QLineEdit;
class QPushButton;
class QSpinBox;
class QTreeWidget;

namespace pillarbox::ui {

class Settings;

/// Name, host and port of one engine.
class EngineDialog : public QDialog {
  Q_OBJECT
 public:
  EngineDialog(const client::EngineAddress& engine, const QString& title,
               QWidget* parent = nullptr);
  client::EngineAddress engine() const;

 private:
  void check();
  QLineEdit* m_name;
  QLineEdit* m_host;
  QSpinBox* m_port;
  QLabel* m_problem;
  QPushButton* m_ok;
};

class ConnectionManager : public QDialog {
  Q_OBJECT
 public:
  /// @param current  the engine of this session, selected at first; host empty: none
  ConnectionManager(client::SessionModel& session, Settings& settings,
                    const client::EngineAddress& current, QWidget* parent = nullptr);

 Q_SIGNALS:
  void connectRequested(const pillarbox::client::EngineAddress& engine);

 private:
  enum Column { NameColumn, AddressColumn, AnswerColumn, PinColumn };
  void rebuild(int select);
  void refreshPins();
  void probeAll();
  void showProbe(const client::EngineAddress& address, bool reachable, double roundTripMs,
                 const QString& message);
  int selected() const;
  void updateButtons();
  void add();
  void edit();
  void remove();
  void forgetPin();
  void showCertificates();
  void connectSelected();

  client::SessionModel& m_session;
  Settings& m_settings;
  QTreeWidget* m_list;
  QLabel* m_empty;
  QPushButton* m_edit;
  QPushButton* m_remove;
  QPushButton* m_forget;
  QPushButton* m_check;
  QPushButton* m_connect;
};

}  // namespace pillarbox::ui
