#include "net/text.h"

#include <cstdint>

namespace pillarbox::net {
namespace {

constexpr char32_t kInvalid = 0xFFFFFFFF;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kEllipsis = "\xE2\x80\xA6";

/// Decodes the character at the front of `text`; `length` is how many bytes it takes (1 if
/// invalid).
char32_t decode(std::string_view text, std::size_t& length) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  length = 1;
  const std::uint8_t first = byte(0);
  if (first < 0x80) return first;
  std::size_t need = 0;
  char32_t value = 0, least = 0;
  if ((first & 0xE0) == 0xC0) {
    need = 2, value = first & 0x1FU, least = 0x80;
  } else if ((first & 0xF0) == 0xE0) {
    need = 3, value = first & 0x0FU, least = 0x800;
  } else if ((first & 0xF8) == 0xF0) {
    need = 4, value = first & 0x07U, least = 0x10000;
  } else {
    return kInvalid;
  }
  if (text.size() < need) return kInvalid;
  for (std::size_t i = 1; i < need; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return kInvalid;
    value = (value << 6) | (byte(i) & 0x3FU);
  }
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < least || value > 0x10FFFF || surrogate) return kInvalid;
  length = need;
  return value;
}

bool isControl(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c <= 0x9F) || c == 0x2028 || c == 0x2029;
}

bool isInvisibleFormat(char32_t c) {
  return c == 0xAD || c == 0x061C || c == 0x180E || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x202A && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
         (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE007F);
}

}  // namespace

std::string sanitizeForDisplay(std::string_view text, std::size_t maxBytes) {
  std::string out;
  std::size_t ellipsisAt = 0;  // the longest prefix of `out` that leaves room for an ellipsis
  while (!text.empty()) {
    std::size_t length = 0;
    const char32_t c = decode(text, length);
    std::string_view piece = text.substr(0, length);
    if (c == kInvalid) {
      piece = kReplacement;
    } else if (isControl(c)) {
      piece = " ";
    } else if (isInvisibleFormat(c)) {
      piece = {};
    }
    if (out.size() + piece.size() > maxBytes) {
      out.resize(ellipsisAt);
      if (kEllipsis.size() <= maxBytes) out += kEllipsis;
      return out;
    }
    out += piece;
    if (out.size() + kEllipsis.size() <= maxBytes) ellipsisAt = out.size();
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace pillarbox::net
