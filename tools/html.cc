#include "tools/html.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "engine/core/bytes.h"
#include "engine/core/error.h"

namespace vitrine::tools {
namespace {

// Two palettes, chosen by the reader's system; drawings take their ink from the page.
constexpr const char* kStyle =
    ":root{color-scheme:light dark;--ink:#222;--paper:#fff;--faint:#666;--rule:#ddd}"
    "@media(prefers-color-scheme:dark){:root{--ink:#ddd;--paper:#16181c;--faint:#999;--rule:#3a3d44}}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2em auto;padding:0 1em;color:var(--ink);background:var(--paper)}"
    "h1{font-size:1.6em;overflow-wrap:anywhere}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid var(--rule)}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0}"
    "th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid var(--rule);overflow-wrap:break-word;max-width:36em}"
    "th:first-child,td:first-child,.words{text-align:left}th{border-bottom:2px solid var(--faint)}"
    "td span{white-space:nowrap;font-size:.85em;color:var(--faint)}.wide{overflow-x:auto;margin:1em 0}"
    ".digest{overflow-wrap:anywhere;font-size:.85em}"
    "svg{width:100%;min-width:640px;max-width:860px;height:auto;color:var(--ink)}"
    "figure{margin:1em 0;overflow-x:auto}figcaption{color:var(--faint)}img{margin:1px;image-rendering:auto}"
    ".gallery{display:flex;flex-wrap:wrap;gap:14px}.gallery figure{margin:0;width:230px}"
    ".gallery figcaption{font-size:12px;line-height:1.3;overflow-wrap:anywhere}"
    "text{font:12px system-ui,sans-serif;fill:currentColor}";

// Okabe and Ito's colours, told apart by colour-blind readers too.
constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "currentColor", "#999999"};
constexpr double kWidth = 860, kHeight = 340, kLeft = 70, kRight = 170, kTop = 34, kBottom = 48;

std::string escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

// Text that its place may cut off: all of it is there under the mouse.
std::string with_title(const std::string& text) { return escape(text) + "<title>" + escape(text) + "</title>"; }

std::string number(double v) {
  std::ostringstream out;
  out << std::setprecision(5) << v;
  return out.str();
}

struct Axis {
  double low = 0, high = 1, from = 0, to = 1;  // data, then picture
  bool log = false;
  std::vector<double> ticks;

  double at(double v) const { return from + (to - from) * (place(v) - place(low)) / (place(high) - place(low)); }
  double place(double v) const { return log ? std::log10(v) : v; }

  void include(double v) { low = std::min(low, v), high = std::max(high, v); }

