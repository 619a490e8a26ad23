#include "tools/ijb.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>

#include "data/synthetic_ijb.h"
#include "eval/report.h"
#include "tools/files.h"
#include "tools/ijb_device.h"
#include "tools/ijb_features.h"

namespace vitrine::tools {
namespace {

using eval::percent;

namespace fs = std::filesystem;

constexpr int kSyntheticSubjects = 80;
constexpr size_t kSample = 20'000;  // scores of a histogram

// What the published sets hold; a list that differs gives numbers that cannot be compared with published ones.
struct Official {
  const char* name;
  int64_t faces, templates, same, different;
};
constexpr Official kOfficial[] = {{"ijbc", 469'375, 23'124, 19'557, 15'638'932}, {"ijbb", 227'630, 12'115, 10'270, 8'000'000}};

std::string count_note(const IjbBenchmark& b) {
  for (const Official& o : kOfficial) {
    const auto faces = static_cast<int64_t>(b.faces.faces.size()), templates = static_cast<int64_t>(b.faces.templates.size());
    const int64_t different = static_cast<int64_t>(b.pairs.all.size()) - b.pairs.same;
    if (b.name != o.name || (faces == o.faces && templates == o.templates && b.pairs.same == o.same && different == o.different)) continue;
    return cat("not the published set, which has ", o.faces, " images, ", o.templates, " templates, ", o.same, " same and ", o.different,
               " different pairs: these lists have ", faces, ", ", templates, ", ", b.pairs.same, ", ", different);
  }
  return "";
}

eval::Enrolment to_enrolment(const std::vector<data::SyntheticIjb::Enrolled>& all, const eval::FaceList& faces) {
  eval::Enrolment e;
  for (auto& one : all) e.templates.push_back(faces.find(one.template_id)), e.subjects.push_back(one.subject);
  return e;
}

// Values at equal steps of rank.
std::vector<double> sample(const std::vector<double>& sorted) {
  std::vector<double> out;
  const size_t n = std::min(kSample, sorted.size());
  for (size_t i = 0; i < n; ++i) out.push_back(sorted[(2 * i + 1) * sorted.size() / (2 * n)]);
  return out;
}

void search_galleries(IjbResult& r, const IjbBenchmark& b, const eval::Templates& unit) {
  if (b.galleries.empty()) return;
  eval::Enrolment all;
  for (auto& gallery : b.galleries) {
    all = eval::join(all, gallery);
    r.open.push_back(eval::identify_open(unit, gallery, b.probes));
  }
  r.closed = eval::identify_closed(unit, all, b.probes);
}

double share(int64_t part, int64_t whole) { return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0; }

}  // namespace

std::string target_name(double target) {
  char text[16];
  std::snprintf(text, sizeof text, "1e-%d", static_cast<int>(std::lround(-std::log10(target))));
  return text;
}

bool is_ijb(const std::string& name) { return name == "ijbc" || name == "ijbb" || name == "synthetic-ijbc"; }

IjbBenchmark synthetic_ijb_benchmark(uint64_t seed, int subjects) {
  const data::SyntheticIjb set = data::synthetic_ijb(seed, subjects);
  IjbBenchmark b{.name = "synthetic-ijbc", .folder = "built in", .images = set.images};
  for (auto& face : set.faces) {
    eval::Face f{.name = face.name, .template_id = face.template_id, .media_id = face.medium, .score = face.score};
    for (int i = 0; i < 10; ++i) f.points[i] = static_cast<float>(face.points[i / 2][i % 2]);
    b.faces.faces.push_back(std::move(f));
  }
  eval::index_faces(b.faces);
  for (auto& [t, u, same] : set.pairs) {
    b.pairs.all.push_back({static_cast<uint32_t>(b.faces.find(t)), static_cast<uint32_t>(b.faces.find(u)), static_cast<uint32_t>(same)});
    b.pairs.same += same;
  }
  for (auto& gallery : set.galleries) b.galleries.push_back(to_enrolment(gallery, b.faces));
  b.probes = to_enrolment(set.probes, b.faces);
  return b;
}

std::string check_ijb(const std::string& name, const std::string& dir) {
  CHECK(!dir.empty(), name, ": name its folder with --data DIR, expected DIR/meta/", name, "_*.txt");
  const std::string upper = name == "ijbc" ? "IJBC" : "IJBB";
  fs::path root = fs::exists(fs::path(dir) / "meta") ? fs::path(dir) : fs::path(dir) / name;
  if (!fs::exists(root) && fs::exists(fs::path(dir) / upper)) root = fs::path(dir) / upper;
  for (const char* list : {"face_tid_mid.txt", "name_5pts_score.txt", "template_pair_label.txt"}) {
    const std::string file = (root / "meta" / cat(name, "_", list)).string();
    CHECK(fs::exists(file), file, ": missing, expected the lists of ", name, " in ", (root / "meta").string());
  }
  return root.string();
}

namespace {

// What searches need, before any image is read: a mate for each probe somewhere, and in each gallery probes with and without one.
void check_galleries(const IjbBenchmark& b, const std::string& probes) {
  std::set<int> everybody;
  for (auto& gallery : b.galleries) {
    const std::set<int> enrolled(gallery.subjects.begin(), gallery.subjects.end());
    everybody.insert(enrolled.begin(), enrolled.end());
    const auto mated = std::count_if(b.probes.subjects.begin(), b.probes.subjects.end(), [&](int s) { return enrolled.count(s) > 0; });
    CHECK(mated > 0 && mated < static_cast<int64_t>(b.probes.subjects.size()), probes, ": ", mated, " of ", b.probes.subjects.size(),
          " probes have a mate in gallery ", &gallery - b.galleries.data() + 1, ", expected some with and some without one");
  }
  for (int subject : b.probes.subjects)
    CHECK(b.galleries.empty() || everybody.count(subject), probes, ": subject ", subject,
          " is in no gallery, expected both galleries (G1 and G2, or S1 and S2) beside it");
}

}  // namespace

IjbBenchmark open_ijb(const std::string& name, const std::string& dir, uint64_t seed) {
  if (name == "synthetic-ijbc") return synthetic_ijb_benchmark(seed, kSyntheticSubjects);
  const fs::path root = check_ijb(name, dir);
  const auto meta = [&](const std::string& list) { return (root / "meta" / cat(name, "_", list)).string(); };
  IjbBenchmark b{.name = name, .folder = root.string()};
  b.faces = eval::read_faces(meta("face_tid_mid.txt"), meta("name_5pts_score.txt"));
  b.pairs = eval::read_template_pairs(meta("template_pair_label.txt"), b.faces);
  if (fs::exists(meta("1N_probe_mixed.csv"))) {
    b.probes = eval::read_enrolment(meta("1N_probe_mixed.csv"), b.faces);
    for (const char* gallery : {"1N_gallery_G1.csv", "1N_gallery_G2.csv", "1N_gallery_S1.csv", "1N_gallery_S2.csv"})
      if (fs::exists(meta(gallery))) b.galleries.push_back(eval::read_enrolment(meta(gallery), b.faces));
    check_galleries(b, meta("1N_probe_mixed.csv"));
  }
  if (fs::exists(root / "loose_crop")) {
    std::vector<std::string> paths;
    for (auto& face : b.faces.faces) paths.push_back((root / "loose_crop" / face.name).string());
    b.images = std::make_shared<FileSet>(std::move(paths));
  }
  b.note = count_note(b);
  if (const auto& p = b.pairs; p.repeated > 0)
    b.note += cat(b.note.empty() ? "" : "; ", p.repeated, " of the comparisons are there more than once, and count so: templates ",
                  p.repeated_ids[0], " and ", p.repeated_ids[1], " is one");
  return b;
}

IjbResult evaluate_ijb(const Model* model, const IjbBenchmark& b, const IjbOptions& o, const std::string& fingerprint, uint64_t seed) {
  IjbResult r{.name = b.name, .protocol = eval::name(o.pooling), .note = b.note};
  if (!o.embeddings.empty()) r.protocol = eval::name({o.pooling.keep_norm, o.pooling.detector, !o.mirrored.empty()});
  r.faces = static_cast<int64_t>(b.faces.faces.size()), r.templates = static_cast<int64_t>(b.faces.templates.size());
  r.pairs = static_cast<int64_t>(b.pairs.all.size()), r.same = b.pairs.same;
  r.different_names = b.faces.different_names;
  std::vector<double> scores;
  {
    PooledFaces pooled = o.embeddings.empty() ? pool_by_model(*model, b, o, fingerprint) : pool_embeddings(b, o);
    r.skipped = pooled.skipped;
    eval::Templates& t = pooled.sums;
    eval::to_unit_length(t);
    for (int64_t i = 0; i < t.size(); ++i) r.empty_templates += eval::dot(&t.rows[i * t.dim], &t.rows[i * t.dim], t.dim) == 0;
    search_galleries(r, b, t);
    scores = template_scores(t, b.pairs.all, model ? device_of(*model) : o.device);
  }
  if (o.bootstrap > 0) r.intervals = eval::bootstrap_tpr(b.pairs.all, scores, r.templates, eval::kIjbTargets, o.bootstrap, seed);
  const eval::ScoreSet sorted = eval::sort_scores(std::move(scores), b.pairs.all);
  r.points = eval::tpr_at_fpr(sorted, eval::kIjbTargets, o.rule);
  r.curve = eval::roc_curve(sorted);
  r.same_sample = sample(sorted.same), r.different_sample = sample(sorted.different);
  return r;
}

void print(std::ostream& out, const IjbResult& r) {
  out << r.name << " " << r.protocol << ": " << r.faces << " images, " << r.templates << " templates, " << r.same << " same and "
      << r.pairs - r.same << " different pairs\n";
  if (!r.note.empty()) out << "note: " << r.note << "\n";
  if (r.skipped > 0)
    out << "note: " << r.skipped << " images could not be read and were left out; " << r.empty_templates << " templates are empty\n";
  if (r.different_names > 0) out << "note: " << r.different_names << " rows name different images in the two lists (matched by row)\n";
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < r.points.size(); ++i) {
    const auto& p = r.points[i];
    const std::string interval = r.intervals.empty() ? "-" : cat(percent(r.intervals[i].low), "-", percent(r.intervals[i].high));
    rows.push_back({target_name(p.target), cat(p.accepted_different), percent(p.tpr), interval, cat(p.accepted_same), cat(p.threshold)});
  }
  out << eval::aligned({"FPR", "different", "TPR %", "95 % interval", "same", "threshold"}, rows);
  print_search(out, r);
}

