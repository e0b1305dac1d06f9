#include "models/training/run_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

namespace pillarbox::training {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Error ioError(const std::string& what, const fs::path& path) {
  return Error{ErrorCode::Io,
               "Cannot " + what + " " + path.string() + ": " + std::strerror(errno) + "."};
}

Result<json> readJson(const fs::path& path) {
  std::ifstream in(path);
  if (!in) return Error{ErrorCode::NotFound, "There is no file " + path.string() + "."};
  json value = json::parse(in, nullptr, false);
  if (value.is_discarded()) {
    return Error{ErrorCode::Format, path.string() + " is not valid JSON."};
  }
  return value;
}

json stateToJson(const TrainingState& s) {
  return {{"epoch", s.epoch},
          {"step", s.stepInEpoch},
          {"loss_sum", s.lossSum},
          {"penalty_sum", s.penaltySum},
          {"correct", s.correct},
          {"seen", s.seen},
          {"seconds", s.seconds},
          {"rate_scale", s.rateScale},
          {"best_accuracy", s.bestAccuracy},
          {"evaluation", s.evaluation}};
}

TrainingState stateFromJson(const json& j) {
  TrainingState s;
  j.at("epoch").get_to(s.epoch);
  j.at("step").get_to(s.stepInEpoch);
  j.at("loss_sum").get_to(s.lossSum);
  j.at("penalty_sum").get_to(s.penaltySum);
  j.at("correct").get_to(s.correct);
  j.at("seen").get_to(s.seen);
  j.at("seconds").get_to(s.seconds);
  j.at("rate_scale").get_to(s.rateScale);
  j.at("best_accuracy").get_to(s.bestAccuracy);
  s.evaluation = j.at("evaluation");
  return s;
}

}  // namespace

json toJson(const DataFacts& facts) {
  return {{"classes", facts.classes},
          {"mean", facts.normalisation.mean},
          {"std", facts.normalisation.std},
          {"train_images", facts.trainImages},
          {"test_images", facts.testImages}};
}

DataFacts dataFactsFromJson(const json& value) {
  DataFacts facts;
  value.at("classes").get_to(facts.classes);
  value.at("mean").get_to(facts.normalisation.mean);
  value.at("std").get_to(facts.normalisation.std);
  value.at("train_images").get_to(facts.trainImages);
  value.at("test_images").get_to(facts.testImages);
  return facts;
}

Status writeFileAtomically(const fs::path& path, const std::string& bytes) {
  const fs::path temporary = path.string() + ".new";
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return ioError("create", temporary);
  std::size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t n = ::write(file, bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const Error error = ioError("write", temporary);
      ::close(file);
      return error;
    }
    written += static_cast<std::size_t>(n);
  }
  const bool flushed = ::fsync(file) == 0;
  if (::close(file) != 0 || !flushed) return ioError("write", temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return ioError("replace", path);
  return {};
}

Result<RunFolder> RunFolder::create(const fs::path& path, const TrainingConfig& config) {
  PILLARBOX_TRY(validate(config));
  std::error_code error;
  if (fs::exists(path / "config.json", error)) {
    return Error{ErrorCode::Refused, path.string() +
                                         " holds a run already; continue it with "
                                         "\"resume\" or choose another folder."};
  }
  fs::create_directories(path, error);
  if (error) {
    return Error{ErrorCode::Io, "Cannot create " + path.string() + ": " + error.message() + "."};
  }
  PILLARBOX_TRY(writeFileAtomically(path / "config.json", toJson(config).dump(2) + "\n"));
  return RunFolder(path, config);
}

Result<RunFolder> RunFolder::open(const fs::path& path) {
  auto stored = readJson(path / "config.json");
  if (!stored.ok()) {
    if (stored.error().code != ErrorCode::NotFound) return stored.error();
    return Error{ErrorCode::NotFound,
                 path.string() + " is not a training run: it has no config.json."};
  }
  auto config = configFromJson(*stored);
  if (!config.ok()) {
    return Error{config.error().code, path.string() + ": " + config.error().message};
  }
  return RunFolder(path, std::move(config).value());
}

