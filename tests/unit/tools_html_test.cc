// Pages: what is put in comes out, escaped, and nothing is fetched from elsewhere.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/unit/data_testing.h"
#include "tools/html.h"

namespace vitrine::tools {
namespace {

std::string saved(const HtmlPage& page) {
  const data::Scratch scratch;
  page.save(scratch / "page.html");
  return read_file(scratch / "page.html");
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(HtmlPage, TextIsEscaped) {
  HtmlPage page("a < b");
  page.text("x & \"y\" <script>");
  page.table({"<h>"}, {{"1 < 2"}});
  const std::string html = saved(page);
  for (const char* part : {"<h1>a &lt; b</h1>", "x &amp; &quot;y&quot; &lt;script>", "<th>&lt;h></th>", "<td>1&nbsp;&lt;&nbsp;2</td>"})
    EXPECT_TRUE(contains(html, part)) << part;
  for (const char* part : {"<script", "http:", "https:", "src='//"}) EXPECT_FALSE(contains(html, part)) << part;
}

TEST(HtmlPage, ColumnsOfWordsAreReadFromTheLeftAndNumbersKeepTogether) {
  HtmlPage page("");
  page.table({"name", "setting", "rate"},
             {{"a", "-", "-"}, {"b", "EKD (all)", "86.50 (81.07-90.55)"}, {"c", "6", "1 +- 2"}, {"d", "6", "3 - 4"}});
  page.table({"", ""}, {{"sha256", std::string(64, 'f')}});
  const std::string html = saved(page);
  for (const char* part : {"<th class='words'>setting</th><th>rate</th>", "<td class='words'>EKD (all)</td>", "<td>-</td>",
                           "<td>86.50 <span>(81.07-90.55)</span></td>", "<td>1 <span>\u00b1 2</span></td>", "<td>3&nbsp;-&nbsp;4</td>",
                           "<td class='words digest'>ffff"})
    EXPECT_TRUE(contains(html, part)) << part << html;
  EXPECT_FALSE(contains(html, "<th></th>"));
}

TEST(HtmlPage, PlotsSpanTheirDataAndBreakAtValuesThatAreNone) {
  HtmlPage page("");
  page.plot({"t", "x", "y", {{"s", {0, 10, 20, 30}, {0, 5, NAN, 10}}}});
  const std::string html = saved(page);
  // the plot's corners: 70 and 690 across, 292 and 34 down
  EXPECT_TRUE(contains(html, "d='M70 292L276.67 163M690 34'")) << html;
  EXPECT_FALSE(contains(html, "nan"));
}

// A mean of equal numbers may differ from them in its last bit.
TEST(HtmlPage, ValuesThatDifferByRoundingHaveAnAxisOfOneValue) {
  HtmlPage page("");
  for (double v : {0.001, -3e7, 1e300, 5e-320}) page.plot({"t", "x", "y", {{"s", {1, 2}, {v, std::nextafter(v, 1e308)}}}});
  const std::string html = saved(page);
  EXPECT_LT(html.size(), 20'000u);
  EXPECT_TRUE(contains(html, ">0.001<")) << html;
  EXPECT_FALSE(contains(html, "nan"));
}

TEST(HtmlPage, LogarithmicAxesLeaveOutZeroAndEmptyPlotsAreDrawn) {
  HtmlPage page("");
  page.plot({"t", "x", "y", {{"s", {0, 1, 10, 100}, {1, 0, 5, 10}}}, true});
  page.plot({"t", "x", "y", {}});
  page.plot({"t", "x", "y", {{"one point", {3}, {4}, true}}});
  const std::string html = saved(page);
  EXPECT_TRUE(contains(html, "d='M70 292L380 163L690 34'")) << html;
  EXPECT_TRUE(contains(html, "<title>one point: 3, 4</title>"));
}

TEST(HtmlPage, ImagesAreEmbeddedAsBase64) {
  for (const auto& [bytes, text] : std::map<std::string, std::string>{
           {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe\xfd", "//79"}}) {
    HtmlPage page("");
    page.images({bytes}, "");
    EXPECT_TRUE(contains(saved(page), "base64," + text + "'")) << text;
  }
}

}  // namespace
}  // namespace vitrine::tools