  // Round steps of 1, 2 or 5 times a power of ten; decades on a logarithmic axis.
  void finish() {
    const double size = std::max(std::abs(low), std::abs(high)), margin = size > 1e-300 ? size / 2 : 0.5;
    if (!(high - low > std::max(1e-9 * size, 1e-300)))
      low -= margin, high += margin;  // one value but for rounding, for which no tick has digits
    if (log) {
      for (double e = std::floor(std::log10(low)); e <= std::ceil(std::log10(high)); ++e) ticks.push_back(std::pow(10.0, e));
      low = ticks.front(), high = ticks.back();
      return;
    }
    double step = std::pow(10.0, std::floor(std::log10((high - low) / 5)));
    for (double factor : {1.0, 2.0, 5.0, 10.0})
      if ((high - low) / (step * factor) <= 6) {
        step *= factor;
        break;
      }
    const auto first = static_cast<int64_t>(std::floor(low / step)), last = static_cast<int64_t>(std::ceil(high / step));
    for (int64_t i = first; i <= last; ++i) ticks.push_back(static_cast<double>(i) * step);
    low = ticks.front(), high = ticks.back();
  }
};

bool drawable(const Plot& p, const Series& s, size_t i) {
  return std::isfinite(s.x[i]) && std::isfinite(s.y[i]) && (!p.log_x || s.x[i] > 0);
}

Axis fit(const Plot& p, bool horizontal) {
  Axis axis{INFINITY, -INFINITY, horizontal ? kLeft : kHeight - kBottom, horizontal ? kWidth - kRight : kTop, horizontal && p.log_x, {}};
  for (auto& s : p.series)
    for (size_t i = 0; i < s.x.size(); ++i)
      if (drawable(p, s, i)) axis.include(horizontal ? s.x[i] : s.y[i]);
  if (axis.low > axis.high) axis.low = axis.log ? 1 : 0, axis.high = axis.log ? 10 : 1;
  axis.finish();
  return axis;
}

void draw_axes(std::ostream& out, const Plot& p, const Axis& x, const Axis& y) {
  for (double t : x.ticks)
    out << "<line x1='" << x.at(t) << "' x2='" << x.at(t) << "' y1='" << y.from << "' y2='" << y.to
        << "' stroke='currentColor' stroke-opacity='.13'/><text x='" << x.at(t) << "' y='" << y.from + 18 << "' text-anchor='middle'>"
        << number(t) << "</text>";
  for (double t : y.ticks)
    out << "<line x1='" << x.from << "' x2='" << x.to << "' y1='" << y.at(t) << "' y2='" << y.at(t)
        << "' stroke='currentColor' stroke-opacity='.13'/><text x='" << x.from - 8 << "' y='" << y.at(t) + 4 << "' text-anchor='end'>"
        << number(t) << "</text>";
  out << "<text x='" << (x.from + x.to) / 2 << "' y='" << kHeight - 8 << "' text-anchor='middle'>" << escape(p.x_label)
      << "</text><text transform='translate(16 " << (y.from + y.to) / 2 << ") rotate(-90)' text-anchor='middle'>" << escape(p.y_label)
      << "</text><text x='" << x.from << "' y='18' style='font-weight:600;font-size:14px'>" << escape(p.title) << "</text>";
}

// Of series number i; behind the last colour they begin again, dashed.
struct Ink {
  const char *colour, *dash;
  explicit Ink(size_t i) : colour(kColours[i % std::size(kColours)]), dash(i < std::size(kColours) ? "" : " stroke-dasharray='6 3'") {}
};

void draw_series(std::ostream& out, const Plot& p, const Series& s, const Ink& ink, const Axis& x, const Axis& y) {
  const char* colour = ink.colour;
  std::string path;
  bool pen_down = false;
  for (size_t i = 0; i < s.x.size(); ++i) {
    if (drawable(p, s, i)) path += cat(pen_down ? "L" : "M", number(x.at(s.x[i])), " ", number(y.at(s.y[i])));
    pen_down = drawable(p, s, i);
  }
  if (s.filled && !path.empty())
    out << "<path d='" << path << "L" << number(x.at(s.x.back())) << " " << number(y.from) << "L" << number(x.at(s.x.front())) << " "
        << number(y.from) << "Z' fill='" << colour << "' fill-opacity='.22'/>";
  if (!s.attached) out << "<path d='" << path << "' fill='none' stroke='" << colour << "' stroke-width='1.8'" << ink.dash << "/>";
  for (size_t i = 0; (s.markers || s.attached) && i < s.x.size(); ++i)
    if (drawable(p, s, i))
      out << "<circle cx='" << x.at(s.x[i]) << "' cy='" << y.at(s.y[i]) << "' r='4' fill='" << colour << "'><title>" << escape(s.name)
          << ": " << number(s.x[i]) << ", " << number(s.y[i]) << "</title></circle>";
}

std::string base64(const std::string& bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) out += i + j <= bytes.size() ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::string figure(const Picture& p) {
  std::string out = "<figure>";
  for (auto& bytes : p.png) out += cat("<img alt='' src='data:image/png;base64,", base64(bytes), "'>");
  return out + cat("<figcaption>", escape(p.caption), "</figcaption></figure>\n");
}

bool is_number(const std::string& cell) { return cell != "-" && !cell.empty() && cell.find_first_of("0123456789+-.") == 0; }

// A number does not break; the deviation or the interval that follows keeps together, too, and steps back.
std::string cell_text(const std::string& cell) {
  if (!is_number(cell) || cell.size() > 40) return escape(cell);
  const size_t rest = std::min(cell.find(" +- "), cell.ends_with(')') ? cell.find(" (") : cell.npos);
  std::string text = escape(cell.substr(0, rest));
  for (size_t at = text.find(' '); at != text.npos; at = text.find(' ', at)) text.replace(at, 1, "&nbsp;");
  if (rest == cell.npos) return text;
  std::string behind = cell.substr(rest + 1);
  if (behind.starts_with("+-")) behind.replace(0, 2, "\u00b1");
  return cat(text, " <span>", escape(behind), "</span>");
}

}  // namespace

HtmlPage::HtmlPage(std::string title) : title_(std::move(title)) {}

void HtmlPage::heading(const std::string& t) { body_ += cat("<h2>", escape(t), "</h2>\n"); }
void HtmlPage::text(const std::string& t) { body_ += cat("<p>", escape(t), "</p>\n"); }

