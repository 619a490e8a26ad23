#include "tools/report.h"

#include <algorithm>

#include "nn/io/model_file.h"

namespace vitrine::tools {
namespace {

// Of all trainings of a run, one behind the other: pruning in steps has several, each of which counts from 1.
std::vector<double> running_numbers(const std::vector<Json>& steps) {
  std::vector<double> all;
  double before = 0, last = 0;
  for (const Json& s : steps) {
    const double step = s.value("step", 0.0);
    if (step <= last) before += last;
    all.push_back(before + (last = step));
  }
  return all;
}

// The mean of windows of `width` steps: a step's loss is noisy, its window's shows the course.
Series curve(const std::vector<Json>& steps, const char* key, size_t width) {
  Series s{key, {}, {}};
  const std::vector<double> numbers = running_numbers(steps);
  for (size_t i = 0; i < steps.size(); i += width) {
    const size_t n = std::min(width, steps.size() - i);
    double sum = 0;
    for (size_t j = i; j < i + n; ++j) sum += steps[j].value(key, 0.0);
    s.x.push_back(numbers[i + n - 1]);
    s.y.push_back(sum / static_cast<double>(n));
  }
  return s;
}

bool moves(const Series& s) {
  return std::any_of(s.y.begin(), s.y.end(), [](double v) { return v != 0; });
}

}  // namespace

void add_training_plots(HtmlPage& page, const std::vector<Json>& steps) {
  if (steps.empty() || !steps[0].contains("loss")) return;
  const size_t width = std::max<size_t>(1, steps.size() / 100);
  auto plot = [&](const std::string& title, std::initializer_list<const char*> keys) {
    Plot p{cat(title, width > 1 ? cat(", means of ", width, " steps") : ""), "step", "", {}};
    for (const char* key : keys)
      if (Series s = curve(steps, key, width); moves(s)) p.series.push_back(std::move(s));
    if (!p.series.empty()) page.plot(p);
  };
  page.heading("Training");
  plot("Loss", {"loss", "ce"});
  plot("Ranks: squared differences of positives and negatives", {"l_pos", "l_neg"});
  plot("Distance to the teacher's embedding", {"mse"});
  plot("Gradient norm before clipping", {"grad_norm"});
  plot("Learning rate", {"lr"});
}

void add_ranges(HtmlPage& page, const Model& m) {
  Plot p{
      "Activation ranges by quantizer, in the order of the graph", "quantizer", "", {{"maximum", {}, {}, true}, {"minimum", {}, {}, true}}};
  std::vector<std::vector<std::string>> rows;
  for (auto& v : m.graph.values) {
    if (v.kind != Value::Kind::buffer || !v.name.ends_with(".range")) continue;
    const auto range = m.tensors.at(v.name).values<float>();
    for (int i = 0; i < 2; ++i) {
      p.series[i].x.push_back(static_cast<double>(rows.size() + 1));
      p.series[i].y.push_back(range[1 - i]);
    }
    rows.push_back({v.name.substr(0, v.name.size() - 6), cat(range[0]), cat(range[1])});
  }
  if (rows.empty()) return;
  page.heading("Ranges");
  page.plot(p);
  page.table({"quantizer", "minimum", "maximum"}, rows);
}

Json finish_training(RunRecord& record, const Model& m, const std::string& title, const Trained& t, uint64_t seed) {
  record.begin();
  const std::string file = record.path("model.safetensors");
  io::save_model(file, m);
  record.output("model.safetensors");
  HtmlPage page(title);
  page.text(cat(build_description(), "; everything needed to repeat this run is in run.json beside this page."));
  add_training_plots(page, record.history());
  add_ranges(page, m);
  page.save(record.path("report.html"));
  record.output("report.html");
  Json result{{"model", file}, {"steps", t.steps}, {"loss", t.loss}, {"images_per_s", t.rate()}, {"seconds", t.seconds}, {"seed", seed}};
  record.finish(result);
  say() << file << ": " << t.steps << " steps in " << t.seconds << " s";
  if (!record.history().empty()) say() << ", last loss " << t.loss;
  say() << "\n";
  return result;
}

}  // namespace vitrine::tools
