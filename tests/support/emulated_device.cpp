#include "tests/support/cuda_emulator.h"
// The words of CUDA come first.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/emulated_device.h"

namespace pillarbox::device {
/// Declared before the launchers' table, which refers to it.
template <typename Body>
Sentence guarded(const Body& body);
}  // namespace pillarbox::device

namespace pillarbox::testing {

namespace {

struct Node;
using NodePtr = std::shared_ptr<Node>;

/// What is recorded between beginCapture() and endCapture().
struct Capture {
  std::vector<NodePtr> nodes;  ///< in the order in which they came
  NodePtr before;              ///< what the stream did last before
  bool open = true;
};

/// A piece of work and what must be done before it.
struct Node {
  std::function<void()> work;
  std::vector<NodePtr> after;
  bool done = false;
  std::shared_ptr<Capture> capture;  ///< it is recorded, not to be run itself
};

/// Recursive: a kernel's launch inside work that runs.
std::recursive_mutex mutex;
std::map<const char*, std::size_t> deviceMemory;
std::set<void*> pinnedMemory;
std::size_t allocationsToFailure = 0, copiesToFailure = 0, graphsToFailure = 0;
std::minstd_rand choices{std::random_device{}()};
std::string sentence;

}  // namespace
}  // namespace pillarbox::testing

namespace pillarbox::device {

struct StreamHandle {
  testing::NodePtr last;
};
struct EventHandle {
  testing::NodePtr node;
};
struct GraphHandle {
  std::shared_ptr<testing::Capture> recorded;
};

template <typename Body>
Sentence guarded(const Body& body) {
  const std::lock_guard lock(testing::mutex);
  try {
    body();
    return nullptr;
  } catch (const std::exception& exception) {
    testing::sentence = exception.what();
    return testing::sentence.c_str();
  }
}

}  // namespace pillarbox::device

namespace pillarbox::testing {

namespace {

using namespace device;

NodePtr add(Stream stream, std::function<void()> work, NodePtr other = nullptr) {
  auto node = std::make_shared<Node>();
  node->work = std::move(work);
  // A stream leaves a capture with its end.
  NodePtr& last = stream->last;
  if (last && last->capture && !last->capture->open) last = nullptr;
  if (last) node->after.push_back(last);
  if (other) node->after.push_back(std::move(other));
  for (const NodePtr& before : node->after) {
    if (before->capture) node->capture = before->capture;
  }
  if (node->capture) {
    for (const NodePtr& before : node->after) {
      if (before->capture == node->capture || (before == last && before->done)) continue;
      throw std::logic_error("a recorded graph depends on work outside it");
    }
    std::erase_if(node->after, [](const NodePtr& before) { return !before->capture; });
    node->capture->nodes.push_back(node);
  }
  return last = node;
}

/// Runs a node and what it depends on, as late as allowed and in any order that is.
void runNode(const NodePtr& target) {
  if (!target) return;
  std::vector<NodePtr> path{target};
  while (!path.empty()) {
    const NodePtr node = path.back();
    if (node->capture) throw std::logic_error("waiting for work that is being recorded");
    std::shuffle(node->after.begin(), node->after.end(), choices);
    const auto open = std::find_if(node->after.begin(), node->after.end(),
                                   [](const NodePtr& before) { return !before->done; });
    if (open != node->after.end()) {
      path.push_back(*open);
      continue;
    }
    if (!node->done && node->work) node->work();
    node->done = true;
    node->work = nullptr;
    node->after.clear();
    path.pop_back();
  }
}

void requireInside(const void* address, std::size_t bytes) {
  const auto* first = static_cast<const char*>(address);
  auto next = deviceMemory.upper_bound(first);
  if (next == deviceMemory.begin() ||
      first + bytes > std::prev(next)->first + std::prev(next)->second) {
    throw std::logic_error("a copy outside an allocation of the device");
  }
}

bool isDue(std::size_t& callsToFailure) {
  return callsToFailure > 0 && --callsToFailure == 0;
}

void* take(std::size_t bytes) {
  if (isDue(allocationsToFailure)) {
    throw std::runtime_error("the GPU failed (taking memory): out of memory");
  }
  void* const memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(memory, 0xa5, bytes);
  return memory;
}

Table makeTable();

}  // namespace

void enqueue(Stream stream, std::function<void()> work) {
  if (stream == nullptr) return work();
  add(stream, std::move(work));
}

}  // namespace pillarbox::testing

#include "engine/he/cuda/he_table.cuh"
#include "engine/kernels/cuda/ring_table.cuh"

