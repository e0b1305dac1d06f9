#include "engine/service/log.h"

#include <cmath>
#include <cstdio>

#include <nlohmann/json.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace pillarbox::service {
namespace {

bool jsonFormat = false;

spdlog::level::level_enum levelOf(LogLevel level) {
  switch (level) {
    case LogLevel::Debug:
      return spdlog::level::debug;
    case LogLevel::Info:
      return spdlog::level::info;
    case LogLevel::Warning:
      return spdlog::level::warn;
    case LogLevel::Error:
      return spdlog::level::err;
    case LogLevel::Audit:
      return spdlog::level::critical;
  }
  return spdlog::level::err;
}

const char* nameOf(LogLevel level) {
  switch (level) {
    case LogLevel::Debug:
      return "debug";
    case LogLevel::Info:
      return "info";
    case LogLevel::Warning:
      return "warning";
    case LogLevel::Error:
      return "error";
    case LogLevel::Audit:
      return "audit";
  }
  return "error";
}

/// As it is if it is a plain word, else in quotes with escapes (those of JSON).
std::string quoted(const std::string& text) {
  bool plain = !text.empty();
  for (const unsigned char c : text) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\') plain = false;
  }
  if (plain) return text;
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string number(double value) {
  if (!std::isfinite(value)) return "nan";
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.6g", value);
  return buffer;
}

}  // namespace

void startLog(const std::string& level, const std::string& format) {
  auto logger = spdlog::get("pillarbox");
  if (!logger) logger = spdlog::stderr_logger_mt("pillarbox");
  jsonFormat = format == "json";
  logger->set_pattern(
      jsonFormat ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",%v}" : "time=%Y-%m-%dT%H:%M:%S.%eZ %v",
      spdlog::pattern_time_type::utc);
  logger->set_level(level == "debug"     ? spdlog::level::debug
                    : level == "warning" ? spdlog::level::warn
                    : level == "error"   ? spdlog::level::err
                                         : spdlog::level::info);
  logger->flush_on(spdlog::level::debug);
}

void logEvent(LogLevel level, const char* event, const std::vector<LogField>& fields) {
  const auto logger = spdlog::get("pillarbox");
  if (!logger || !logger->should_log(levelOf(level))) return;
  std::string line;
  if (jsonFormat) {
    nlohmann::ordered_json object;
    object["level"] = nameOf(level);
    object["event"] = event;
    for (const LogField& field : fields) {
      std::visit([&](const auto& value) { object[field.key] = value; }, field.value);
    }
    line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    line = line.substr(1, line.size() - 2);  // the pattern writes the braces and the time
  } else {
    line = std::string("level=") + nameOf(level) + " event=" + event;
    for (const LogField& field : fields) {
      line += " " + field.key + "=";
      if (const auto* text = std::get_if<std::string>(&field.value)) line += quoted(*text);
      if (const auto* whole = std::get_if<std::int64_t>(&field.value))
        line += std::to_string(*whole);
      if (const auto* real = std::get_if<double>(&field.value)) line += number(*real);
      if (const auto* truth = std::get_if<bool>(&field.value)) line += *truth ? "true" : "false";
    }
  }
  logger->log(levelOf(level), "{}", line);
}

void logError(LogLevel level, const char* event, const Error& error, std::vector<LogField> fields) {
  fields.insert(fields.begin(),
                {LogField("code", toString(error.code)), LogField("error", error.message)});
  logEvent(level, event, fields);
}

}  // namespace pillarbox::service
