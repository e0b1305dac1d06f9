// Whether something answers at an address: one TCP handshake, and nothing else.
#pragma once

#include <chrono>

#include "engine/core/result.h"
#include "net/endpoint.h"

namespace pillarbox::client {

/// The time of one TCP handshake, in seconds; blocks, also for the name's lookup.
/// Errors: Unreachable (with the system's reason), Timeout.
Result<double> tcpRoundTrip(const net::Endpoint& endpoint, std::chrono::milliseconds timeout);

}  // namespace pillarbox::client
