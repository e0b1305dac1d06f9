#include "engine/offline/correlation_set.h"

namespace pillarbox::offline {

namespace {
template <typename T>
std::uint64_t bytes(const SecureVector<T>& values) {
  return values.size() * sizeof(T);
}
}  // namespace

const char* toString(Mode mode) {
  switch (mode) {
    case Mode::TwoParty:
      return "two-party";
    case Mode::Dealer:
      return "dealer";
    case Mode::FirstParty:
      return "first-party";
  }
  return "unknown";
}

std::uint64_t ClientSet::memoryBytes() const {
  std::uint64_t sum = bytes(inputMask) + bytes(logitShare);
  for (const ClientStage& stage : stages) {
    sum += bytes(stage.mask);
    for (const auto& power : stage.powers) sum += bytes(power);
  }
  return sum;
}

std::uint64_t EngineSet::memoryBytes() const {
  std::uint64_t sum = 0;
  for (const EngineStage& stage : stages) {
    sum += bytes(stage.outputMask) + bytes(stage.openingMask);
    for (const auto& power : stage.powers) sum += bytes(power);
  }
  return sum;
}

}  // namespace pillarbox::offline