namespace pillarbox::testing {

namespace {

Table makeTable() {
  Table table{};
  table.version = kTableVersion;
  table.bytes = sizeof(Table);
  table.open = [](DeviceInfo* info) -> Sentence {
    *info = {};
    std::snprintf(info->name, sizeof info->name, "an emulated device");
    info->capability = 90;
    info->processors = 2;
    info->memoryBytes = std::uint64_t{1} << 30;
    return nullptr;
  };
  table.allocate = [](std::size_t bytes, void** memory) {
    return guarded([&] {
      *memory = take(bytes);
      deviceMemory[static_cast<const char*>(*memory)] = bytes;
    });
  };
  table.release = [](void* memory, std::size_t bytes) {
    return guarded([&] {
      const auto found = deviceMemory.find(static_cast<const char*>(memory));
      if (found == deviceMemory.end() || found->second != bytes) {
        throw std::logic_error("released what was not taken");
      }
      deviceMemory.erase(found);
      std::free(memory);
    });
  };
  table.allocatePinned = [](std::size_t bytes, void** memory) {
    return guarded([&] { pinnedMemory.insert(*memory = take(bytes)); });
  };
  table.releasePinned = [](void* memory) {
    return guarded([&] {
      if (pinnedMemory.erase(memory) == 0) throw std::logic_error("released what was not taken");
      std::free(memory);
    });
  };
  table.createStream = [](Stream* stream) { return guarded([&] { *stream = new StreamHandle; }); };
  table.createUrgentStream = table.createStream;
  table.destroyStream = [](Stream stream) { return guarded([&] { delete stream; }); };
  table.finishStream = [](Stream stream) { return guarded([&] { runNode(stream->last); }); };
  table.createEvent = [](Event* event) { return guarded([&] { *event = new EventHandle; }); };
  table.destroyEvent = [](Event event) { return guarded([&] { delete event; }); };
  table.record = [](Event event, Stream stream) {
    return guarded([&] { event->node = add(stream, nullptr); });
  };
  table.wait = [](Stream stream, Event event) {
    return guarded([&] {
      if (event->node) add(stream, nullptr, event->node);
    });
  };
  table.finishEvent = [](Event event) { return guarded([&] { runNode(event->node); }); };
  table.secondsBetween = [](Event, Event, double* seconds) -> Sentence {
    *seconds = 1e-3;
    return nullptr;
  };
  table.copyIn = [](Stream stream, void* to, const void* from, std::size_t bytes) {
    return guarded([&] {
      if (isDue(copiesToFailure)) throw std::runtime_error("the GPU failed (copying to it)");
      requireInside(to, bytes);
      add(stream, [=] { std::memcpy(to, from, bytes); });
    });
  };
  table.copyOut = [](Stream stream, void* to, const void* from, std::size_t bytes) {
    return guarded([&] {
      requireInside(from, bytes);
      add(stream, [=] { std::memcpy(to, from, bytes); });
    });
  };
  table.zero = [](Stream stream, void* memory, std::size_t bytes) {
    return guarded([&] {
      requireInside(memory, bytes);
      add(stream, [=] { std::memset(memory, 0, bytes); });
    });
  };
  table.beginCapture = [](Stream stream) {
    return guarded([&] {
      auto node = std::make_shared<Node>();
      node->capture = std::make_shared<Capture>();
      node->capture->nodes.push_back(node);
      node->capture->before = std::exchange(stream->last, node);
    });
  };
  table.endCapture = [](Stream stream, Graph* graph) {
    return guarded([&] {
      if (!stream->last || !stream->last->capture) {
        throw std::logic_error("nothing is being recorded");
      }
      const NodePtr last = stream->last;
      Capture& capture = *last->capture;
      capture.open = false;
      stream->last = std::exchange(capture.before, nullptr);
      std::set<const Node*> joined{last.get()};
      for (auto node = capture.nodes.rbegin(); node != capture.nodes.rend(); ++node) {
        if (!joined.contains(node->get())) throw std::logic_error("a fork has not been joined");
        for (const NodePtr& before : (*node)->after) joined.insert(before.get());
      }
      *graph = new GraphHandle{last->capture};
    });
  };
  table.launchGraph = [](Graph graph, Stream stream) {
    return guarded([&] {
      if (isDue(graphsToFailure)) throw std::runtime_error("the GPU failed (a graph)");
      std::map<const Node*, NodePtr> instances;
      const NodePtr before = add(stream, nullptr);
      for (const NodePtr& recorded : graph->recorded->nodes) {
        auto instance = std::make_shared<Node>();
        instance->work = recorded->work;
        if (recorded->after.empty()) instance->after.push_back(before);
        for (const NodePtr& other : recorded->after) {
          instance->after.push_back(instances.at(other.get()));
        }
        instances[recorded.get()] = stream->last = instance;
      }
    });
  };
  table.destroyGraph = [](Graph graph) {
    return guarded([&] {
      graph->recorded->nodes.clear();
      delete graph;
    });
  };
  table.ring = &kernels::cuda::kLaunchers;
  table.he = &he::cuda::kLaunchers;
  return table;
}

}  // namespace

DevicePtr emulatedDevice() {
  static const Table kTable = makeTable();
  return device::Device::open(kTable).value();
}

bool emulated() {
  return std::getenv("PILLARBOX_TEST_GPU") == nullptr;
}

DevicePtr deviceUnderTest() {
  if (emulated()) return emulatedDevice();
  auto loaded = device::Device::load({PILLARBOX_BIN_DIR});
  if (loaded.ok()) return std::move(loaded).value();
  std::printf("SKIPPED: %s\n", loaded.error().message.c_str());
  return nullptr;
}

std::size_t liveAllocations() {
  const std::lock_guard lock(mutex);
  return deviceMemory.size() + pinnedMemory.size();
}

void failAllocation(std::size_t n) {
  const std::lock_guard lock(mutex);
  allocationsToFailure = n;
}

void failCopy(std::size_t n) {
  const std::lock_guard lock(mutex);
  copiesToFailure = n;
}

void failGraph(std::size_t n) {
  const std::lock_guard lock(mutex);
  graphsToFailure = n;
}

}  // namespace pillarbox::testing
