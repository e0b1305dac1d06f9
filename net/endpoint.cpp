#include "net/endpoint.h"

#include <charconv>

#include "net/text.h"

namespace pillarbox::net {
namespace {

Error malformed(std::string_view text, std::string_view why) {
  std::string message("'");
  message.append(sanitizeForDisplay(text, 100)).append("' ").append(why);
  return {ErrorCode::InvalidArgument, std::move(message)};
}

}  // namespace

Result<Endpoint> parseEndpoint(std::string_view text, std::optional<std::uint16_t> defaultPort) {
  constexpr std::size_t kLongestHost = 255;
  std::string_view host = text, port;
  bool hasPort = false;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return malformed(text, "lacks the closing bracket");
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') {
      return malformed(text, "has something other than a port after the bracket");
    }
    hasPort = !rest.empty();
    if (hasPort) port = rest.substr(1);
    if (host.find(':') == std::string_view::npos) {
      return malformed(text, "has brackets round what is no IPv6 address");
    }
  } else {
    const auto first = text.find(':');
    if (first != std::string_view::npos && text.find(':', first + 1) == std::string_view::npos) {
      host = text.substr(0, first);
      port = text.substr(first + 1);
      hasPort = true;
    } else if (first != std::string_view::npos && !defaultPort) {
      return malformed(text, "is ambiguous; write an IPv6 address as [address]:port");
    }
  }
  if (host.empty()) return malformed(text, "has no host; expected HOST:PORT");
  if (host.size() > kLongestHost) return malformed(text, "has a host that is too long");
  for (const char c : host) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7F || c == '/' || c == '@' || c == '[' ||
        c == ']') {
      return malformed(text, "is no host and port; expected HOST:PORT, such as localhost:7120");
    }
  }
  if (!hasPort) {
    if (!defaultPort) return malformed(text, "has no port; expected HOST:PORT");
    return Endpoint{std::string(host), *defaultPort};
  }
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size()) {
    return malformed(text, "has no valid port; a port is a number up to 65535");
  }
  return Endpoint{std::string(host), number};
}

bool isLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "ip6-localhost" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

std::string toString(const Endpoint& endpoint) {
  const bool bracket = endpoint.host.find(':') != std::string::npos;
  std::string text;
  if (bracket) text += '[';
  text += endpoint.host;
  if (bracket) text += ']';
  return text.append(":").append(std::to_string(endpoint.port));
}

}  // namespace pillarbox::net
