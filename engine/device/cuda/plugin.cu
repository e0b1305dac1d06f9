// The plugin: the table and its functions that are not kernels.
#include <atomic>
#include <cstdio>

#include "engine/device/cuda/runtime.h"
#include "engine/he/cuda/he_table.h"
#include "engine/kernels/cuda/ring_table.h"

namespace pillarbox::device {

namespace {

// Kernels are compiled as machine code for 9.0 and as PTX for 8.0, which drivers compile for every
// later device.
constexpr int kLeastCapability = 80;

std::atomic<int> openedDevice{-1};

cudaEvent_t cudaOf(Event event) {
  return reinterpret_cast<cudaEvent_t>(event);
}
cudaGraphExec_t cudaOf(Graph graph) {
  return reinterpret_cast<cudaGraphExec_t>(graph);
}

Sentence open(DeviceInfo* info) {
  return guarded([&] {
    int count = 0;
    const cudaError_t found = cudaGetDeviceCount(&count);
    if (found != cudaSuccess || count == 0) {
      cudaGetLastError();  // an error of the past is not the next call's
      throw CudaError(found != cudaSuccess ? cudaGetErrorString(found)
                                           : "the driver knows no device");
    }
    for (int device = 0; device < count; ++device) {
      cudaDeviceProp properties{};
      checkCuda(cudaGetDeviceProperties(&properties, device), "asking for its properties");
      const int capability = 10 * properties.major + properties.minor;
      if (capability < kLeastCapability) continue;
      *info = {};
      std::snprintf(info->name, sizeof info->name, "%.*s", int{sizeof info->name - 1},
                    properties.name);
      info->capability = static_cast<std::uint32_t>(capability);
      info->processors = static_cast<std::uint32_t>(properties.multiProcessorCount);
      info->memoryBytes = properties.totalGlobalMem;
      openedDevice = device;
      useDevice();
      // By default a kernel's code is loaded when it is first launched, which takes memory: not
      // while a stream is being recorded. It also shows now whether there is code for this device.
      kernels::cuda::loadKernels();
      return;
    }
    throw CudaError("every GPU here is older than compute capability 8.0");
  });
}

Sentence allocate(std::size_t bytes, void** device) {
  return guarded([&] { checkCuda(cudaMalloc(device, bytes), "taking memory"); });
}
Sentence release(void* device, std::size_t bytes) {
  return guarded([&] {
    // On a stream of this thread's own: the whole device may not be waited for while another thread
    // records a graph.
    checkCuda(cudaMemsetAsync(device, 0, bytes, cudaStreamPerThread), "overwriting memory");
    checkCuda(cudaStreamSynchronize(cudaStreamPerThread), "overwriting memory");
    checkCuda(cudaFree(device), "giving memory back");
  });
}
Sentence allocatePinned(std::size_t bytes, void** host) {
  return guarded(
      [&] { checkCuda(cudaHostAlloc(host, bytes, cudaHostAllocDefault), "pinning memory"); });
}
Sentence releasePinned(void* host) {
  return guarded([&] { checkCuda(cudaFreeHost(host), "giving pinned memory back"); });
}

Sentence createStream(Stream* stream) {
  return guarded([&] {
    cudaStream_t created = nullptr;
    checkCuda(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking), "making a stream");
    *stream = reinterpret_cast<Stream>(created);
  });
}
Sentence createUrgentStream(Stream* stream) {
  return guarded([&] {
    int least = 0, greatest = 0;
    checkCuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "making a stream");
    cudaStream_t created = nullptr;
    checkCuda(cudaStreamCreateWithPriority(&created, cudaStreamNonBlocking, greatest),
              "making a stream");
    *stream = reinterpret_cast<Stream>(created);
  });
}
Sentence destroyStream(Stream stream) {
  return guarded([&] { checkCuda(cudaStreamDestroy(cudaOf(stream)), "closing a stream"); });
}
Sentence finishStream(Stream stream) {
  return guarded([&] { checkCuda(cudaStreamSynchronize(cudaOf(stream)), "running"); });
}

