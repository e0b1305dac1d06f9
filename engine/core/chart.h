// Charts as SVG documents: lines over two axes, and horizontal bars in groups. Plain files,
// readable in light and dark surroundings, for reports of programs that have no display.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pillarbox {

struct ChartAxis {
  std::string label;
  bool logarithmic = false;
  /// What the axis covers; without it, what the values need. Lines are cut off outside.
  std::optional<std::pair<double, double>> range;
  /// Where grid lines with numbers are; without any, at round numbers.
  std::vector<double> ticks;
};

/// The colours that series may have; the same meaning in all charts of one report is up to them.
enum class ChartColour { Grey, Blue, Orange, Green, Purple, Red };

struct ChartLine {
  std::string name;
  ChartColour colour = ChartColour::Blue;
  bool dashed = false;
  bool dots = false;  ///< marks every point
  std::vector<std::pair<double, double>> points;
};

struct LineChart {
  std::string title;
  std::string note;  ///< small, at the upper right
  ChartAxis x, y;
  std::vector<ChartLine> lines;
  std::vector<double> marks;  ///< dotted vertical lines
};

/// The document, 720 x 480 units. Values that are not finite, or not positive on a logarithmic
/// axis, interrupt their line.
std::string toSvg(const LineChart& chart);

struct BarGroup {
  std::string label;
  std::vector<double> values;  ///< one for each of the chart's bars; not finite: no bar
};

struct BarChart {
  std::string title;
  std::string note;
  std::string valueLabel;  ///< with the unit
  bool logarithmic = false;
  std::vector<std::pair<std::string, ChartColour>> bars;  ///< what the bars of a group are
  std::vector<BarGroup> groups;
};

/// The document, 720 units wide and as high as the bars need.
std::string toSvg(const BarChart& chart);

}  // namespace pillarbox
