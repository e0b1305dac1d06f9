// The two questions about certificates.
//
// First contact: the fingerprint in readable groups, a field to compare it with what the engine's
// operator said, and two buttons of which the refusing one is the default. Changed certificate: old
// and new side by side, and no way to accept from here; the pin must be removed on purpose in the
// connection manager.
#pragma once

#include <QDialog>

#include "app/client/session_model.h"

class QLabel;
class QLineEdit;
class QPushButton;
class QTreeWidget;

namespace pillarbox::ui {

class TrustDialog : public QDialog {
  Q_OBJECT
 public:
  explicit TrustDialog(const client::TrustQuestion& question, QWidget* parent = nullptr);

 private:
  void compare(const QString& text);
  QString m_fingerprint;
  QLineEdit* m_compare;
  QLabel* m_verdict;
  QPushButton* m_accept;
};

/// Every pinned certificate, and how to forget one: of dealers and administration too, which are
/// not in the list of engines.
class CertificatesDialog : public QDialog {
  Q_OBJECT
 public:
  explicit CertificatesDialog(client::SessionModel& session, QWidget* parent = nullptr);

 private:
  void rebuild();
  void forget();
  client::SessionModel& m_session;
  QVector<client::PinnedCertificate> m_pins;
  QTreeWidget* m_list;
  QLabel* m_empty;
  QPushButton* m_forget;
};

class MismatchDialog : public QDialog {
  Q_OBJECT
 public:
  explicit MismatchDialog(const client::PinMismatch& mismatch, QWidget* parent = nullptr);

 Q_SIGNALS:
  void manageRequested();
};

}  // namespace pillarbox::ui