Status RunFolder::setEpochs(int epochs) {
  TrainingConfig changed = m_config;
  changed.epochs = epochs;
  PILLARBOX_TRY(validate(changed));
  PILLARBOX_TRY(writeFileAtomically(m_path / "config.json", toJson(changed).dump(2) + "\n"));
  m_config = std::move(changed);
  return {};
}

Status RunFolder::saveData(const DataFacts& facts, const std::vector<data::SkippedFile>& skipped) {
  json stored = toJson(facts);
  stored["skipped_files"] = skipped.size();
  PILLARBOX_TRY(writeFileAtomically(m_path / "data.json", stored.dump(2) + "\n"));
  std::string lines;
  for (const auto& file : skipped) lines += file.path + ": " + file.reason + "\n";
  return writeFileAtomically(m_path / "skipped.txt", lines);
}

Result<DataFacts> RunFolder::loadData() const {
  auto stored = readJson(m_path / "data.json");
  if (!stored.ok()) return stored.error();
  try {
    return dataFactsFromJson(*stored);
  } catch (const json::exception& e) {
    return Error{ErrorCode::Format,
                 (m_path / "data.json").string() + " is damaged: " + e.what() + "."};
  }
}

Status RunFolder::log(const json& event) const {
  std::ofstream out(m_path / "log.jsonl", std::ios::app);
  out << event.dump() << "\n" << std::flush;
  if (!out) return ioError("write", m_path / "log.jsonl");
  return {};
}

bool RunFolder::hasCheckpoint(const std::string& name) const {
  std::error_code error;
  return fs::exists(m_path / (name + ".pt"), error);
}

Status RunFolder::saveCheckpoint(const std::string& name, const CheckpointParts& parts) const {
  std::ostringstream bytes;
  try {
    torch::serialize::OutputArchive archive, network, average, optimizer;
    parts.network->save(network);
    parts.average->save(average);
    parts.optimizer->save(optimizer);
    archive.write("network", network);
    archive.write("average", average);
    archive.write("optimizer", optimizer);
    archive.write("state", c10::IValue(stateToJson(parts.state).dump()));
    archive.save_to(bytes);
  } catch (const c10::Error& e) {
    return Error{ErrorCode::Internal,
                 std::string("Cannot make a checkpoint: ") + e.what_without_backtrace()};
  }
  return writeFileAtomically(m_path / (name + ".pt"), bytes.str());
}

Result<std::string> RunFolder::readCheckpoint(const std::string& name) const {
  const fs::path path = m_path / (name + ".pt");
  if (!hasCheckpoint(name)) {
    return Error{ErrorCode::NotFound, "There is no checkpoint " + path.string() + " yet."};
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  if (!in) return ioError("read", path);
  return std::move(bytes).str();
}

Status RunFolder::loadCheckpoint(const std::string& name, CheckpointParts& parts) const {
  PILLARBOX_ASSIGN(const std::string bytes, readCheckpoint(name));
  return parseCheckpoint(bytes, (m_path / (name + ".pt")).string(), parts);
}

Status RunFolder::parseCheckpoint(const std::string& bytes, const std::string& origin,
                                  CheckpointParts& parts) {
  try {
    const torch::Device device = parts.network->parameters().front().device();
    torch::serialize::InputArchive archive, network, average, optimizer;
    archive.load_from(bytes.data(), bytes.size(), device);
    archive.read("network", network);
    archive.read("average", average);
    parts.network->load(network);
    parts.average->load(average);
    if (parts.optimizer) {
      archive.read("optimizer", optimizer);
      parts.optimizer->load(optimizer);
    }
    c10::IValue state;
    archive.read("state", state);
    parts.state = stateFromJson(json::parse(state.toStringRef()));
  } catch (const std::exception& e) {
    const auto* torchError = dynamic_cast<const c10::Error*>(&e);
    const std::string why = torchError ? torchError->what_without_backtrace() : e.what();
    return Error{ErrorCode::Format, origin + " is damaged or belongs to another network: " + why};
  }
  return {};
}

}  // namespace pillarbox::training
