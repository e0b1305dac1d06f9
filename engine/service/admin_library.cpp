#include "engine/service/admin_library.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <nlohmann/json.hpp>

#include "engine/core/files.h"
#include "engine/service/log.h"
#include "models/onnx_reader.h"
#include "net/text.h"

namespace pillarbox::service {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxIndexBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxHistory = 16;
constexpr std::size_t kShortestPrefix = 8;
constexpr char kPartSuffix[] = ".part";

Error ioError(const fs::path& path, int error) {
  if (error == ENOSPC || error == EDQUOT) {
    return {ErrorCode::Io, "the engine's disk is full (" + path.parent_path().string() +
                               "); remove models that are not needed and try again"};
  }
  return {ErrorCode::Io, path.string() + " cannot be written: " + std::strerror(error)};
}

bool isId(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void synchroniseFolder(const fs::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  static_cast<void>(::fsync(descriptor));
  ::close(descriptor);
}

Result<std::string> fileDigest(const fs::path& path) {
  PILLARBOX_ASSIGN(const std::string bytes, readFile(path, models::kMaxModelFileBytes));
  Sha256Stream digest;
  digest.update(std::as_bytes(std::span(bytes)));
  return hexText(digest.finish());
}

void describe(LibraryModel& facts, const models::PublicModel& model, const models::Sha256& hash) {
  facts.name = net::sanitizeForDisplay(model.name, 128);
  facts.hash = hash;
  facts.rounds = static_cast<std::uint32_t>(model.stages.size());
  facts.activations = model.activationCount();
  facts.weights = model.weightCount();
  facts.classes = static_cast<std::uint32_t>(model.labels.size());
}

}  // namespace

struct ModelLibrary::Entry {
  LibraryModel facts;
  std::shared_ptr<const inference::EngineModel> model;  ///< configured ones only
};

/// What index.json holds.
struct ModelLibrary::State {
  std::uint64_t revision = 1;
  std::string active;                ///< empty: the first of the configuration
  std::vector<std::string> history;  ///< what was active before, the latest last; "" as above
  std::vector<Entry> uploaded;
};

ModelLibrary::ModelLibrary(Options options)
    : m_options(std::move(options)), m_state(std::make_unique<State>()) {}

ModelLibrary::~ModelLibrary() = default;

Result<std::unique_ptr<ModelLibrary>> ModelLibrary::open(Options options) {
  if (!options.serve) throw std::logic_error("ModelLibrary needs somebody to serve");
  std::unique_ptr<ModelLibrary> library(new ModelLibrary(std::move(options)));
  PILLARBOX_TRY(library->load());
  return library;
}

fs::path ModelLibrary::fileOf(const std::string& id) const {
  return m_options.directory / (id + ".onnx");
}

Status ModelLibrary::load() {
  for (const std::string& file : m_options.configured) {
    PILLARBOX_ASSIGN(auto loaded, models::loadOnnx(fs::path(file)));
    Entry entry;
    PILLARBOX_ASSIGN(entry.facts.id, fileDigest(file));
    entry.model = std::make_shared<const inference::EngineModel>(std::move(loaded.model),
                                                                 std::move(loaded.weights));
    describe(entry.facts, entry.model->description(), entry.model->hash());
    entry.facts.file = fs::path(file).filename().string();
    entry.facts.configured = true;
    std::error_code ignored;
    entry.facts.bytes = fs::file_size(file, ignored);
    for (const Entry& other : m_configured) {
      if (other.facts.hash == entry.facts.hash) {
        return Error{ErrorCode::InvalidArgument,
                     file +
                         " has the same public description as another model; clients could not "
                         "tell them apart"};
      }
    }
    logEvent(LogLevel::Info, "model_loaded",
             {{"file", file},
              {"model", entry.facts.name},
              {"hash", models::toHex(entry.facts.hash)},
              {"rounds", entry.facts.rounds},
              {"activations", entry.facts.activations},
              {"weights", entry.facts.weights}});
    m_configured.push_back(std::move(entry));
  }
  if (m_options.directory.empty()) {
    offer(nullptr);
    return {};
  }
  PILLARBOX_TRY(makePrivateDirectory(m_options.directory));
  PILLARBOX_ASSIGN(*m_state, readIndex());
  PILLARBOX_TRY(sweep(*m_state));
  std::shared_ptr<const inference::EngineModel> active;
  if (!m_state->active.empty()) {
    if (const auto found = find(m_state->active); !found.ok()) {
      logError(LogLevel::Error, "active_model_lost", found.error(), {{"model", m_state->active}});
      m_state->active.clear();
    } else if (!(*found)->facts.configured) {
      auto loaded = loadUploaded(m_state->active);
      if (loaded.ok()) {
        active = std::move(loaded).value();
      } else {
        logError(LogLevel::Error, "active_model_lost", loaded.error(),
                 {{"model", m_state->active}});
        m_state->active.clear();
      }
    }
  }
  offer(std::move(active));
  return {};
}

Result<ModelLibrary::State> ModelLibrary::readIndex() const {
  const fs::path file = m_options.directory / "index.json";
  State state;
  auto text = readFile(file, kMaxIndexBytes);
  if (!text.ok()) {
    if (text.error().code == ErrorCode::NotFound) return state;
    return std::move(text).error();
  }
  try {
    const Json index = Json::parse(*text);
    state.revision = index.at("revision").get<std::uint64_t>();
    state.active = index.at("active").get<std::string>();
    state.history = index.at("history").get<std::vector<std::string>>();
    for (const Json& item : index.at("models")) {
      Entry entry;
      LibraryModel& facts = entry.facts;
      facts.id = item.at("id").get<std::string>();
      if (!isId(facts.id)) throw std::runtime_error("an id is no SHA-256");
      facts.file = item.at("file").get<std::string>();
      facts.name = item.at("name").get<std::string>();
      const auto hash = item.at("hash").get<std::vector<std::uint8_t>>();
      if (hash.size() != facts.hash.size()) throw std::runtime_error("a hash is no SHA-256");
      std::copy(hash.begin(), hash.end(), facts.hash.begin());
      facts.bytes = item.at("bytes").get<std::uint64_t>();
      facts.rounds = item.at("rounds").get<std::uint32_t>();
      facts.activations = item.at("activations").get<std::uint64_t>();
      facts.weights = item.at("weights").get<std::uint64_t>();
      facts.classes = item.at("classes").get<std::uint32_t>();
      facts.added = item.at("added").get<std::int64_t>();
      facts.addedBy = item.at("added_by").get<std::string>();
      state.uploaded.push_back(std::move(entry));
    }
  } catch (const std::exception& exception) {
    return Error{ErrorCode::Format,
                 file.string() + " is damaged (" + exception.what() +
                     "); restore it from a backup, or move the folder away to start without "
                     "uploaded models"};
  }
  return state;
}

Status ModelLibrary::writeIndex(const State& state) const {
  Json index;
  index["revision"] = state.revision;
  index["active"] = state.active;
  index["history"] = state.history;
  index["models"] = Json::array();
  for (const Entry& entry : state.uploaded) {
    const LibraryModel& facts = entry.facts;
    Json item;
    item["id"] = facts.id;
    item["file"] = facts.file;
    item["name"] = facts.name;
    item["hash"] = facts.hash;
    item["bytes"] = facts.bytes;
    item["rounds"] = facts.rounds;
    item["activations"] = facts.activations;
    item["weights"] = facts.weights;
    item["classes"] = facts.classes;
    item["added"] = facts.added;
    item["added_by"] = facts.addedBy;
    index["models"].push_back(std::move(item));
  }
  PILLARBOX_TRY(writePrivateFile(m_options.directory / "index.json",
                                 index.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"));
  synchroniseFolder(m_options.directory);
  return {};
}

/// Deletes what an upload or a removal that did not end has left.
Status ModelLibrary::sweep(const State& state) const {
  std::error_code error;
  for (const auto& item : fs::directory_iterator(m_options.directory, error)) {
    const fs::path path = item.path();
    const bool part = path.extension() == kPartSuffix;
    const bool temporary = path.filename().string().starts_with("index.json.");
    const bool orphan =
        path.extension() == ".onnx" && isId(path.stem().string()) &&
        std::none_of(state.uploaded.begin(), state.uploaded.end(), [&path](const Entry& entry) {
          return entry.facts.id == path.stem().string();
        });
    if (!part && !temporary && !orphan) continue;
    std::error_code removed;
    fs::remove(path, removed);
    logEvent(LogLevel::Warning, "unfinished_upload_removed", {{"file", path.string()}});
  }
  if (error) {
    return Error{ErrorCode::Io,
                 m_options.directory.string() + " cannot be read: " + error.message()};
  }
  return {};
}

Result<std::shared_ptr<const inference::EngineModel>> ModelLibrary::loadUploaded(
    const std::string& id) const {
  PILLARBOX_ASSIGN(const std::string bytes, readFile(fileOf(id), models::kMaxModelFileBytes));
  Sha256Stream digest;
  digest.update(std::as_bytes(std::span(bytes)));
  if (hexText(digest.finish()) != id) {
    return Error{ErrorCode::Format, fileOf(id).string() +
                                        " is not what was uploaded: the disk or somebody changed "
                                        "it; remove the model and upload it again"};
  }
  PILLARBOX_ASSIGN(auto loaded,
                   models::loadOnnx(std::as_bytes(std::span(bytes)), fileOf(id).string()));
  return std::make_shared<const inference::EngineModel>(std::move(loaded.model),
                                                        std::move(loaded.weights));
}

void ModelLibrary::offer(std::shared_ptr<const inference::EngineModel> active) {
  ModelList next;
  if (active) next.push_back(active);
  const auto add = [&next](const std::shared_ptr<const inference::EngineModel>& model) {
    const bool known = std::any_of(next.begin(), next.end(), [&model](const auto& other) {
      return other->hash() == model->hash();
    });
    if (!known) next.push_back(model);
  };
  for (const Entry& entry : m_configured) {
    if (entry.facts.id == m_state->active) add(entry.model);
  }
  for (const Entry& entry : m_configured) add(entry.model);
  m_served = next;
  m_options.serve(next);
}

LibraryListing ModelLibrary::list() const {
  const std::lock_guard lock(m_mutex);
  LibraryListing listing;
  listing.revision = m_state->revision;
  listing.maxUploadBytes = m_options.maxUploadBytes;
  const std::string first = m_configured.empty() ? std::string() : m_configured.front().facts.id;
  const std::string active = m_state->active.empty() ? first : m_state->active;
  for (const Entry& entry : m_configured) {
    LibraryModel facts = entry.facts;
    facts.active = facts.id == active;
    facts.served = std::find(m_served.begin(), m_served.end(), entry.model) != m_served.end();
    listing.models.push_back(std::move(facts));
  }
  for (const Entry& entry : m_state->uploaded) {
    LibraryModel facts = entry.facts;
    facts.active = facts.served = facts.id == active;
    listing.models.push_back(std::move(facts));
  }
  if (!m_state->history.empty()) {
    listing.previous = m_state->history.back().empty() ? first : m_state->history.back();
  }
  return listing;
}

std::vector<const ModelLibrary::Entry*> ModelLibrary::entries() const {
  std::vector<const Entry*> all;
  for (const Entry& entry : m_configured) all.push_back(&entry);
  for (const Entry& entry : m_state->uploaded) all.push_back(&entry);
  return all;
}

Result<const ModelLibrary::Entry*> ModelLibrary::find(const std::string& id) const {
  const Entry* found = nullptr;
  for (const Entry* entry : entries()) {
    if (entry->facts.id == id) return entry;
    const bool prefix = id.size() >= kShortestPrefix && entry->facts.id.starts_with(id);
    if (!prefix && entry->facts.name != id) continue;
    if (found != nullptr) {
      return Error{ErrorCode::InvalidArgument,
                   "several models are called " + net::sanitizeForDisplay(id, 64) +
                       "; give the first " + std::to_string(kShortestPrefix) +
                       " or more digits of the one you mean"};
    }
    found = entry;
  }
  if (found == nullptr) {
    return Error{ErrorCode::NotFound, "this engine has no model " +
                                          net::sanitizeForDisplay(id, 64) +
                                          "; the list shows those that it has"};
  }
  return found;
}

Status ModelLibrary::checkRevision(std::uint64_t revision) const {
  if (revision == m_state->revision) return {};
  return Error{ErrorCode::Refused,
               "the engine's models have changed since you listed them; look at the new list and "
               "decide again"};
}

Status ModelLibrary::switchTo(const std::string& id, State next) {
  std::shared_ptr<const inference::EngineModel> model;
  const bool configured =
      id.empty() || std::any_of(m_configured.begin(), m_configured.end(),
                                [&id](const Entry& entry) { return entry.facts.id == id; });
  if (!configured) {
    PILLARBOX_ASSIGN(model, loadUploaded(id));
  }
  next.active = id;
  ++next.revision;
  PILLARBOX_TRY(writeIndex(next));
  *m_state = std::move(next);
  offer(std::move(model));
  return {};
}

Result<std::string> ModelLibrary::activate(const std::string& id, std::uint64_t revision) {
  const std::lock_guard lock(m_mutex);
  PILLARBOX_TRY(checkRevision(revision));
  PILLARBOX_ASSIGN(const Entry* entry, find(id));
  const std::string chosen = entry->facts.id;
  const bool isFirst = !m_configured.empty() && m_configured.front().facts.id == chosen;
  if (chosen == m_state->active || (m_state->active.empty() && isFirst)) return chosen;
  State next = *m_state;
  next.history.push_back(next.active);
  if (next.history.size() > kMaxHistory) next.history.erase(next.history.begin());
  PILLARBOX_TRY(switchTo(chosen, std::move(next)));
  return chosen;
}

Result<std::string> ModelLibrary::rollback(std::uint64_t revision) {
  const std::lock_guard lock(m_mutex);
  PILLARBOX_TRY(checkRevision(revision));
  State next = *m_state;
  if (next.history.empty()) {
    return Error{ErrorCode::NotFound, "no model was active before this one"};
  }
  const std::string id = next.history.back();
  next.history.pop_back();
  if (id.empty() && m_configured.empty()) {
    return Error{ErrorCode::NotFound,
                 "no model was active before this one; activate another one instead"};
  }
  if (!id.empty()) PILLARBOX_TRY(find(id).ok() ? Status() : Status(find(id).error()));
  PILLARBOX_TRY(switchTo(id, std::move(next)));
  return id.empty() ? m_configured.front().facts.id : id;
}

Result<std::string> ModelLibrary::remove(const std::string& id, std::uint64_t revision) {
  const std::lock_guard lock(m_mutex);
  PILLARBOX_TRY(checkRevision(revision));
  PILLARBOX_ASSIGN(const Entry* entry, find(id));
  if (entry->facts.configured) {
    return Error{ErrorCode::InvalidArgument,
                 "this model is part of the engine's configuration; whoever runs the engine can "
                 "take it out there"};
  }
  const std::string chosen = entry->facts.id;
  if (chosen == m_state->active) {
    return Error{ErrorCode::InvalidArgument,
                 "this model is active; activate another one or roll back first"};
  }
  State next = *m_state;
  std::erase_if(next.uploaded, [&](const Entry& other) { return other.facts.id == chosen; });
  std::erase(next.history, chosen);
  ++next.revision;
  PILLARBOX_TRY(writeIndex(next));
  *m_state = std::move(next);
  // From here on the model is gone, whatever becomes of the file.
  std::error_code ignored;
  fs::remove(fileOf(chosen), ignored);
  return chosen;
}

ModelLibrary::Upload::Upload(ModelLibrary& library, std::unique_lock<std::mutex> turn)
    : m_library(library), m_turn(std::move(turn)) {}

ModelLibrary::Upload::~Upload() {
  if (m_descriptor >= 0) ::close(m_descriptor);
  if (!m_part.empty()) ::unlink(m_part.c_str());
}

Result<std::unique_ptr<ModelLibrary::Upload>> ModelLibrary::beginUpload(std::uint64_t bytes,
                                                                        const std::string& id,
                                                                        const std::string& file) {
  if (bytes == 0) return Error{ErrorCode::InvalidArgument, "the file is empty"};
  if (bytes > m_options.maxUploadBytes) {
    return Error{ErrorCode::Exhausted,
                 "the file has " + std::to_string(bytes) + " bytes; this engine takes at most " +
                     std::to_string(m_options.maxUploadBytes) + " (administration.max_upload_mib)"};
  }
  if (!isId(id)) return Error{ErrorCode::Format, "the announced SHA-256 has the wrong form"};
  std::unique_lock turn(m_uploading, std::try_to_lock);
  if (!turn.owns_lock()) {
    return Error{ErrorCode::Exhausted, "another upload is under way; try again when it is done"};
  }
  {
    const std::lock_guard lock(m_mutex);
    for (const Entry* entry : entries()) {
      if (entry->facts.id != id) continue;
      return Error{ErrorCode::InvalidArgument, "this engine has that model already (" +
                                                   id.substr(0, kShortestPrefix) +
                                                   "); activate it instead"};
    }
    if (m_state->uploaded.size() >= m_options.maxModels) {
      return Error{ErrorCode::Exhausted,
                   "this engine keeps at most " + std::to_string(m_options.maxModels) +
                       " uploaded models (administration.max_models); remove one first"};
    }
  }
  std::unique_ptr<Upload> upload(new Upload(*this, std::move(turn)));
  std::string name = (m_options.directory / "upload.XXXXXX").string() + kPartSuffix;
  upload->m_descriptor =
      ::mkostemps(name.data(), static_cast<int>(std::strlen(kPartSuffix)), O_CLOEXEC);
  if (upload->m_descriptor < 0) return ioError(name, errno);
  upload->m_part = name;
  upload->m_left = bytes;
  upload->m_expectedId = id;
  upload->m_file = net::sanitizeForDisplay(file, 128);
  // A full disk shows before the first byte rather than after the last but one.
  if (const int error = ::posix_fallocate(upload->m_descriptor, 0, static_cast<off_t>(bytes));
      error != 0 && error != EINVAL && error != EOPNOTSUPP) {
    return ioError(name, error);
  }
  return upload;
}

Status ModelLibrary::Upload::write(std::span<const std::byte> bytes) {
  if (bytes.size() > m_left) {
    return Error{ErrorCode::InvalidArgument, "more bytes arrived than were announced"};
  }
  m_left -= bytes.size();
  m_digest.update(bytes);
  while (!bytes.empty()) {
    const ssize_t count = ::write(m_descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ioError(m_part, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<std::string> ModelLibrary::Upload::finish(const std::string& addedBy) {
  if (m_left > 0) return Error{ErrorCode::Format, "the file ended before its announced length"};
  const std::string id = hexText(m_digest.finish());
  if (id != m_expectedId) {
    return Error{ErrorCode::Format, "what arrived is not the announced file: its SHA-256 is " + id};
  }
  if (::fsync(m_descriptor) != 0) return ioError(m_part, errno);
  Entry entry;
  LibraryModel& facts = entry.facts;
  {
    PILLARBOX_ASSIGN(const std::string bytes, readFile(m_part, m_library.m_options.maxUploadBytes));
    PILLARBOX_ASSIGN(const auto loaded,
                     models::loadOnnx(std::as_bytes(std::span(bytes)),
                                      m_file.empty() ? std::string("the model") : m_file));
    describe(facts, loaded.model, models::modelHash(loaded.model));
    facts.bytes = bytes.size();
  }
  facts.id = id;
  facts.file = m_file;
  facts.added = now();
  facts.addedBy = addedBy;

  const std::lock_guard lock(m_library.m_mutex);
  State next = *m_library.m_state;
  next.uploaded.push_back(std::move(entry));
  ++next.revision;
  const fs::path file = m_library.fileOf(id);
  if (::rename(m_part.c_str(), file.c_str()) != 0) return ioError(file, errno);
  m_part.clear();
  synchroniseFolder(m_library.m_options.directory);
  if (Status written = m_library.writeIndex(next); !written.ok()) {
    ::unlink(file.c_str());
    return std::move(written).error();
  }
  *m_library.m_state = std::move(next);
  return id;
}

}  // namespace pillarbox::service
