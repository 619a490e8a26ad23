#include <filesystem>

#include "engine/core/error.h"
#include "eval/lines.h"
#include "eval/pair_builder.h"

namespace vitrine::eval {
namespace {

constexpr int kFolds = 10;

// Pair_list_X.txt: path i at index i - 1, relative to the data set's root.
std::vector<std::string> read_paths(const std::string& file) {
  const std::string text = read_text(file);
  std::vector<std::string> paths;
  for (const Line& line : split_lines(text, file)) {
    const std::string where = cat(file, ":", line.number, ": ");
    CHECK(line.count == 2, where, line.count, " fields, expected 'index path'");
    const int next = static_cast<int>(paths.size()) + 1;
    parse_number(line.fields[0], next, next, where);
    std::string_view path = line.fields[1];
    if (path.starts_with("../")) path.remove_prefix(3);  // as seen from Protocol
    check_path(path, where);
    paths.emplace_back(path);
  }
  CHECK(!paths.empty(), file, ": empty, expected lines 'index path'");
  return paths;
}

void read_split(PairBuilder& builder, const std::string& file, const std::vector<std::string>& a, const std::vector<std::string>& b,
                bool same, int fold) {
  const std::string text = read_text(file);
  const auto lines = split_lines(text, file);
  CHECK(!lines.empty(), file, ": empty, expected lines 'i,j'");
  for (const Line& line : lines) {
    const std::string where = cat(file, ":", line.number, ": ");
    const size_t comma = line.fields[0].find(',');
    CHECK(line.count == 1 && comma != std::string_view::npos, where, excerpt(line.fields[0]), ", expected 'i,j'");
    const int i = parse_number(line.fields[0].substr(0, comma), 1, static_cast<int>(a.size()), where);
    const int j = parse_number(line.fields[0].substr(comma + 1), 1, static_cast<int>(b.size()), where);
    builder.add(file, line.number, a[i - 1], b[j - 1], same, fold);
  }
}

}  // namespace

PairList read_cfp(const std::string& root, CfpKind kind) {
  const std::filesystem::path protocol = std::filesystem::path(root) / "Protocol";
  const bool profile = kind == CfpKind::kFrontalProfile;
  const auto frontal = read_paths((protocol / "Pair_list_F.txt").string());
  const auto other = profile ? read_paths((protocol / "Pair_list_P.txt").string()) : frontal;
  PairBuilder builder;
  builder.list.name = profile ? "cfp-fp" : "cfp-ff";
  builder.list.folds = kFolds;
  for (int fold = 0; fold < kFolds; ++fold) {
    const auto folder = protocol / "Split" / (profile ? "FP" : "FF") / cat(fold < 9 ? "0" : "", fold + 1);
    for (bool same : {true, false}) read_split(builder, (folder / (same ? "same.txt" : "diff.txt")).string(), frontal, other, same, fold);
  }
  check_balance(builder.list, (protocol / "Split").string());
  return std::move(builder.list);
}

}  // namespace vitrine::eval
