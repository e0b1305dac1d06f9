// Formatted text for tables.
#pragma once

#include <cstdio>
#include <string>

namespace pillarbox::bench {

/// printf into a string of at most 255 characters.
std::string format(const char* pattern, auto... values) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

/// "12.3 ms", "1.23 s": three digits or so.
inline std::string secondsText(double seconds) {
  if (seconds < 1e-3) return format("%.0f us", 1e6 * seconds);
  if (seconds < 0.1) return format("%.1f ms", 1e3 * seconds);
  if (seconds < 1) return format("%.0f ms", 1e3 * seconds);
  return format("%.2f s", seconds);
}

/// "4.46 MB" (10^6 bytes).
inline std::string megabytesText(double bytes) {
  return format("%.2f MB", 1e-6 * bytes);
}

}  // namespace pillarbox::bench
