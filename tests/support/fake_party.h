// A stand-in for the homomorphic part of the two-party mode: the engine deals to itself, as in
// first-party mode, over the messages of an offline line. Hides nothing; for tests of what happens
// around the making of a set, in which time does not go into arithmetic.
#pragma once

#include <memory>

#include "engine/inference/executor.h"
#include "engine/offline/two_party/party.h"

namespace pillarbox::testing {

/// Keys are 16 bytes; anything but 0, 1, ... 15 is refused.
std::unique_ptr<offline::two_party::ClientParty> fakeClientParty(const models::PublicModel& model);
Result<std::shared_ptr<const offline::two_party::EngineParty>> fakeEngineParty(
    const std::shared_ptr<const inference::EngineModel>& model);

}  // namespace pillarbox::testing
