// Small files that a program keeps: pins, certificates, caches. Where they live (the XDG base
// directories, or what systemd gives a service), and how they are written: completely or not at
// all, readable by nobody else.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "engine/core/result.h"

namespace pillarbox {

/// The folder for what must outlive the program: `given` if not empty, else $STATE_DIRECTORY (set
/// by systemd), else $XDG_STATE_HOME/pillarbox, else ~/.local/state/pillarbox. Not created.
/// Errors: NotFound if no variable says where the home folder is.
Result<std::filesystem::path> stateDirectory(const std::filesystem::path& given = {});

/// The folder for what can be fetched again: `given`/cache if not empty, else
/// $XDG_CACHE_HOME/pillarbox, else ~/.cache/pillarbox. Not created. Errors: as stateDirectory.
Result<std::filesystem::path> cacheDirectory(const std::filesystem::path& given = {});

/// Creates the folder and its parents, the last one with mode 0700 where it is new.
/// Errors: Io, with the path and the system's reason.
Status makePrivateDirectory(const std::filesystem::path& directory);

/// The whole file. Errors: NotFound, Io, Exhausted if it is longer than `maxBytes`.
Result<std::string> readFile(const std::filesystem::path& path, std::size_t maxBytes);

/// Replaces the file in one step (written beside it, synchronised, renamed); mode 0600.
/// Errors: Io, with the path and the system's reason; the old file is then unharmed.
Status writePrivateFile(const std::filesystem::path& path, std::span<const std::byte> bytes);
Status writePrivateFile(const std::filesystem::path& path, const std::string& text);

}  // namespace pillarbox
