#include "models/pillar/fit_report.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

#include <nlohmann/json.hpp>

#include "engine/core/chart.h"

namespace pillarbox::models::pillar {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json requestKey(const FitRequest& r) {
  return {
      {"version", 1},     {"target", "relu"}, {"degree", r.degree},       {"bits", r.fractionBits},
      {"range", r.range}, {"scale", r.scale}, {"norm", toString(r.norm)}, {"points", r.points}};
}

std::string cacheName(const FitRequest& r) {
  std::ostringstream name;
  name << "relu-" << toString(r.norm) << "-d" << r.degree << "-p" << r.fractionBits << "-b"
       << r.range << "-s" << r.scale << "-n" << r.points << ".json";
  return name.str();
}

bool readCache(const fs::path& file, const FitRequest& request, FitOutcome& outcome) {
  std::ifstream in(file);
  if (!in) return false;
  const json stored = json::parse(in, nullptr, false);
  if (!stored.is_object() || stored.value("request", json()) != requestKey(request)) return false;
  try {
    stored.at("coefficients").get_to(outcome.coefficients);
    stored.at("error").get_to(outcome.error);
    stored.at("bound").get_to(outcome.bound);
    stored.at("real_error").get_to(outcome.realError);
    stored.at("rounded_error").get_to(outcome.roundedError);
    stored.at("real_coefficients").get_to(outcome.realCoefficients);
    stored.at("nodes").get_to(outcome.nodes);
    stored.at("seconds").get_to(outcome.seconds);
  } catch (const json::exception&) {
    return false;
  }
  return outcome.coefficients.size() == request.degree + 1 &&
         outcome.realCoefficients.size() == request.degree + 1;
}

void writeCache(const fs::path& file, const FitRequest& request, const FitOutcome& outcome) {
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  if (error) return;
  const fs::path temporary = file.string() + ".new";
  std::ofstream out(temporary);
  out << json{{"request", requestKey(request)},
              {"coefficients", outcome.coefficients},
              {"error", outcome.error},
              {"bound", outcome.bound},
              {"real_error", outcome.realError},
              {"rounded_error", outcome.roundedError},
              {"real_coefficients", outcome.realCoefficients},
              {"nodes", outcome.nodes},
              {"seconds", outcome.seconds}}
             .dump()
      << "\n";
  out.close();
  if (out) fs::rename(temporary, file, error);
}

}  // namespace

std::vector<std::int64_t> roundedCoefficients(const FitRequest& request,
                                              const FitOutcome& outcome) {
  std::vector<std::int64_t> result;
  for (const double c : outcome.realCoefficients) {
    result.push_back(std::llround(std::ldexp(c, static_cast<int>(request.fractionBits))));
  }
  return result;
}

std::string plotSvg(const FitRequest& request, const FitOutcome& outcome) {
  const double b = request.range;
  const std::vector<std::int64_t> rounded = roundedCoefficients(request, outcome);
  LineChart chart;
  chart.title = "ReLU and its polynomial of degree " + std::to_string(request.degree);
  std::ostringstream note;
  note << request.fractionBits << " bits, range " << b;
  chart.note = note.str();
  chart.x.range = {{-1.3 * b, 1.3 * b}};
  chart.y.range = {{-0.25 * b, 1.3 * b}};
  // Five ticks to the range, at round numbers where the range is one.
  for (int i = -6; i <= 6; ++i) {
    chart.x.ticks.push_back(i * b / 5);
    chart.y.ticks.push_back(i * b / 5);
  }
  chart.marks = {-b, b};
  const auto curve = [&](const char* name, ChartColour colour, bool dashed,
                         const std::function<double(double)>& f) {
    constexpr int kPoints = 400;
    ChartLine line{.name = name, .colour = colour, .dashed = dashed};
    for (int i = 0; i <= kPoints; ++i) {
      const double x = 1.3 * b * (2.0 * i / kPoints - 1);
      line.points.emplace_back(x, f(x));
    }
    chart.lines.push_back(std::move(line));
  };
  curve("ReLU", ChartColour::Grey, false, relu);
  curve("truncated fit", ChartColour::Orange, true,
        [&](double x) { return evaluateFit(request, rounded, x); });
  curve("quantised fit", ChartColour::Blue, false,
        [&](double x) { return evaluateFit(request, outcome.coefficients, x); });
  return toSvg(chart);
}

Result<FitOutcome> fitReluCached(const FitRequest& request, const fs::path& cacheFolder) {
  const fs::path file = cacheFolder.empty() ? fs::path() : cacheFolder / cacheName(request);
  FitOutcome outcome;
  if (!file.empty() && readCache(file, request, outcome)) return outcome;
  PILLARBOX_ASSIGN(outcome, fitPolynomial(request, relu));
  // An answer that ran into the time limit is not kept: another machine may do better.
  if (!file.empty() && outcome.optimal()) writeCache(file, request, outcome);
  return outcome;
}

fs::path defaultFitCache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache) {
    return fs::path(cache) / "pillarbox" / "fits";
  }
  if (const char* home = std::getenv("HOME"); home && *home) {
    return fs::path(home) / ".cache" / "pillarbox" / "fits";
  }
  return {};
}

}  // namespace pillarbox::models::pillar
