// Fuzzes the public description: what is accepted must be valid and canonical.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "models/accuracy_bound.h"
#include "models/description.h"

using namespace pillarbox::models;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed = parsePublicModel(std::as_bytes(std::span(data, size)));
  if (!parsed.ok()) {
    if (parsed.error().message.empty()) std::abort();
    return 0;
  }
  const std::string_view given(reinterpret_cast<const char*>(data), size);
  if (!validate(*parsed).ok() || serialize(*parsed) != given) std::abort();
  if (!(truncationFailureBound(*parsed, 10).total() >= 0)) std::abort();
  return 0;
}
