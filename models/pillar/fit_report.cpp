#include "models/pillar/fit_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

#include <nlohmann/json.hpp>

namespace pillarbox::models::pillar {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kWidth = 720, kHeight = 480;
constexpr double kLeft = 60, kRight = 20, kTop = 48, kBottom = 44;

std::string fixed(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

struct Frame {
  double x0, x1, y0, y1;
  double px(double x) const { return kLeft + (x - x0) / (x1 - x0) * (kWidth - kLeft - kRight); }
  double py(double y) const {
    return kHeight - kBottom - (y - y0) / (y1 - y0) * (kHeight - kTop - kBottom);
  }
};

std::string curve(const Frame& frame, const std::function<double(double)>& f,
                  const std::string& style) {
  constexpr int kPoints = 400;
  std::string path;
  bool pen = false;
  for (int i = 0; i <= kPoints; ++i) {
    const double x = frame.x0 + (frame.x1 - frame.x0) * i / kPoints;
    const double y = f(x);
    const bool inside = y >= frame.y0 && y <= frame.y1;
    if (inside) {
      path += (pen ? " L" : " M") + fixed(frame.px(x), 1) + " " + fixed(frame.py(y), 1);
    }
    pen = inside;
  }
  return "  <path fill=\"none\" " + style + " d=\"" + path + "\"/>\n";
}

std::string text(double x, double y, const std::string& anchor, const std::string& content) {
  return "  <text x=\"" + fixed(x, 1) + "\" y=\"" + fixed(y, 1) + "\" text-anchor=\"" + anchor +
         "\">" + content + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const std::string& style) {
  return "  <line x1=\"" + fixed(x1, 1) + "\" y1=\"" + fixed(y1, 1) + "\" x2=\"" + fixed(x2, 1) +
         "\" y2=\"" + fixed(y2, 1) + "\" " + style + "/>\n";
}

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
  const Frame frame{-1.3 * b, 1.3 * b, -0.25 * b, 1.3 * b};
  const std::vector<std::int64_t> rounded = roundedCoefficients(request, outcome);
  std::string svg =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 480\" width=\"720\" "
      "height=\"480\" font-family=\"sans-serif\" font-size=\"13\">\n"
      "  <title>ReLU and its polynomial of degree " +
      std::to_string(request.degree) +
      "</title>\n"
      "  <style>\n"
      "    svg { background: #ffffff } text { fill: #202124 } .axis { stroke: #5f6368 }\n"
      "    .grid { stroke: #dadce0 } .relu { stroke: #5f6368 } .rounded { stroke: #b26a00 }\n"
      "    .fit { stroke: #1a5fb4 }\n"
      "    @media (prefers-color-scheme: dark) {\n"
      "      svg { background: #1e1f22 } text { fill: #e8eaed } .grid { stroke: #3c4043 }\n"
      "      .axis, .relu { stroke: #9aa0a6 } .rounded { stroke: #f5b14c } .fit { stroke: #78aeff "
      "}\n"
      "    }\n"
      "  </style>\n";
  const double left = kLeft, right = kWidth - kRight, top = kTop, bottom = kHeight - kBottom;
  // Five ticks to the range, at round numbers where the range is one.
  const double tick = b / 5;
  const int digits = std::abs(tick - std::round(tick)) < 1e-9 ? 0 : 1;
  for (int i = -6; i <= 6; ++i) {
    const double v = i * tick;
    svg += line(frame.px(v), top, frame.px(v), bottom, "class=\"grid\"");
    svg += text(frame.px(v), bottom + 18, "middle", fixed(v, digits));
    if (v < frame.y0) continue;
    svg += line(left, frame.py(v), right, frame.py(v), "class=\"grid\"");
    svg += text(left - 8, frame.py(v) + 4, "end", fixed(v, digits));
  }
  svg += line(left, frame.py(0), right, frame.py(0), "class=\"axis\"");
  svg += line(frame.px(0), top, frame.px(0), bottom, "class=\"axis\"");
  for (const double edge : {-b, b}) {
    svg += line(frame.px(edge), top, frame.px(edge), bottom,
                "class=\"axis\" stroke-dasharray=\"2 4\"");
  }
  svg += curve(frame, relu, "class=\"relu\" stroke-width=\"2\"");
  svg += curve(
      frame, [&](double x) { return evaluateFit(request, rounded, x); },
      "class=\"rounded\" stroke-width=\"2\" stroke-dasharray=\"7 5\"");
  svg += curve(
      frame, [&](double x) { return evaluateFit(request, outcome.coefficients, x); },
      "class=\"fit\" stroke-width=\"2\"");
  const std::pair<const char*, const char*> legend[] = {
      {"class=\"relu\"", "ReLU"},
      {"class=\"rounded\" stroke-dasharray=\"7 5\"", "truncated fit"},
      {"class=\"fit\"", "quantised fit"}};
  double x = left;
  for (const auto& [style, name] : legend) {
    svg += line(x, 28, x + 30, 28, std::string(style) + " stroke-width=\"2\"");
    svg += text(x + 38, 32, "start", name);
    x += 160;
  }
  svg += text(right, 32, "end",
              "degree " + std::to_string(request.degree) + ", " +
                  std::to_string(request.fractionBits) + " bits, range " + fixed(b, digits));
  return svg + "</svg>\n";
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