Sentence createEvent(Event* event) {
  return guarded([&] {
    cudaEvent_t created = nullptr;
    checkCuda(cudaEventCreate(&created), "making an event");
    *event = reinterpret_cast<Event>(created);
  });
}
Sentence destroyEvent(Event event) {
  return guarded([&] { checkCuda(cudaEventDestroy(cudaOf(event)), "closing an event"); });
}
Sentence record(Event event, Stream stream) {
  return guarded(
      [&] { checkCuda(cudaEventRecord(cudaOf(event), cudaOf(stream)), "recording an event"); });
}
Sentence wait(Stream stream, Event event) {
  return guarded([&] {
    checkCuda(cudaStreamWaitEvent(cudaOf(stream), cudaOf(event), 0), "waiting for an event");
  });
}
Sentence finishEvent(Event event) {
  return guarded([&] { checkCuda(cudaEventSynchronize(cudaOf(event)), "running"); });
}
Sentence secondsBetween(Event first, Event second, double* seconds) {
  return guarded([&] {
    float milliseconds = 0;
    checkCuda(cudaEventElapsedTime(&milliseconds, cudaOf(first), cudaOf(second)), "timing");
    *seconds = 1e-3 * static_cast<double>(milliseconds);
  });
}

Sentence copyIn(Stream stream, void* device, const void* host, std::size_t bytes) {
  return guarded([&] {
    checkCuda(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, cudaOf(stream)),
              "copying to it");
  });
}
Sentence copyOut(Stream stream, void* host, const void* device, std::size_t bytes) {
  return guarded([&] {
    checkCuda(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, cudaOf(stream)),
              "copying from it");
  });
}
Sentence zero(Stream stream, void* device, std::size_t bytes) {
  return guarded(
      [&] { checkCuda(cudaMemsetAsync(device, 0, bytes, cudaOf(stream)), "overwriting memory"); });
}

Sentence beginCapture(Stream stream) {
  return guarded([&] {
    // Thread-local: other sessions' threads go on allocating meanwhile.
    checkCuda(cudaStreamBeginCapture(cudaOf(stream), cudaStreamCaptureModeThreadLocal),
              "recording a graph");
  });
}
Sentence endCapture(Stream stream, Graph* graph) {
  return guarded([&] {
    cudaGraph_t captured = nullptr;
    checkCuda(cudaStreamEndCapture(cudaOf(stream), &captured), "recording a graph");
    cudaGraphExec_t ready = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&ready, captured, 0);
    cudaGraphDestroy(captured);
    checkCuda(made, "preparing a graph");
    *graph = reinterpret_cast<Graph>(ready);
  });
}
Sentence launchGraph(Graph graph, Stream stream) {
  return guarded([&] { checkCuda(cudaGraphLaunch(cudaOf(graph), cudaOf(stream)), "a graph"); });
}
Sentence destroyGraph(Graph graph) {
  return guarded([&] { checkCuda(cudaGraphExecDestroy(cudaOf(graph)), "closing a graph"); });
}

constexpr Table kTable = {
    .version = kTableVersion,
    .bytes = sizeof(Table),
    .open = open,
    .allocate = allocate,
    .release = release,
    .allocatePinned = allocatePinned,
    .releasePinned = releasePinned,
    .createStream = createStream,
    .createUrgentStream = createUrgentStream,
    .destroyStream = destroyStream,
    .finishStream = finishStream,
    .createEvent = createEvent,
    .destroyEvent = destroyEvent,
    .record = record,
    .wait = wait,
    .finishEvent = finishEvent,
    .secondsBetween = secondsBetween,
    .copyIn = copyIn,
    .copyOut = copyOut,
    .zero = zero,
    .beginCapture = beginCapture,
    .endCapture = endCapture,
    .launchGraph = launchGraph,
    .destroyGraph = destroyGraph,
    .ring = &kernels::cuda::kRingTable,
    .he = &he::cuda::kHeTable,
};

}  // namespace

std::string& lastSentence() {
  thread_local std::string sentence;
  return sentence;
}

void useDevice() {
  thread_local int used = -1;
  const int device = openedDevice;
  if (device == used) return;
  checkCuda(cudaSetDevice(device), "choosing it");
  used = device;
}

}  // namespace pillarbox::device

extern "C" __attribute__((visibility("default"))) const pillarbox::device::Table*
pillarbox_device_table() {
  return &pillarbox::device::kTable;
}
