// The models of an engine as its administrators see them: those of the configuration, and those
// that were uploaded, of which one is active.
//
// The folder holds ID.onnx for every uploaded model, where ID is the SHA-256 of the file, and
// index.json, which says what they are, which one is active and which were before. A file exists
// under its name only when it is complete, checked and on the disk; the index is replaced in one
// step. What a killed upload or a crash between the two leaves behind is a file that the index does
// not know, and goes at the next start. So every moment at which the power can fail leaves either
// the state before a change or the one after it.
//
// Clients are offered the active model first, then those of the configuration (but one with the
// same public description as the active one: clients could not tell them apart). Sessions hold the
// model that they opened, so a model that is replaced or removed lives until the last of them ends.
//
// Every change carries the revision of the list that it was decided on and is refused if the list
// has changed since: what one administrator decided is not undone by another who has not seen it,
// and a request that arrives twice has its effect once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/core/digest.h"
#include "engine/core/result.h"
#include "engine/service/served_models.h"

namespace pillarbox::service {

/// One model, uploaded or configured.
struct LibraryModel {
  std::string id;    ///< SHA-256 of the file, 64 hexadecimal digits
  std::string file;  ///< what it was called where it came from
  std::string name;  ///< as the model calls itself
  models::Sha256 hash{};
  std::uint64_t bytes = 0;
  std::uint32_t rounds = 0;
  std::uint64_t activations = 0, weights = 0;
  std::uint32_t classes = 0;
  std::int64_t added = 0;  ///< seconds since 1970; 0 for a configured one
  std::string addedBy;     ///< fingerprint of the administrator; empty for a configured one
  bool configured = false;
  bool active = false;  ///< what a client gets that names none
  bool served = false;
};

struct LibraryListing {
  std::uint64_t revision = 0;
  std::vector<LibraryModel> models;  ///< configured ones first, then by age
  std::string previous;              ///< what rollback would activate; empty: nothing
  std::uint64_t maxUploadBytes = 0;
};

class ModelLibrary {
 public:
  struct Options {
    std::filesystem::path directory;
    std::vector<std::string> configured;  ///< files; the first is active until one is activated
    std::uint64_t maxUploadBytes = std::uint64_t{512} << 20;
    std::size_t maxModels = 32;  ///< uploaded ones
    /// Is told of every new list to serve, before the change is reported as done.
    std::function<void(const ModelList&)> serve;
  };

  /// Loads what is to be served and calls `serve`. An active model that is missing or damaged is
  /// logged and the configured ones are served instead.
  /// Errors: as models::loadOnnx for a configured model; Io where the folder cannot be used; Format
  /// where index.json is damaged (nothing is then changed or removed).
  static Result<std::unique_ptr<ModelLibrary>> open(Options options);
  ~ModelLibrary();
  ModelLibrary(const ModelLibrary&) = delete;
  ModelLibrary& operator=(const ModelLibrary&) = delete;

  LibraryListing list() const;

  /// A model that is on its way in. Unless finish() succeeds, nothing of it remains.
  class Upload {
   public:
    ~Upload();
    Upload(const Upload&) = delete;
    Upload& operator=(const Upload&) = delete;
    /// Errors: Io (a full disk), InvalidArgument (more bytes than announced).
    Status write(std::span<const std::byte> bytes);
    std::uint64_t left() const { return m_left; }
    /// Checks what has arrived and takes it in. Returns the model's id.
    /// Errors: Format (not the announced bytes), as models::loadOnnx; Io; Exhausted.
    Result<std::string> finish(const std::string& addedBy);

   private:
    friend class ModelLibrary;
    Upload(ModelLibrary& library, std::unique_lock<std::mutex> turn);
    ModelLibrary& m_library;
    std::unique_lock<std::mutex> m_turn;  ///< one upload at a time
    std::filesystem::path m_part;
    int m_descriptor = -1;
    std::uint64_t m_left = 0;
    std::string m_expectedId, m_file;
    Sha256Stream m_digest;
  };

  /// Starts an upload of `bytes` bytes with the given SHA-256 and takes the space on the disk.
  /// Errors: Exhausted (too large, too many models, another upload is under way), InvalidArgument
  /// (the model is here already), Io (no space).
  Result<std::unique_ptr<Upload>> beginUpload(std::uint64_t bytes, const std::string& id,
                                              const std::string& file);

  /// Clients that connect from now on get this model unless they name another. `id` may be the
  /// first eight or more digits, or the name if only one model has it. Returns the id.
  /// Errors: NotFound, InvalidArgument (ambiguous), Refused (the list has changed since
  /// `revision`), as models::loadOnnx, Io.
  Result<std::string> activate(const std::string& id, std::uint64_t revision);
  /// Activates what was active before. Errors: NotFound where there is nothing; as activate().
  Result<std::string> rollback(std::uint64_t revision);
  /// Deletes an uploaded model. Errors: as activate(); InvalidArgument for the active one and for
  /// one of the configuration.
  Result<std::string> remove(const std::string& id, std::uint64_t revision);

 private:
  struct Entry;
  struct State;
  explicit ModelLibrary(Options options);
  Status load();
  Result<State> readIndex() const;
  Status writeIndex(const State& state) const;
  Status sweep(const State& state) const;
  std::filesystem::path fileOf(const std::string& id) const;
  Result<std::shared_ptr<const inference::EngineModel>> loadUploaded(const std::string& id) const;
  std::vector<const Entry*> entries() const;
  Result<const Entry*> find(const std::string& id) const;
  Status checkRevision(std::uint64_t revision) const;
  Status switchTo(const std::string& id, State next);
  void offer(std::shared_ptr<const inference::EngineModel> active);

  const Options m_options;
  std::mutex m_uploading;
  mutable std::mutex m_mutex;  ///< guards what follows
  std::unique_ptr<State> m_state;
  std::vector<Entry> m_configured;
  ModelList m_served;
};

}  // namespace pillarbox::service
