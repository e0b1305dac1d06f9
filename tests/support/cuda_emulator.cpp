#include "tests/support/cuda_emulator.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace pillarbox::testing {

namespace {

constexpr std::size_t kStackBytes = std::size_t{64} << 10;
constexpr std::uint32_t kLanes = 32;

enum class State { Ready, AtBlockBarrier, AtWarpBarrier, Done };

/// One thread of a block. Its stack serves the threads of later blocks too. A switch is a jump:
/// swapcontext() alone would cost a system call each time.
struct Fiber {
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStackBytes);
  ucontext_t start{};
  jmp_buf place;
  bool started = false;
  State state = State::Ready;
  std::uint64_t given = 0;         ///< to exchange()
  std::uint32_t fragment[6] = {};  ///< of a and b, to multiplyTile()
};

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::uint32_t running = 0;
  jmp_buf scheduler;
  const std::function<void()>* body = nullptr;
  std::exception_ptr thrown;
  std::minstd_rand order{std::random_device{}()};
};
Block block;

void leave(State state) {
  Fiber& fiber = *block.fibers[block.running];
  fiber.state = state;
  if (_setjmp(fiber.place) == 0) _longjmp(block.scheduler, 1);
}

void fiberMain() {
  for (;;) {
    try {
      (*block.body)();
    } catch (...) {
      block.thrown = std::current_exception();
    }
    leave(State::Done);
  }
}

void resume(std::uint32_t thread) {
  Fiber& fiber = *block.fibers[thread];
  block.running = thread;
  threadIdx = dim3(thread, 0, 0);
  if (_setjmp(block.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = kStackBytes;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, fiberMain, 0);
  setcontext(&fiber.start);
}

/// Whether all fibers of a range wait at this kind of barrier; then they may go on.
bool release(std::uint32_t first, std::uint32_t end, State barrier) {
  for (std::uint32_t i = first; i < end; ++i) {
    if (block.fibers[i]->state != barrier) return false;
  }
  for (std::uint32_t i = first; i < end; ++i) block.fibers[i]->state = State::Ready;
  return true;
}

void runBlock(std::uint32_t threads) {
  while (block.fibers.size() < threads) block.fibers.push_back(std::make_unique<Fiber>());
  std::vector<std::uint32_t> order(threads);
  std::iota(order.begin(), order.end(), 0);
  for (std::uint32_t i = 0; i < threads; ++i) block.fibers[i]->state = State::Ready;
  for (;;) {
    std::shuffle(order.begin(), order.end(), block.order);
    for (const std::uint32_t thread : order) {
      if (block.fibers[thread]->state == State::Ready) resume(thread);
      if (block.thrown) break;
    }
    bool released = false, done = true;
    if (!block.thrown) {
      for (std::uint32_t first = 0; first < threads; first += kLanes) {
        released |=
            first + kLanes <= threads && release(first, first + kLanes, State::AtWarpBarrier);
      }
      released |= release(0, threads, State::AtBlockBarrier);
      for (std::uint32_t i = 0; i < threads; ++i) done &= block.fibers[i]->state == State::Done;
      if (done) return;
      if (released) continue;
    }
    block.fibers.clear();  // those that are still inside their body are given up
    if (block.thrown) std::rethrow_exception(std::exchange(block.thrown, nullptr));
    throw std::logic_error("threads of a block wait for others that never come to their barrier");
  }
}

}  // namespace

void runGrid(dim3 grid, std::uint32_t threads, const std::function<void()>& body) {
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.y > 65535 || grid.z > 65535) {
    throw std::logic_error("a grid that no device would take");
  }
  block.body = &body;
  gridDim = grid;
  blockDim = dim3(threads);
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        runBlock(threads);
      }
    }
  }
}

void blockBarrier() {
  leave(State::AtBlockBarrier);
}

void warpBarrier() {
  leave(State::AtWarpBarrier);
}

std::uint32_t laneNumber() {
  return threadIdx.x % kLanes;
}

std::uint64_t exchange(std::uint64_t value, std::uint32_t lane) {
  block.fibers[threadIdx.x]->given = value;
  warpBarrier();
  const std::uint64_t taken = block.fibers[threadIdx.x / kLanes * kLanes + lane]->given;
  warpBarrier();
  return taken;
}

void requireFullMask(std::uint32_t mask) {
  if (mask != 0xffffffff) throw std::logic_error("the emulation knows whole warps only");
}

void multiplyTile(std::int32_t (&acc)[4], const std::uint32_t (&a)[4],
                  const std::uint32_t (&b)[2]) {
  Fiber& own = *block.fibers[threadIdx.x];
  std::copy_n(a, 4, own.fragment);
  std::copy_n(b, 2, own.fragment + 4);
  warpBarrier();
  const auto* warp = &block.fibers[threadIdx.x / kLanes * kLanes];
  const std::uint32_t group = laneNumber() / 4, quad = laneNumber() % 4;
  for (std::uint32_t i = 0; i < 4; ++i) {
    const std::uint32_t column = 2 * quad + i % 2;
    auto sum = static_cast<std::uint32_t>(acc[i]);
    for (std::uint32_t k = 0; k < 32; k += 4) {
      // Four bytes of row group or group + 8, and of the column.
      const std::uint32_t left = warp[group * 4 + k % 16 / 4]->fragment[i / 2 + k / 16 * 2];
      const std::uint32_t right = warp[column * 4 + k % 16 / 4]->fragment[4 + k / 16];
      for (std::uint32_t bits = 0; bits < 32; bits += 8) {
        sum += static_cast<std::uint32_t>(int{static_cast<std::uint8_t>(left >> bits)} *
                                          int{static_cast<std::int8_t>(right >> bits)});
      }
    }
    acc[i] = static_cast<std::int32_t>(sum);
  }
  warpBarrier();
}

}  // namespace pillarbox::testing
