// Structured logs: one event a line on stderr, as key=value text or as JSON.
//
// An event has a name and fields. Values are sizes, times, codes, names and addresses; shares,
// masks, seeds, tokens, inputs and outputs are never fields.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "engine/core/result.h"

namespace pillarbox::service {

/// Audit is above every level that can be configured: what administrators do is always written.
enum class LogLevel { Debug, Info, Warning, Error, Audit };

struct LogField {
  std::string key;
  std::variant<std::string, std::int64_t, double, bool> value;

  LogField(std::string k, std::string v) : key(std::move(k)), value(std::move(v)) {}
  LogField(std::string k, const char* v) : key(std::move(k)), value(std::string(v)) {}
  LogField(std::string k, bool v) : key(std::move(k)), value(v) {}
  LogField(std::string k, double v) : key(std::move(k)), value(v) {}
  template <typename T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) LogField(std::string k, T v)
      : key(std::move(k)), value(static_cast<std::int64_t>(v)) {}
};

/// Sets up the process's log. @param level "debug".."error" @param format "text" or "json"
void startLog(const std::string& level, const std::string& format);

/// Writes one line. Thread-safe; control characters in values are escaped.
void logEvent(LogLevel level, const char* event, const std::vector<LogField>& fields = {});
/// The same with the fields code= and error= in front.
void logError(LogLevel level, const char* event, const Error& error,
              std::vector<LogField> fields = {});

}  // namespace pillarbox::service