void HtmlPage::table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<bool> words(header.size());  // columns that begin with a word are read from the left, as the first one is
  for (size_t i = 1; i < header.size(); ++i)
    for (auto& row : rows)
      if (i < row.size() && row[i] != "-") {
        words[i] = !is_number(row[i]);
        break;
      }
  auto line = [&](const std::vector<std::string>& cells, const char* tag) {
    body_ += "<tr>";
    for (size_t i = 0; i < cells.size(); ++i) {
      const bool unbreakable = cells[i].size() > 40 && cells[i].find(' ') == std::string::npos;
      const bool left = i < words.size() && words[i];
      body_ += cat("<", tag, unbreakable ? " class='words digest'>" : left ? " class='words'>" : ">", cell_text(cells[i]), "</", tag, ">");
    }
    body_ += "</tr>\n";
  };
  body_ += "<div class='wide'><table>";
  if (std::any_of(header.begin(), header.end(), [](auto& h) { return !h.empty(); })) line(header, "th");
  for (auto& row : rows) line(row, "td");
  body_ += "</table></div>\n";
}

void HtmlPage::plot(const Plot& p) {
  std::ostringstream out;
  const Axis x = fit(p, true), y = fit(p, false);
  out << "<figure><svg viewBox='0 0 " << kWidth << " " << kHeight << "' width='" << kWidth << "' role='img'>";
  draw_axes(out, p, x, y);
  size_t legend = 0;
  for (const Series& s : p.series) {
    CHECK(s.x.size() == s.y.size(), "plot ", p.title, ", ", s.name, ": ", s.x.size(), " x and ", s.y.size(), " y");
    if (s.attached) {
      draw_series(out, p, s, Ink(std::max<size_t>(legend, 1) - 1), x, y);
      continue;
    }
    const Ink ink(legend);
    draw_series(out, p, s, ink, x, y);
    const double row = kTop + 10 + 18 * static_cast<double>(legend++);
    out << "<path d='M" << kWidth - kRight + 14 << " " << row - 6 << "h14' stroke='" << ink.colour << "' stroke-width='4'" << ink.dash
        << "/><text x='" << kWidth - kRight + 34 << "' y='" << row << "'>" << with_title(s.name) << "</text>";
  }
  out << "</svg></figure>\n";
  body_ += out.str();
}

void HtmlPage::strips(const std::vector<Strip>& all) {
  constexpr double kRow = 20, kBegin = 230, kSpan = 480;
  std::ostringstream out;
  out << "<figure><svg viewBox='0 0 " << kWidth << " " << kRow * static_cast<double>(all.size()) << "' width='" << kWidth
      << "' role='img'>";
  for (size_t row = 0; row < all.size(); ++row) {
    const Strip& s = all[row];
    const double y = kRow * static_cast<double>(row), cell = kSpan / static_cast<double>(s.filled.size());
    out << "<text x='0' y='" << y + 14 << "'>" << with_title(s.name) << "</text><text x='" << kBegin + kSpan + 10 << "' y='" << y + 14
        << "'>" << escape(s.note) << "</text><rect x='" << kBegin << "' y='" << y + 3 << "' width='" << kSpan
        << "' height='14' fill='currentColor' fill-opacity='.1'/><path fill='" << kColours[0] << "' d='";
    for (size_t i = 0, end; i < s.filled.size(); i = end) {  // runs of filled cells
      for (end = i + 1; end < s.filled.size() && s.filled[end] == s.filled[i];) ++end;
      if (s.filled[i])
        out << "M" << number(kBegin + cell * static_cast<double>(i)) << " " << y + 3 << "h" << number(cell * static_cast<double>(end - i))
            << "v14h" << number(-cell * static_cast<double>(end - i)) << "z";
    }
    out << "'/>";
  }
  out << "</svg></figure>\n";
  body_ += out.str();
}

void HtmlPage::images(const std::vector<std::string>& png, const std::string& caption) { body_ += figure({png, caption}); }

void HtmlPage::gallery(const std::vector<Picture>& all) {
  body_ += "<div class='gallery'>";
  for (auto& picture : all) body_ += figure(picture);
  body_ += "</div>\n";
}

void HtmlPage::save(const std::string& path) const {
  save_bytes(path, [&](std::ostream& out) {
    out << "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>"
        << escape(title_) << "</title><style>" << kStyle << "</style><h1>" << escape(title_) << "</h1>\n"
        << body_ << "</html>\n";
  });
}

}  // namespace vitrine::tools
