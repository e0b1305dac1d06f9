#include "tests/support/scripted_deploy.h"

#include <QDate>
#include <QDateTime>

namespace pillarbox::test {

client::DeployedModels ScriptedDeploy::models() {
  client::DeployedModels listing;
  listing.software = QStringLiteral("pillarbox-engine");
  listing.canRollBack = true;
  const auto add = [&](const char* name, const char* file, char digit, int rounds,
                       quint64 bytes) -> client::DeployedModel& {
    client::DeployedModel model;
    model.name = QString::fromLatin1(name);
    model.file = QString::fromLatin1(file);
    model.id = QString(64, QLatin1Char(digit));
    model.rounds = rounds;
    model.classes = 10;
    model.bytes = bytes;
    model.weights = bytes / 4;
    model.added = QDateTime(QDate(2026, 11, 20), QTime(17, 40));
    model.addedBy = QStringLiteral("3F:A2:81:BC");
    listing.models << model;
    return listing.models.last();
  };
  add("ward-3 images, second attempt", "ward-3-2.onnx", 'a', 8, 702'114).active = true;
  listing.models.last().served = true;
  add("ward-3 images", "ward-3.onnx", 'b', 8, 702'108).previous = true;
  add("a model whose name is so long that it can hardly be shown in a narrow window",
      "exported-from-a-run-with-a-long-name.onnx", 'c', 18, 44'711'020);
  client::DeployedModel& configured = add("cifar10-pillar7", "", 'd', 8, 702'090);
  configured.configured = true;
  configured.served = true;
  configured.added = {};
  configured.addedBy.clear();
  return listing;
}

}  // namespace pillarbox::test
