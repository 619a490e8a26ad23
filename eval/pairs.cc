#include "eval/pairs.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>

#include "engine/core/error.h"
#include "eval/lines.h"
#include "eval/pair_builder.h"

namespace vitrine::eval {
namespace {

constexpr int kMaxFolds = 1000;
constexpr int kMaxPairsPerClass = 100'000;  // in one fold: keeps every product of counts far inside an int64
constexpr int kMaxImageNumber = 999'999;
constexpr int kCplfwFolds = 10;
constexpr int kContiguousFolds = 10;  // of a list without any: kFolds of verify.h

// Contiguous blocks of one class in file order, whatever lies between its pairs.
void deal_out(PairList& list, bool same) {
  auto in_class = [same](const Pair& pair) { return pair.same == same; };
  auto count = std::count_if(list.pairs.begin(), list.pairs.end(), in_class);
  auto fold = contiguous_folds(count, list.folds);
  size_t next = 0;
  for (Pair& pair : list.pairs) {
    if (in_class(pair)) pair.fold = fold[next++];
  }
}

// One list being read. A format's function adds the pairs in file order, then gives out the folds; whatever a format leaves
// unchecked (paths, repetitions, balance) is checked where all of them pass.
class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : file_(file), lines_(split_lines(text, file)) {
    CHECK(!lines_.empty(), file_, ": empty, expected a list of pairs");
    list_.name = std::filesystem::path(file).stem().string();
  }

  PairList parse(PairFormat format) {
    if (format == PairFormat::kAuto) format = detect();
    if (format == PairFormat::kLfw) parse_lfw();
    if (format == PairFormat::kSllfw) parse_sllfw();
    if (format == PairFormat::kCalfw || format == PairFormat::kCplfw) parse_labelled(format);
    if (list_.folds == 1) list_.folds = 0;  // one fold leaves nothing to train a threshold on
    return std::move(list_);
  }

 private:
  std::string at(int line) const { return cat(file_, ":", line, ": "); }

  // The first line tells the formats apart, but CALFW and CPLFW only differ in tokens that come later.
  PairFormat detect() const {
    const Line& first = lines_[0];
    const auto& fields = first.fields;
    if (first.count >= 3 || (is_number(fields[0]) && (first.count == 1 || is_number(fields[1])))) return PairFormat::kLfw;
    if (first.count == 2) {
      auto is_fold = [](const Line& line) { return is_number(line.fields[1]) && line.fields[1] != "0" && line.fields[1] != "1"; };
      return std::any_of(lines_.begin(), lines_.end(), is_fold) ? PairFormat::kCalfw : PairFormat::kCplfw;
    }
    CHECK(fields[0].find('/') != fields[0].npos, at(first.number), excerpt(fields[0]),
          " begins no known list, expected LFW (\"10 300\"), SLLFW (\"name/file\"), CALFW or CPLFW (\"file label\")");
    return PairFormat::kSllfw;
  }

  void parse_lfw() {
    size_t i = 0;
    bool titles = lines_[0].count >= 2 && !is_number(lines_[0].fields[1]);
    if (titles) ++i;
    int folds = 0, per_class = 0;
    if (i < lines_.size() && lines_[i].count <= 2) {
      const Line& header = lines_[i++];
      folds = header.count == 2 ? parse_number(header.fields[0], 2, kMaxFolds, at(header.number)) : 1;
      per_class = parse_number(header.fields[header.count - 1], 1, kMaxPairsPerClass, at(header.number));
    }
    for (; i < lines_.size(); ++i) add_lfw(lines_[i]);
    assign_blocks(folds, per_class);
  }

  // The number of fields is the label. That a title line is no pair was decided before: damage never turns a pair into a title
  // unnoticed, since the counts would no longer add up.
  void add_lfw(const Line& line) {
    const auto& f = line.fields;
    CHECK(line.count >= 3, at(line.number), line.count, " fields, expected 'name i j' or 'nameA i nameB j'");
    if (line.count == 4) {
      CHECK(f[0] != f[2], at(line.number), excerpt(f[0]), " twice in a different pair, expected two names");
      add(line.number, lfw_image(f[0], f[1], line), lfw_image(f[2], f[3], line), false);
    } else {
      add(line.number, lfw_image(f[0], f[1], line), lfw_image(f[0], f[2], line), true);
    }
  }

  std::string lfw_image(std::string_view name, std::string_view number, const Line& line) const {
    CHECK(name.find('/') == name.npos, at(line.number), excerpt(name), ", expected a name without '/'");
    char digits[16];
    std::snprintf(digits, sizeof digits, "%04d", parse_number(number, 1, kMaxImageNumber, at(line.number)));
    return cat(name, "/", name, "_", digits, ".jpg");
  }

  void parse_sllfw() {
    check_even(0);
    for (size_t i = 0; i < lines_.size(); i += 2) {
      std::string_view folder[2];
      for (int k = 0; k < 2; ++k) {
        const Line& line = lines_[i + k];
        CHECK(line.count == 1, at(line.number), line.count, " fields, expected one path");
        size_t slash = line.fields[0].rfind('/');
        CHECK(slash != std::string_view::npos, at(line.number), excerpt(line.fields[0]), ", expected name/file");
        folder[k] = line.fields[0].substr(0, slash);
      }
      add(lines_[i + 1].number, std::string(lines_[i].fields[0]), std::string(lines_[i + 1].fields[0]), folder[0] == folder[1]);
    }
    assign_blocks(0, 0);
  }

