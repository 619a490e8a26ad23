#include "tools/claims.h"

#include <cstdio>
#include <set>

#include "engine/core/error.h"
#include "eval/report.h"

namespace vitrine::tools {
namespace {

const char* name(Measure m) {
  constexpr const char* kNames[] = {"parameters, M", "size, MB", "LFW, %",           "CALFW, %",
                                    "CPLFW, %",      "SLLFW, %", "IJB-C at 1e-5, %", "IJB-C at 1e-4, %"};
  return kNames[static_cast<int>(m)];
}

std::string fixed(double v, const char* pattern = "%.2f") {
  char text[32];
  std::snprintf(text, sizeof text, pattern, v);
  return text;
}

}  // namespace

Measured measured_rate(double rate, const eval::Interval& i) { return {100 * rate, eval::Interval{100 * i.low, 100 * i.high}}; }

Json compare_with_paper(int table, const Measurement& measure, HtmlPage& page) {
  const std::vector<std::string> header{"network", "setting", "measure", "paper", "ours", "difference", "95 % interval"};
  std::vector<std::vector<std::string>> cells;
  std::set<int> notes;
  Json list = Json::array();
  for (const PaperRow& row : paper_rows())
    for (const Claim& claim : row.table == table ? row.claims : std::vector<Claim>()) {
      const auto ours = measure(row, claim.measure);
      if (claim.note > 0) notes.insert(claim.note);
      Json j{{"network", row.network}, {"setting", row.setting}, {"measure", name(claim.measure)}, {"paper", claim.value}};
      cells.push_back({row.network, row.setting, name(claim.measure),
                       fixed(claim.value) + (claim.note > 0 ? cat(" [", claim.note, "]") : ""), "-", "-", "not measured"});
      if (ours) {
        j["ours"] = ours->value, j["difference"] = ours->value - claim.value;
        cells.back()[4] = fixed(ours->value), cells.back()[5] = fixed(ours->value - claim.value, "%+.2f"), cells.back()[6] = "counted";
      }
      if (ours && ours->interval) {
        const auto [low, high] = *ours->interval;
        const bool inside = low <= claim.value && claim.value <= high;
        j["interval95"] = {low, high}, j["inside"] = inside;
        cells.back()[6] = cat(fixed(low), " - ", fixed(high), inside ? ": inside" : ": outside");
      }
      list.push_back(std::move(j));
    }
  say() << eval::aligned(header, cells, 3);
  page.table(header, cells);
  for (int note : notes) {
    const std::string line = cat("[", note, "] ", audit_note(note));
    say() << line << "\n";
    page.text(line);
  }
  return list;
}

}  // namespace vitrine::tools
