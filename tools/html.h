// A self-contained HTML page of text, tables and line plots (inline SVG, no script, nothing fetched), light or dark as
// the reader's system is.
#pragma once
#include <string>
#include <vector>

namespace vitrine::tools {

struct Series {
  std::string name;
  std::vector<double> x, y;  // equally long; points that are not finite are left out, and break the line
  bool markers = false;      // dots that tell their values when pointed at, instead of a bare line
  bool filled = false;       // the area down to the axis, too
  bool attached = false;     // dots on the series before: its colour, no line, no legend
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool log_x = false;  // x > 0
};

// A row of cells, filled or not: which channels of a layer stay.
struct Strip {
  std::string name, note;
  std::vector<bool> filled;
};

struct Picture {
  std::vector<std::string> png;  // files' bytes, side by side
  std::string caption;
};

class HtmlPage {
 public:
  explicit HtmlPage(std::string title);
  void heading(const std::string&);
  void text(const std::string&);
  void table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);
  void plot(const Plot&);
  void strips(const std::vector<Strip>&);
  void images(const std::vector<std::string>& png, const std::string& caption);  // PNG files' bytes, embedded
  void gallery(const std::vector<Picture>&);                                     // as many to a row as fit
  void save(const std::string& path) const;                                      // whole or not at all

 private:
  std::string title_, body_;
};

}  // namespace vitrine::tools
