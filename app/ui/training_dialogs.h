// What a checkpoint says about one image, on this machine and in the clear.
#pragma once

#include <QDialog>
#include <QJsonObject>

namespace pillarbox::ui {

class TryImageDialog : public QDialog {
  Q_OBJECT
 public:
  /// @param answer  what `pillarbox-train classify` printed: classes, probabilities, lost
  TryImageDialog(const QString& file, const QJsonObject& answer, QWidget* parent = nullptr);
};

}  // namespace pillarbox::ui