void print_search(std::ostream& out, const IjbResult& r) {
  if (r.open.empty()) return;
  out << "1:N, closed set: " << r.closed.probes << " probes in " << r.closed.gallery << " templates";
  for (size_t k = 0; k < eval::kRanks.size(); ++k)
    out << ", rank " << eval::kRanks[k] << " " << percent(share(r.closed.found[k], r.closed.probes)) << " %";
  for (size_t f = 0; f < eval::kFpirs.size(); ++f)
    out << ", TPIR@FPIR=" << eval::kFpirs[f] << " " << percent(share(r.closed.found_at_fpir[f], r.closed.probes)) << " %";
  out << "\n";
  for (size_t g = 0; g < r.open.size(); ++g) {
    out << "1:N, open set, gallery " << g + 1 << ": " << r.open[g].mated << " mated, " << r.open[g].mateless << " mateless";
    for (size_t f = 0; f < eval::kFpirs.size(); ++f)
      out << ", TPIR@FPIR=" << eval::kFpirs[f] << " " << percent(share(r.open[g].found_at_fpir[f], r.open[g].mated)) << " %";
    out << "\n";
  }
}

Json to_json(const IjbResult& r) {
  Json j{{"name", r.name},   {"protocol", r.protocol}, {"images", r.faces},    {"templates", r.templates},
         {"pairs", r.pairs}, {"same", r.same},         {"skipped", r.skipped}, {"empty_templates", r.empty_templates}};
  if (!r.note.empty()) j["note"] = r.note;
  for (size_t i = 0; i < r.points.size(); ++i) {
    const auto& p = r.points[i];
    j["tpr"][target_name(p.target)] = p.tpr;
    Json point{{"target", p.target},
               {"fpr", p.fpr},
               {"tpr", p.tpr},
               {"accepted_different", p.accepted_different},
               {"accepted_same", p.accepted_same},
               {"threshold", std::isfinite(p.threshold) ? Json(p.threshold) : Json()}};
    if (!r.intervals.empty()) point["interval95"] = {r.intervals[i].low, r.intervals[i].high};
    j["points"].push_back(point);
  }
  for (auto& p : r.curve) j["curve"].push_back({p.fpr, p.tpr});
  if (r.open.empty()) return j;
  j["closed"] = {{"gallery", r.closed.gallery}, {"probes", r.closed.probes}, {"ranks", eval::kRanks},
                 {"found", r.closed.found},     {"fpir", eval::kFpirs},      {"found_at_fpir", r.closed.found_at_fpir}};
  for (auto& set : r.open)
    j["open"].push_back({{"gallery", set.gallery},
                         {"mated", set.mated},
                         {"mateless", set.mateless},
                         {"fpir", eval::kFpirs},
                         {"found_at_fpir", set.found_at_fpir}});
  return j;
}

}  // namespace vitrine::tools
