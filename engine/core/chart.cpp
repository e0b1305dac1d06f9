#include "engine/core/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <tuple>

namespace pillarbox {

namespace {

constexpr double kWidth = 720, kHeight = 480;
constexpr double kLeft = 68, kRight = 20, kTop = 56, kBottom = 52;

constexpr const char* kStyle =
    "  <style>\n"
    "    svg { background: #ffffff } text { fill: #202124 } .axis { stroke: #5f6368 }\n"
    "    .grid { stroke: #dadce0 } .c0 { --c: #5f6368 } .c1 { --c: #1a5fb4 } .c2 { --c: #b26a00 }\n"
    "    .c3 { --c: #1e7b3a } .c4 { --c: #7b3fa0 } .c5 { --c: #b3261e }\n"
    "    .line { stroke: var(--c); fill: none } .fill { fill: var(--c) }\n"
    "    @media (prefers-color-scheme: dark) {\n"
    "      svg { background: #1e1f22 } text { fill: #e8eaed } .grid { stroke: #3c4043 }\n"
    "      .axis { stroke: #9aa0a6 } .c0 { --c: #9aa0a6 } .c1 { --c: #78aeff }\n"
    "      .c2 { --c: #f5b14c } .c3 { --c: #6fcf8b } .c4 { --c: #c79be8 } .c5 { --c: #f2867d }\n"
    "    }\n"
    "  </style>\n";

std::string fixed(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '&':
        result += "&amp;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string text(double x, double y, const char* anchor, const std::string& content,
                 const std::string& more = {}) {
  return "  <text x=\"" + fixed(x, 1) + "\" y=\"" + fixed(y, 1) + "\" text-anchor=\"" + anchor +
         "\"" + more + ">" + escaped(content) + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const std::string& style) {
  return "  <line x1=\"" + fixed(x1, 1) + "\" y1=\"" + fixed(y1, 1) + "\" x2=\"" + fixed(x2, 1) +
         "\" y2=\"" + fixed(y2, 1) + "\" " + style + "/>\n";
}

std::string colourClass(ChartColour colour) {
  return "c" + std::to_string(static_cast<int>(colour));
}

std::string opening(const std::string& title, const std::string& note, double height) {
  const std::string size = fixed(kWidth, 0) + " " + fixed(height, 0);
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + size + "\" width=\"" +
         fixed(kWidth, 0) + "\" height=\"" + fixed(height, 0) +
         "\" font-family=\"sans-serif\" font-size=\"13\">\n  <title>" + escaped(title) +
         "</title>\n" + kStyle + text(kLeft, 20, "start", title, " font-weight=\"bold\"") +
         text(kWidth - kRight, 20, "end", note);
}

/// Where a value lies on an axis, 0 to 1, and where its numbers are.
class Scale {
 public:
  Scale(const ChartAxis& axis, const std::vector<double>& values) : m_log(axis.logarithmic) {
    double low = INFINITY, high = -INFINITY;
    for (const double value : values) {
      if (!usable(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
    if (axis.range) std::tie(low, high) = *axis.range;
    if (!(low <= high)) low = high = 1;
    if (!axis.range) {
      if (m_log) {
        low = std::pow(10, std::floor(std::log10(low) + 1e-9));
        high = std::pow(10, std::ceil(std::log10(high) - 1e-9));
        if (high <= low) high = 10 * low;
      } else {
        low = std::min(low, 0.0);
        if (high <= low) high = low + 1;
        const double step = roundStep(high - low);
        low = step * std::floor(low / step);
        high = step * std::ceil(high / step - 1e-9);
      }
    }
    m_low = map(low);
    m_high = map(high);
    m_ticks = axis.ticks;
    if (m_ticks.empty() && m_log) {
      for (double tick = low; tick <= high * 1.001; tick *= 10) m_ticks.push_back(tick);
    } else if (m_ticks.empty()) {
      const double step = roundStep(high - low);
      for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i) {
        m_ticks.push_back(i * step);
      }
    }
  }

  bool usable(double value) const { return std::isfinite(value) && (!m_log || value > 0); }
  bool inside(double value) const {
    return usable(value) && at(value) >= -1e-9 && at(value) <= 1 + 1e-9;
  }
  double at(double value) const { return (map(value) - m_low) / (m_high - m_low); }
  const std::vector<double>& ticks() const { return m_ticks; }

 private:
  double map(double value) const { return m_log ? std::log10(value) : value; }
  /// 1, 2 or 5 times a power of ten, about a sixth of `span`.
  static double roundStep(double span) {
    const double power = std::pow(10, std::floor(std::log10(span / 5)));
    const double factor = span / 5 / power;
    return power * (factor < 1.5 ? 1 : factor < 3.5 ? 2 : factor < 7.5 ? 5 : 10);
  }

  bool m_log;
  double m_low, m_high;
  std::vector<double> m_ticks;
};

}  // namespace

std::string toSvg(const LineChart& chart) {
  std::vector<double> xs, ys;
  for (const ChartLine& series : chart.lines) {
    for (const auto& [x, y] : series.points) {
      xs.push_back(x);
      ys.push_back(y);
    }
  }
  const Scale scaleX(chart.x, xs), scaleY(chart.y, ys);
  const double left = kLeft, right = kWidth - kRight, top = kTop, bottom = kHeight - kBottom;
  const auto px = [&](double x) { return left + scaleX.at(x) * (right - left); };
  const auto py = [&](double y) { return bottom - scaleY.at(y) * (bottom - top); };

  std::string svg = opening(chart.title, chart.note, kHeight);
  for (const double tick : scaleX.ticks()) {
    if (!scaleX.inside(tick)) continue;
    const char* style = tick == 0 ? "class=\"axis\"" : "class=\"grid\"";
    svg += line(px(tick), top, px(tick), bottom, style);
    svg += text(px(tick), bottom + 18, "middle", number(tick));
  }
  for (const double tick : scaleY.ticks()) {
    if (!scaleY.inside(tick)) continue;
    const char* style = tick == 0 ? "class=\"axis\"" : "class=\"grid\"";
    svg += line(left, py(tick), right, py(tick), style);
    svg += text(left - 8, py(tick) + 4, "end", number(tick));
  }
  for (const double mark : chart.marks) {
    svg += line(px(mark), top, px(mark), bottom, "class=\"axis\" stroke-dasharray=\"2 4\"");
  }
  svg += text((left + right) / 2, kHeight - 12, "middle", chart.x.label);
  const double middle = (top + bottom) / 2;
  svg += text(16, middle, "middle", chart.y.label,
              " transform=\"rotate(-90 16 " + fixed(middle, 1) + ")\"");

  double legend = left;
  for (const ChartLine& series : chart.lines) {
    const std::string style = "class=\"line " + colourClass(series.colour) +
                              "\" stroke-width=\"2\"" +
                              (series.dashed ? " stroke-dasharray=\"7 5\"" : "");
    std::string path, dots;
    bool pen = false;
    for (const auto& [x, y] : series.points) {
      const bool inside = scaleX.inside(x) && scaleY.inside(y);
      if (inside) {
        path += (pen ? " L" : " M") + fixed(px(x), 1) + " " + fixed(py(y), 1);
        if (series.dots) {
          dots += "  <circle class=\"fill " + colourClass(series.colour) + "\" cx=\"" +
                  fixed(px(x), 1) + "\" cy=\"" + fixed(py(y), 1) + "\" r=\"3.5\"/>\n";
        }
      }
      pen = inside;
    }
    if (!path.empty()) svg += "  <path " + style + " d=\"" + path.substr(1) + "\"/>\n" + dots;
    svg += line(legend, 40, legend + 26, 40, style);
    svg += text(legend + 32, 44, "start", series.name);
    legend += 48 + 7.0 * static_cast<double>(series.name.size());
  }
  return svg + "</svg>\n";
}

std::string toSvg(const BarChart& chart) {
  constexpr double kBar = 16, kGap = 12;
  const double left = 150, right = kWidth - 80;
  const double group = kBar * static_cast<double>(chart.bars.size()) + kGap;
  const double bottom = kTop + group * static_cast<double>(chart.groups.size());
  const double height = bottom + kBottom;
  std::vector<double> values;
  for (const BarGroup& bars : chart.groups) {
    values.insert(values.end(), bars.values.begin(), bars.values.end());
  }
  const Scale scale({.label = {}, .logarithmic = chart.logarithmic}, values);
  const auto px = [&](double value) { return left + scale.at(value) * (right - left); };

  std::string svg = opening(chart.title, chart.note, height);
  for (const double tick : scale.ticks()) {
    svg += line(px(tick), kTop, px(tick), bottom, "class=\"grid\"");
    svg += text(px(tick), bottom + 18, "middle", number(tick));
  }
  svg += text((left + right) / 2, height - 12, "middle", chart.valueLabel);
  double legend = left;
  for (const auto& [name, colour] : chart.bars) {
    svg += "  <rect class=\"fill " + colourClass(colour) + "\" x=\"" + fixed(legend, 1) +
           "\" y=\"34\" width=\"12\" height=\"12\"/>\n";
    svg += text(legend + 18, 44, "start", name);
    legend += 34 + 7.0 * static_cast<double>(name.size());
  }
  double y = kTop + kGap / 2;
  for (const BarGroup& bars : chart.groups) {
    svg += text(left - 8, y + (group - kGap) / 2 + 4, "end", bars.label);
    for (std::size_t i = 0; i < chart.bars.size() && i < bars.values.size(); ++i) {
      const double value = bars.values[i];
      const double barY = y + kBar * static_cast<double>(i);
      if (!scale.usable(value)) continue;
      svg += "  <rect class=\"fill " + colourClass(chart.bars[i].second) + "\" x=\"" +
             fixed(left, 1) + "\" y=\"" + fixed(barY + 1, 1) + "\" width=\"" +
             fixed(std::max(0.0, px(value) - left), 1) + "\" height=\"" + fixed(kBar - 2, 1) +
             "\"/>\n";
      svg += text(px(value) + 5, barY + kBar - 4, "start", number(value));
    }
    y += group;
  }
  svg += line(left, kTop, left, bottom, "class=\"axis\"");
  return svg + "</svg>\n";
}

}  // namespace pillarbox
