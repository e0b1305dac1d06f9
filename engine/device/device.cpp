#include "engine/device/device.h"

#include <dlfcn.h>

#include <cmath>
#include <system_error>

#include "engine/core/secure_vector.h"

namespace pillarbox::device {

namespace {

namespace fs = std::filesystem;

/// The table of the plugin in this file. The plugin stays loaded until the program ends.
Result<const Table*> tableOf(const fs::path& file) {
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    return Error{ErrorCode::Unsupported,
                 "no GPU is used, as the plugin cannot be loaded: " +
                     std::string(reason != nullptr ? reason : file.string())};
  }
  const auto function = reinterpret_cast<TableFunction>(dlsym(library, kTableSymbol));
  if (function == nullptr) {
    return Error{ErrorCode::Version,
                 "no GPU is used, as " + file.string() + " is not a plugin of this program"};
  }
  return function();
}

}  // namespace

std::vector<fs::path> Device::pluginFolders() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) return {};
  const fs::path folder = program.parent_path();
  return {folder, folder.parent_path() / PILLARBOX_PLUGIN_DIR};
}

Result<DevicePtr> Device::load(const std::vector<fs::path>& folders) {
  std::string places;
  for (const fs::path& folder : folders) {
    const fs::path file = folder / kPluginName;
    std::error_code error;
    if (fs::exists(file, error)) {
      PILLARBOX_ASSIGN(const Table* const table, tableOf(file));
      return open(*table);
    }
    places += (places.empty() ? "" : " or in ") + folder.string();
  }
  return Error{ErrorCode::NotFound, "no GPU is used, as there is no " + std::string(kPluginName) +
                                        " in " + (places.empty() ? "any known folder" : places) +
                                        " (built without CUDA)"};
}

Result<DevicePtr> Device::open(const Table& table) {
  if (table.version != kTableVersion || table.bytes != sizeof(Table)) {
    return Error{ErrorCode::Version, "no GPU is used, as " + std::string(kPluginName) +
                                         " belongs to another version of this program"};
  }
  std::shared_ptr<Device> device(new Device(table));
  const Sentence failure = table.open(&device->m_info);
  if (failure != nullptr) {
    return Error{ErrorCode::Unsupported, "no GPU is used: " + std::string(failure)};
  }
  return DevicePtr(std::move(device));
}

std::string Device::description() const {
  const double gib = static_cast<double>(m_info.memoryBytes) / (std::uint64_t{1} << 30);
  return std::string(m_info.name) + ", " + std::to_string(std::lround(gib)) + " GiB";
}

template <typename T>
PinnedBuffer<T>::PinnedBuffer(DevicePtr device, std::size_t count)
    : m_device(std::move(device)), m_count(count) {
  void* memory = nullptr;
  if (count > 0) check(m_device->table().allocatePinned(count * sizeof(T), &memory));
  m_data = static_cast<T*>(memory);
}

template <typename T>
PinnedBuffer<T>::~PinnedBuffer() {
  if (m_data == nullptr) return;
  secureZero(m_data, m_count * sizeof(T));
  m_device->table().releasePinned(m_data);
}

template class PinnedBuffer<std::byte>;
template class PinnedBuffer<std::uint64_t>;

}  // namespace pillarbox::device
