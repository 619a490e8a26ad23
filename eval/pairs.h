// Verification lists: which pairs of images to compare, whether they show one person, and the folds of cross-validation.
//
// Formats (fields separated by tabs or spaces, "\n" or "\r\n", blank lines skipped):
//   LFW    "10 300" (folds, pairs per class and fold) or "1100" (View 1: no folds), then per fold the same pairs
//          "name i j" and the different pairs "nameA i nameB j"; the image is name/name_%04d.jpg. A line of column titles
//          may come first and may replace the counts.
//   SLLFW  two lines a pair, each a path "name/file"; same person where the folders are equal; per fold the same pairs, then
//          as many different ones.
//   CALFW  two lines a pair, each "file token"; token 1, 2, .. is the fold of a same pair, 0 marks a different one. Different
//          pairs carry no fold: in file order they are dealt out to the folds in equal blocks.
//   CPLFW  two lines a pair, each "file label", 1 same, 0 different; a title line may come first. Either class, in file
//          order, is dealt out to ten folds in equal blocks (which are LFW's own folds in the published list).
// Every fold ends up with as many same as different pairs; a list that cannot is damaged and is rejected. So are repeated pairs,
// an image paired with itself, and paths that leave their directory. A list cut exactly between two folds cannot be
// told from a shorter list unless its header says the counts: look at PairList::folds.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vitrine::eval {

struct Pair {
  int a = 0, b = 0;  // indices into PairList::images
  bool same = false;
  int fold = 0;  // 0 .. folds-1; 0 where the list has no folds
};

struct PairList {
  std::string name;                 // the file's name without folder and extension
  std::vector<std::string> images;  // distinct relative paths, in order of first appearance: each needs one embedding
  std::vector<Pair> pairs;          // in file order
  int folds = 0;                    // 0: the list defines none, verification takes ten contiguous ones
};

enum class PairFormat { kAuto, kLfw, kSllfw, kCalfw, kCplfw };

// Throws Error, one line "FILE:LINE: what, what was expected". kAuto tells the formats apart by their first line (and CALFW from CPLFW
// by a token above 1).
PairList read_pairs(const std::string& path, PairFormat format = PairFormat::kAuto);
// The same for a text in memory; `file` names it in errors and gives PairList::name.
PairList parse_pairs(std::string_view text, const std::string& file, PairFormat format = PairFormat::kAuto);

// Celebrities in Frontal-Profile (Sengupta et al., WACV 2016): frontal-frontal or frontal-profile pairs of the data set as distributed.
// `root` has Protocol/Pair_list_F.txt and _P.txt ("index path", the path relative to Protocol or to root) and
// Protocol/Split/{FF,FP}/01..10/{same,diff}.txt ("i,j": FF means image i and j of F, FP image i of F and j of P). Images are relative to
// root; folds are the ten folders. Throws Error as read_pairs.
enum class CfpKind { kFrontalFrontal, kFrontalProfile };
PairList read_cfp(const std::string& root, CfpKind kind);

// Pair i = images 2i and 2i+1, without folds: the order of an InsightFace .bin file. The images are named "0", "1", ...
PairList consecutive_pairs(const std::string& name, const std::vector<bool>& same);

// Folds of a list without any: contiguous blocks of either class, so that each has both. A .bin file that holds all same pairs first
// (the order of CALFW's and CPLFW's lists) cannot be cut into contiguous folds.
void deal_out_by_class(PairList& list, int folds);

// Error that names the folds (the list's own, or ten contiguous ones) that lack a class: no threshold can be judged on them.
void check_classes(const PairList& list, const std::string& file);

// Fold of each of n items cut into contiguous runs, the first n % folds of them one longer (scikit-learn's KFold without shuffling).
std::vector<int> contiguous_folds(int64_t n, int folds);

}  // namespace vitrine::eval
