// HOST:PORT as people write it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace pillarbox::net {

/// The port that engines listen on unless told otherwise.
constexpr std::uint16_t kDefaultEnginePort = 7120;
/// The same for dealers.
constexpr std::uint16_t kDefaultDealerPort = 7121;
/// The same for the administration of engines.
constexpr std::uint16_t kDefaultAdminPort = 7122;

struct Endpoint {
  std::string host;  ///< name or address, without brackets
  std::uint16_t port = 0;
  bool operator==(const Endpoint&) const = default;
};

/// "engine.example:7120", "192.0.2.7:7120", "[2001:db8::7]:7120"; where `defaultPort` is given also
/// without a port ("[2001:db8::7]", "2001:db8::7"). Port 0 is accepted: a listener picks a free
/// one. Errors: InvalidArgument.
Result<Endpoint> parseEndpoint(std::string_view text,
                               std::optional<std::uint16_t> defaultPort = std::nullopt);

/// True for 127.0.0.0/8, ::1 and localhost.
bool isLoopback(const std::string& host);

/// The inverse: "host:port", with brackets round an IPv6 address.
std::string toString(const Endpoint& endpoint);

}  // namespace pillarbox::net
