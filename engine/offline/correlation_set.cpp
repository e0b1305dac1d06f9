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

std::vector<Protocol> allProtocols() {
  return {Protocol::HoneyBadger, Protocol::Espn, Protocol::SquareMultiply, Protocol::Horner};
}

const char* toString(Protocol protocol) {
  switch (protocol) {
    case Protocol::HoneyBadger:
      return "HoneyBadger";
    case Protocol::Espn:
      return "ESPN";
    case Protocol::SquareMultiply:
      return "square-multiply";
    case Protocol::Horner:
      return "Horner";
  }
  return "unknown";
}

const char* nameOf(Protocol protocol) {
  switch (protocol) {
    case Protocol::HoneyBadger:
      return "honeybadger";
    case Protocol::Espn:
      return "espn";
    case Protocol::SquareMultiply:
      return "square-multiply";
    case Protocol::Horner:
      return "horner";
  }
  return "unknown";
}

std::vector<std::string> protocolNames() {
  std::vector<std::string> names;
  for (const Protocol protocol : allProtocols()) names.emplace_back(nameOf(protocol));
  return names;
}

std::optional<Protocol> protocolNamed(std::string_view name) {
  for (const Protocol protocol : allProtocols()) {
    if (name == nameOf(protocol)) return protocol;
  }
  return std::nullopt;
}

std::optional<Protocol> protocolNumbered(std::uint64_t number) {
  for (const Protocol protocol : allProtocols()) {
    if (number == static_cast<std::uint64_t>(protocol)) return protocol;
  }
  return std::nullopt;
}

std::uint64_t ProductShares::memoryBytes() const {
  std::uint64_t sum = 0;
  for (const auto& factor : factors) sum += bytes(factor);
  for (const auto& share : sums) sum += bytes(share);
  return sum;
}

std::uint64_t ClientSet::memoryBytes() const {
  std::uint64_t sum = bytes(inputMask) + bytes(logitShare);
  for (const ClientStage& stage : stages) {
    sum += bytes(stage.mask) + bytes(stage.share) + stage.products.memoryBytes();
    for (const auto& tensor : stage.coefficients) sum += bytes(tensor);
  }
  return sum;
}

std::uint64_t EngineSet::memoryBytes() const {
  std::uint64_t sum = 0;
  for (const EngineStage& stage : stages) {
    sum += bytes(stage.outputMask) + bytes(stage.openingMask) + stage.products.memoryBytes();
    for (const auto& tensor : stage.coefficients) sum += bytes(tensor);
  }
  return sum;
}

}  // namespace pillarbox::offline
