// What the plugin with the GPU code offers: a table of C-style functions, its only export.
//
// One build serves machines with and without a GPU, so nothing that the programs link knows CUDA.
// The plugin (pillarbox_cuda.so) is loaded at run time where it is there (device.h), and it too
// links no driver: the CUDA runtime inside it looks for one. Tests fill the same table with
// functions that run the same kernels on the processor, in emulation.
//
// Conventions. Every function returns null, or a sentence about what failed, which stays valid
// until the thread's next call. Pointers named `device` are addresses on the device. Work goes to
// streams: within one, in order; between them, as events say; copies and launches return before
// they are done. Between beginCapture() and endCapture() a stream's work is recorded in a graph
// instead, which can then be launched as a whole, any number of times; the thread that records
// calls nothing meanwhile that takes or releases memory or waits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pillarbox::kernels::cuda {
struct RingTable;
}
namespace pillarbox::he::cuda {
struct HeTable;
}

namespace pillarbox::device {

/// Changes with every change of this table and of those it points to.
inline constexpr std::uint32_t kTableVersion = 4;
inline constexpr char kTableSymbol[] = "pillarbox_device_table";

struct StreamHandle;  ///< a cudaStream_t; an emulated one in tests
struct EventHandle;
struct GraphHandle;
using Stream = StreamHandle*;
using Event = EventHandle*;
using Graph = GraphHandle*;

using Sentence = const char*;

struct DeviceInfo {
  char name[128];
  std::uint32_t capability;  ///< 90 for 9.0
  std::uint32_t processors;  ///< streaming multiprocessors
  std::uint64_t memoryBytes;
};

struct Table {
  std::uint32_t version;  ///< kTableVersion
  std::uint32_t bytes;    ///< sizeof(Table)

  /// Finds a usable device, loads the code for it and describes it; called before anything else.
  Sentence (*open)(DeviceInfo* info);

  Sentence (*allocate)(std::size_t bytes, void** device);
  /// Overwrites the memory, then frees it. No stream may still have work on it.
  Sentence (*release)(void* device, std::size_t bytes);
  /// Host memory that the device reads and writes by itself. Freed as it is: the caller overwrites.
  Sentence (*allocatePinned)(std::size_t bytes, void** host);
  Sentence (*releasePinned)(void* host);

  Sentence (*createStream)(Stream* stream);
  /// Where both have work that could begin, that of urgent streams begins first.
  Sentence (*createUrgentStream)(Stream* stream);
  Sentence (*destroyStream)(Stream stream);
  Sentence (*finishStream)(Stream stream);  ///< waits until all its work is done

  Sentence (*createEvent)(Event* event);
  Sentence (*destroyEvent)(Event event);
  Sentence (*record)(Event event, Stream stream);
  Sentence (*wait)(Stream stream, Event event);
  Sentence (*finishEvent)(Event event);                                    ///< waits, on the host
  Sentence (*secondsBetween)(Event first, Event second, double* seconds);  ///< both done

  Sentence (*copyIn)(Stream stream, void* device, const void* host, std::size_t bytes);
  Sentence (*copyOut)(Stream stream, void* host, const void* device, std::size_t bytes);
  Sentence (*zero)(Stream stream, void* device, std::size_t bytes);

  Sentence (*beginCapture)(Stream stream);
  Sentence (*endCapture)(Stream stream, Graph* graph);
  Sentence (*launchGraph)(Graph graph, Stream stream);
  Sentence (*destroyGraph)(Graph graph);

  const kernels::cuda::RingTable* ring;  ///< engine/kernels/cuda/ring_table.h
  const he::cuda::HeTable* he;           ///< engine/he/cuda/he_table.h
};

/// The type of the function named kTableSymbol.
using TableFunction = const Table* (*)();

}  // namespace pillarbox::device