  // CALFW and CPLFW. A same pair of CALFW says its fold; every other pair gets it from its place among its class.
  void parse_labelled(PairFormat format) {
    bool calfw = format == PairFormat::kCalfw;
    size_t first = lines_[0].count == 2 && !is_number(lines_[0].fields[1]) ? 1 : 0;
    check_even(first);
    list_.folds = calfw ? 1 : kCplfwFolds;
    for (size_t i = first; i < lines_.size(); i += 2) {
      const Line &a = lines_[i], &b = lines_[i + 1];
      for (const Line* line : {&a, &b}) CHECK(line->count == 2, at(line->number), line->count, " fields, expected 'file label'");
      int label = parse_number(a.fields[1], 0, calfw ? kMaxFolds : 1, at(a.number));
      CHECK(b.fields[1] == a.fields[1], at(b.number), "label ", excerpt(b.fields[1]), ", expected ", excerpt(a.fields[1]),
            " as in the pair's first line");
      add(b.number, std::string(a.fields[0]), std::string(b.fields[0]), label != 0);
      if (calfw && label > 0) list_.pairs.back().fold = label - 1;
      if (calfw) list_.folds = std::max(list_.folds, label);
    }
    deal_out(list_, false);
    if (!calfw) deal_out(list_, true);
    check_balance(list_, file_);
  }

  void check_even(size_t first) const {
    CHECK((lines_.size() - first) % 2 == 0, at(lines_.back().number), "the list ends inside a pair, expected two lines a pair");
  }

  void add(int line, const std::string& a, const std::string& b, bool same) {
    builder_.add(file_, line, a, b, same);
    pair_lines_.push_back(line);
  }

  // Blocks of per_class same, then per_class different pairs. A list without counts (0, 0) shows them by its first run of same pairs.
  void assign_blocks(int folds, int per_class) {
    const auto size = static_cast<int64_t>(list_.pairs.size());
    if (per_class == 0) {
      auto is_different = [](const Pair& pair) { return !pair.same; };
      per_class = static_cast<int>(std::find_if(list_.pairs.begin(), list_.pairs.end(), is_different) - list_.pairs.begin());
      CHECK(per_class > 0, file_, ": begins with a different pair or has none, expected same pairs first in every fold");
      folds = static_cast<int>((size + 2 * per_class - 1) / (2 * per_class));
    }
    const int64_t expected = int64_t{folds} * 2 * per_class;
    for (int64_t i = 0; i < size; ++i) {
      CHECK(i < expected, at(pair_lines_[i]), "pair ", i + 1, ", expected the end after ", expected, " pairs");
      bool same = i % (2 * per_class) < per_class;
      list_.pairs[i].fold = static_cast<int>(i / (2 * per_class));
      CHECK(list_.pairs[i].same == same, at(pair_lines_[i]), same ? "a different" : "a same", " pair, expected ",
            same ? "a same" : "a different", " one: every fold has ", per_class, " same, then ", per_class, " different pairs");
    }
    CHECK(size == expected, file_, ": ends after ", size, " pairs, expected ", expected, " (", folds, " x ", per_class, " same and ",
          per_class, " different)");
    list_.folds = folds;
  }

  const std::string& file_;
  std::vector<Line> lines_;
  PairBuilder builder_;
  PairList& list_ = builder_.list;
  std::vector<int> pair_lines_;  // last line of each pair, for errors
};

}  // namespace

PairList read_pairs(const std::string& path, PairFormat format) { return parse_pairs(read_text(path), path, format); }

PairList parse_pairs(std::string_view text, const std::string& file, PairFormat format) { return Parser(text, file).parse(format); }

PairList consecutive_pairs(const std::string& name, const std::vector<bool>& same) {
  PairList list{.name = name, .images = {}, .pairs = {}, .folds = 0};
  for (size_t i = 0; i < same.size(); ++i) {
    int a = static_cast<int>(2 * i);
    list.images.push_back(std::to_string(a));
    list.images.push_back(std::to_string(a + 1));
    list.pairs.push_back({.a = a, .b = a + 1, .same = same[i], .fold = 0});
  }
  return list;
}

void deal_out_by_class(PairList& list, int folds) {
  list.folds = folds;
  for (bool same : {false, true}) deal_out(list, same);
}

void check_classes(const PairList& list, const std::string& file) {
  const int folds = list.folds > 0 ? list.folds : kContiguousFolds;
  const auto contiguous = contiguous_folds(static_cast<int64_t>(list.pairs.size()), folds);
  std::vector<std::array<bool, 2>> has(folds, {false, false});
  for (size_t i = 0; i < list.pairs.size(); ++i) has[list.folds > 0 ? list.pairs[i].fold : contiguous[i]][list.pairs[i].same] = true;
  for (bool same : {true, false}) {
    std::string lacking;
    for (int fold = 0; fold < folds; ++fold)
      if (!has[fold][same]) lacking += cat(lacking.empty() ? "" : ", ", fold + 1);
    CHECK(lacking.empty(), file, ": no ", same ? "same" : "different", " pair in fold ", lacking, " of ", folds,
          ", expected both classes in every fold (folds by class deal either class out)");
  }
}

std::vector<int> contiguous_folds(int64_t n, int folds) {
  CHECK(n >= 0 && folds > 0, "contiguous_folds: ", n, " items in ", folds, " folds, expected n >= 0 and folds > 0");
  std::vector<int> fold;
  fold.reserve(n);
  for (int f = 0; f < folds; ++f) fold.insert(fold.end(), n / folds + (f < n % folds ? 1 : 0), f);
  return fold;
}

}  // namespace vitrine::eval
