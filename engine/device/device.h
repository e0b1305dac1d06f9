// The GPU, where there is one: loads the plugin that has the code for it, and owns what is taken
// from it.
//
// Status: compiled, and tested in emulation (tests/support/cuda_emulator.h); not yet run on a GPU.
//
// What a device sees is what the engine's memory sees: masked values, the engine's own shares and
// masks, and its weights. Memory on it is overwritten before it is given back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/device/table.h"

namespace pillarbox::device {

/// Something on the device failed. Caught where an operation of the engine ends, and there an
/// Error.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The plugin's file name.
inline constexpr char kPluginName[] = "pillarbox_cuda.so";

/// A usable GPU. Immutable; any thread may use it.
class Device {
 public:
  /// Loads the plugin from the first of these folders that has it, and opens the GPU.
  /// Errors: NotFound without a plugin; Version for one of another build; Unsupported where there
  /// is no GPU or driver that fits. Each says in one sentence why there is no GPU.
  static Result<std::shared_ptr<const Device>> load(
      const std::vector<std::filesystem::path>& folders = pluginFolders());
  /// A device behind a table that is there already. Errors: those of Table::open and Version.
  static Result<std::shared_ptr<const Device>> open(const Table& table);

  /// Beside the running program, and where packages put it.
  static std::vector<std::filesystem::path> pluginFolders();

  const DeviceInfo& info() const { return m_info; }
  const Table& table() const { return *m_table; }
  /// "NVIDIA H100, 80 GiB" or the like, for logs.
  std::string description() const;

 private:
  explicit Device(const Table& table) : m_table(&table) {}
  const Table* m_table;
  DeviceInfo m_info{};
};

using DevicePtr = std::shared_ptr<const Device>;

/// Throws DeviceError where a function of the table returned a sentence.
inline void check(Sentence sentence) {
  if (sentence != nullptr) throw DeviceError(sentence);
}

/// Owns a handle of the table and gives it back.
template <typename Handle, Sentence (*Table::*kCreate)(Handle*),
          Sentence (*Table::*kDestroy)(Handle)>
class Owned {
 public:
  explicit Owned(DevicePtr device) : m_device(std::move(device)) {
    check((m_device->table().*kCreate)(&m_handle));
  }
  ~Owned() {
    if (m_handle != nullptr) (m_device->table().*kDestroy)(m_handle);
  }
  Owned(Owned&& other) noexcept
      : m_device(std::move(other.m_device)), m_handle(std::exchange(other.m_handle, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(m_device, other.m_device);
    std::swap(m_handle, other.m_handle);
    return *this;
  }
  operator Handle() const { return m_handle; }

 private:
  DevicePtr m_device;
  Handle m_handle = nullptr;
};
using OwnedStream = Owned<Stream, &Table::createStream, &Table::destroyStream>;
using OwnedUrgentStream = Owned<Stream, &Table::createUrgentStream, &Table::destroyStream>;
using OwnedEvent = Owned<Event, &Table::createEvent, &Table::destroyEvent>;

/// Owns what a stream was asked to do, recorded.
class OwnedGraph {
 public:
  OwnedGraph() = default;
  /// Records what `work` sends to the stream instead of doing it.
  template <typename Work>
  static OwnedGraph record(DevicePtr device, Stream stream, const Work& work) {
    const Table& table = device->table();
    OwnedGraph graph;
    graph.m_device = std::move(device);
    check(table.beginCapture(stream));
    try {
      work();
    } catch (...) {
      // A thread that records may not release memory, so the recording ends, whatever became of it.
      table.endCapture(stream, &graph.m_graph);
      throw;
    }
    check(table.endCapture(stream, &graph.m_graph));
    return graph;
  }
  ~OwnedGraph() {
    if (m_graph != nullptr) m_device->table().destroyGraph(m_graph);
  }
  OwnedGraph(OwnedGraph&& other) noexcept
      : m_device(std::move(other.m_device)), m_graph(std::exchange(other.m_graph, nullptr)) {}
  OwnedGraph& operator=(OwnedGraph&& other) noexcept {
    std::swap(m_device, other.m_device);
    std::swap(m_graph, other.m_graph);
    return *this;
  }
  operator Graph() const { return m_graph; }

 private:
  DevicePtr m_device;
  Graph m_graph = nullptr;
};

/// Memory on the device, of elements of one type; overwritten on release.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(DevicePtr device, std::size_t count) : m_device(std::move(device)), m_count(count) {
    void* memory = nullptr;
    if (count > 0) check(m_device->table().allocate(count * sizeof(T), &memory));
    m_data = static_cast<T*>(memory);
  }
  ~Buffer() {
    if (m_data != nullptr) m_device->table().release(m_data, m_count * sizeof(T));
  }
  Buffer(Buffer&& other) noexcept
      : m_device(std::move(other.m_device)),
        m_data(std::exchange(other.m_data, nullptr)),
        m_count(std::exchange(other.m_count, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(m_device, other.m_device);
    std::swap(m_data, other.m_data);
    std::swap(m_count, other.m_count);
    return *this;
  }
  T* data() const { return m_data; }  ///< an address on the device
  std::size_t size() const { return m_count; }

 private:
  DevicePtr m_device;
  T* m_data = nullptr;
  std::size_t m_count = 0;
};

/// Host memory that the device copies from and to by itself; overwritten on release.
template <typename T>
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(DevicePtr device, std::size_t count);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : m_device(std::move(other.m_device)),
        m_data(std::exchange(other.m_data, nullptr)),
        m_count(std::exchange(other.m_count, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(m_device, other.m_device);
    std::swap(m_data, other.m_data);
    std::swap(m_count, other.m_count);
    return *this;
  }
  T* data() const { return m_data; }
  std::size_t size() const { return m_count; }
  std::span<T> span() const { return {m_data, m_count}; }

 private:
  DevicePtr m_device;
  T* m_data = nullptr;
  std::size_t m_count = 0;
};

extern template class PinnedBuffer<std::byte>;
extern template class PinnedBuffer<std::uint64_t>;

}  // namespace pillarbox::device
