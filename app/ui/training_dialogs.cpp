#include "app/ui/training_dialogs.h"

#include <algorithm>

#include <QDialogButtonBox>
#include <QFileInfo>
#include <QHBoxLayout>
#include <QJsonArray>
#include <QLabel>
#include <QVBoxLayout>

#include "app/client/image_loader.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

TryImageDialog::TryImageDialog(const QString& file, const QJsonObject& answer, QWidget* parent)
    : QDialog(parent) {
  setWindowTitle(tr("Try an image"));
  const QJsonArray classes = answer[QStringLiteral("classes")].toArray();
  const QJsonArray probabilities = answer[QStringLiteral("probabilities")].toArray();
  QVector<ScoreBars::Score> scores;
  for (qsizetype i = 0; i < std::min(classes.size(), probabilities.size()); ++i) {
    scores << ScoreBars::Score{classes[i].toString(), probabilities[i].toDouble()};
  }
  std::stable_sort(scores.begin(), scores.end(),
                   [](const auto& a, const auto& b) { return a.probability > b.probability; });
  auto* layout = new QVBoxLayout(this);
  layout->setSpacing(14);
  auto* title = new QLabel(scores.isEmpty() ? tr("No answer") : scores.first().label, this);
  title->setTextFormat(Qt::PlainText);
  title->setFont(scaledFont(font(), 1.5, QFont::DemiBold));
  title->setWordWrap(true);
  auto* columns = new QHBoxLayout;
  columns->setSpacing(18);
  auto* picture = new PictureView(this);
  picture->setFixedSize(220, 200);
  const auto image = client::loadImage(file);
  const QString name = QFileInfo(file).fileName();
  if (image.ok()) {
    picture->setPicture(*image, name);
  } else {
    picture->setPlaceholder(name);
  }
  auto* bars = new ScoreBars(this);
  bars->setScores(scores);
  columns->addWidget(picture);
  columns->addWidget(bars, 1);
  const bool lost = answer[QStringLiteral("lost")].toBool();
  auto* note = new QLabel(
      lost ? tr("The values ran away on this image: the network has not learned to stay in its "
                "range, and its answer means nothing. Train for longer, or with a larger penalty.")
           : tr("Computed on this machine, in the clear, with the best checkpoint of the run."),
      this);
  note->setWordWrap(true);
  note->setForegroundRole(QPalette::PlaceholderText);
  auto* buttons = new QDialogButtonBox(QDialogButtonBox::Close, this);
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  layout->addWidget(title);
  layout->addLayout(columns);
  layout->addWidget(note);
  layout->addWidget(buttons);
  fitHeight(*this, 620);
}

}  // namespace pillarbox::ui
