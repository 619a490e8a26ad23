// vitrine prune TEACHER: takes channels out of a network and fine-tunes what is left; a run directory with model, plan and report.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>

#include "engine/core/bytes.h"
#include "engine/core/rng.h"
#include "nn/io/model_file.h"
#include "nn/network.h"
#include "prune/importance.h"
#include "prune/plan.h"
#include "prune/sparsity.h"
#include "quant/lower.h"
#include "quant/placement.h"
#include "tools/compare.h"
#include "tools/datasets.h"
#include "tools/finetune.h"
#include "tools/report.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

struct Options {
  std::string teacher, importance = "l2", reduction = "mean", normaliser = "mean", scope = "local", layer_ratios, target, bits = "w8a8",
                       plan, out, sparse;
  std::vector<std::string> protect;
  double ratio = 0.2, max_ratio = 1, sparse_strength = 1e-4, sparse_growth = 1e-5;
  int64_t round_to = 1, steps = 1, samples = 64, sparse_epochs = 1, sparse_every = 10;
  bool published = false, prune_embedding = false, whole_groups = false, compensate = false;
  FinetuneOptions tune;
};

// "macs=50%": of what, and how much.
struct Target {
  std::string what;
  double value = 0;
  bool percent = false;
};
Target parse_target(const std::string& text) {
  Target t{text.substr(0, text.find('='))};
  const size_t at = t.what.size() + 1;
  const char *begin = text.data() + std::min(at, text.size()), *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, t.value);
  t.percent = stop != end && *stop == '%' && stop + 1 == end;
  CHECK((t.what == "params" || t.what == "macs" || t.what == "bytes") && error == std::errc() && (stop == end || t.percent) &&
            t.value > 0 && std::isfinite(t.value),
        "'", text, "': expected params=, macs= or bytes= and a number or a percentage");
  return t;
}

void write_config(RunRecord& record, const Options& o) {
  record.config("importance", o.importance), record.config("reduction", o.reduction), record.config("normaliser", o.normaliser);
  record.config("published", o.published), record.config("scope", o.scope), record.config("ratio", o.ratio);
  record.config("layer_ratios", o.layer_ratios), record.config("max_ratio", o.max_ratio), record.config("round_to", o.round_to);
  record.config("steps", o.steps), record.config("target", o.target), record.config("bits", o.bits), record.config("protect", o.protect);
  record.config("prune_embedding", o.prune_embedding), record.config("whole_groups", o.whole_groups);
  record.config("compensate", o.compensate), record.config("samples", o.samples), record.config("sparse", o.sparse);
  record.config("sparse_epochs", o.sparse_epochs), record.config("sparse_strength", o.sparse_strength);
  record.config("sparse_growth", o.sparse_growth), record.config("sparse_every", o.sparse_every);
  record.input("teacher", o.teacher);
  if (!o.plan.empty()) record.input("plan", o.plan);
  write_config(record, o.tune);
}

class Pruning {
 public:
  Pruning(const Options& o, const Common& c) : o_(o), c_(c), teacher_(nn::open_model(o.teacher, c.seed)), student_(clone(teacher_)) {
    CHECK(!quant::is_packed(teacher_.graph), o.teacher, " is packed: prune the float network, then quantize and pack");
    const quant::Census grids = quant::census(teacher_.graph);
    CHECK(grids.convolutions + grids.activations == 0, o.teacher, " is quantized: prune first, then quantize");
    if (!o.tune.data.empty()) data_.emplace(o.tune.data, o.tune.fraction, c.seed, o.tune.without);
    importance_.criterion = prune::criterion_named(o.importance);
    importance_.reduction = prune::reduction_named(o.reduction);
    importance_.normaliser = prune::normaliser_named(o.normaliser);
    importance_.published = o.published, importance_.seed = c.seed;
    groups_ = {.outputs = o.prune_embedding, .whole_groups = o.whole_groups, .protect = o.protect};
    first_ = prune::find_groups(teacher_.graph, groups_);
    selection_ = {.ratio = o.ratio, .global = o.scope == "global", .round_to = o.round_to, .max_ratio = o.max_ratio};
    selection_.layers = prune::parse_layer_ratios(o.layer_ratios);
    for (auto& group : first_.groups) selection_.widths.push_back(static_cast<int64_t>(group.channels.size()));
    const bool looks = o.compensate || o.tune.terms != "none" || !o.sparse.empty() || by_gradient();
    CHECK(!looks || data_,
          "--data is needed to fine-tune (--finetune none does not), for --compensate, --sparse, and for --importance taylor "
          "and hessian");
    check_usage(o.steps == 1 || (o.plan.empty() && o.target.empty()), "--steps: neither with --plan nor with --target");
    check_usage(!o.tune.resume || (o.steps == 1 && o.sparse.empty()), "--resume: only where one fine-tuning follows one pruning");
    CHECK(!o.prune_embedding || o.tune.terms.find("mse") == std::string::npos,
          "--finetune mse compares embeddings number by number: not with --prune-embedding");
  }

  Json run() {
    RunRecord record(o_.out, c_);
    write_config(record, o_);
    prepare_run(record, o_.tune.resume);
    if (!o_.sparse.empty()) make_sparse(record);
    Trained trained;
    for (int64_t step = 1; step <= o_.steps; ++step) {
      cut(step);
      if (o_.tune.terms != "none") trained = tune(o_.tune, recipe_of(o_.tune, c_.seed), record);
    }
    return finish(record, trained);
  }

 private:
  bool by_gradient() const {
    return importance_.criterion == prune::Criterion::taylor || importance_.criterion == prune::Criterion::hessian;
  }
  double cost(const std::string& what, const Graph& g) const {
    if (what == "bytes") return static_cast<double>(sizes(g, quant::parse_bits(o_.bits).weight_bits).packed_bytes);
    const Count total = count(g);
    return static_cast<double>(what == "macs" ? total.macs : total.params);
  }
  data::Batches some(int64_t batch) const {
    FinetuneOptions as_they_are = o_.tune;
    as_they_are.batch = batch;
    return draw_as_they_are(as_they_are, data_->set(), c_.seed, (o_.samples + batch - 1) / batch);
  }

  // On the device; everything else here is done on the cpu.
  Trained tune(const FinetuneOptions& options, const Recipe& recipe, RunRecord& record) {
    FinetuneOptions mine = options;
    if (o_.steps > 1 || !o_.sparse.empty()) mine.checkpoint_every = std::numeric_limits<int64_t>::max();  // nothing could go on from it
    student_ = to(student_, device_of(c_));
    const Trained t = finetune(student_, to(teacher_, device_of(c_)), data_->set(), mine, recipe, c_.seed, record);
    student_ = to(student_, Device::cpu);
    return t;
  }

  // Training with a regulariser that empties channels before they are taken.
  void make_sparse(RunRecord& record) {
    prune::Sparsity sparsity(first_,
                             {.kind = prune::sparsity_named(o_.sparse), .strength = o_.sparse_strength, .growth = o_.sparse_growth});
    FinetuneOptions tune = o_.tune;
    if (tune.terms == "none") tune.terms = "mse";
    tune.epochs = o_.sparse_epochs;
    Recipe r = recipe_of(tune, c_.seed);
    const auto names = nn::trainable(student_);
    int64_t step = 0;
    r.penalty = [&](Tensors& gradients) {
      const Model now = to(student_, Device::cpu);
      TensorMap by_name;
      for (size_t i = 0; i < names.size(); ++i)
        if (gradients[i]) by_name[names[i]] = gradients[i].to(Device::cpu);
      if (++step % o_.sparse_every == 0) sparsity.grow(now);
      sparsity.add(now, by_name);
      for (size_t i = 0; i < names.size(); ++i)
        if (gradients[i]) gradients[i] = by_name[names[i]].to(gradients[i].device());
    };
    this->tune(tune, r, record);
  }

  // Of <unit embedding, random signs>, image by image: the means of |g|, or of g^2, which estimate the diagonal of the second derivative of
  // the distance to the teacher's embedding (at the teacher itself every gradient of that distance is 0).
  prune::Gradients gradients() {
    const bool squared = importance_.criterion == prune::Criterion::hessian;
    prune::Gradients mean;
    Tensors wrt;
    std::vector<std::string> names;
    for (Id id : student_.graph.named(Value::Kind::parameter)) {
      names.push_back(student_.graph.values[id].name);
      wrt.push_back(student_.tensors.at(names.back()).set_requires_grad());
    }
    Philox signs(c_.seed, 77);
    const auto batches = some(1);
    for_each_batch(data_->set(), batches, preprocess_of(student_), device_of(student_), [&](const data::Batch&, const Tensor& pixels) {
      Tensor e = l2_normalize(vitrine::run(student_.graph, student_.tensors, {pixels})[0]), v = Tensor::zeros(e.shape());
      for (int64_t i = 0; i < v.numel(); ++i) v.data<float>()[i] = signs.next() & 1 ? 1.0f : -1.0f;
      const Tensors g = grad(sum(mul(e, v)), wrt);
      NoGrad quiet;
      for (size_t i = 0; i < g.size(); ++i) {
        if (!g[i]) continue;
        Tensor term = mul_scalar(squared ? square(g[i]) : abs(g[i]), 1.0 / static_cast<double>(batches.size()));
        Tensor& m = mean[names[i]];
        m = m ? add(m, term) : term;
      }
    });
    for (Tensor& t : wrt) t.set_requires_grad(false);
    return mean;
  }

  prune::Removed choose(const prune::Structure& s, int64_t step) {
    if (!o_.plan.empty()) return prune::removed_by(prune::parse_plan(load_bytes(o_.plan), o_.plan), student_.graph, s);
    const auto score = prune::scores(student_, s, importance_, by_gradient() ? gradients() : prune::Gradients{});
    prune::Selection now = selection_;
    now.ratio = o_.ratio * static_cast<double>(step) / static_cast<double>(o_.steps);
    if (!o_.target.empty()) {
      const Target t = parse_target(o_.target);
      const double most = t.percent ? t.value * cost(t.what, student_.graph) / 100 : t.value;
      now.ratio = prune::ratio_for(student_.graph, s, score, now, most, [&](const Graph& g) { return cost(t.what, g); });
    }
    return prune::select(student_.graph, s, score, now);
  }

  void cut(int64_t step) {
    const prune::Structure s = prune::find_groups(student_.graph, groups_);
    const prune::Removed removed = choose(s, step);
    Model less = prune::apply(student_, s, removed);
    if (o_.compensate) {
      prune::Means means(student_);
      for_each_batch(data_->set(), some(16), preprocess_of(student_), device_of(student_),
                     [&](const data::Batch&, const Tensor& pixels) { means.observe(pixels); });
      say() << "compensated " << means.compensate(less, s, removed) << " layers\n";
    }
    plan_ = step == 1 ? prune::plan_of(student_.graph, s, removed) : prune::then(plan_, prune::plan_of(student_.graph, s, removed));
    student_ = std::move(less);
  }

  // The groups as they were, what each has lost, and why those that have lost nothing could not.
  Json describe_groups(HtmlPage& page) const {
    const prune::Removed removed = prune::removed_by(plan_, teacher_.graph, first_);
    std::vector<Strip> strips;
    std::vector<std::vector<std::string>> rows;
    Json list = Json::array();
    for (auto& group : first_.groups) {
      Strip strip{prune::name(teacher_.graph, group), "", {}};
      int64_t left = 0;
      for (int channel : group.channels) strip.filled.push_back(!removed[channel]), left += !removed[channel];
      const auto layers = prune::layers(teacher_.graph, group);
      std::string members;
      for (auto& layer : layers) members += (members.empty() ? "" : ", ") + layer;
      strip.note = group.fixed.empty() ? cat(left, " of ", group.channels.size()) : cat(left, ", kept");
      rows.push_back({strip.name, strip.note, group.fixed.empty() ? members : group.fixed});
      list.push_back(
          {{"name", strip.name}, {"channels", group.channels.size()}, {"kept", left}, {"layers", layers}, {"fixed", group.fixed}});
      strips.push_back(std::move(strip));
    }
    page.heading("Groups: channels that stand or fall together, in the order of the network; filled: kept");
    page.strips(strips);
    page.table({"group", "channels", "held by, or why none may go"}, rows);
    return list;
  }

  Json finish(RunRecord& record, const Trained& trained) {
    student_.info["plan"] = prune::print(plan_);
    student_.info["teacher"] = std::filesystem::path(o_.teacher).filename();
    student_.info["finetune"] = o_.tune.terms;
    record.begin();
    io::save_model(record.path("model.safetensors"), student_);
    save_bytes(record.path("plan.txt"), [&](std::ostream& out) { out << prune::print(plan_); });
    const Count before = count(teacher_.graph), after = count(student_.graph);
    HtmlPage page(cat(o_.teacher, ", pruned"));
    page.text(cat(build_description(), "; everything needed to repeat this run is in run.json beside this page."));
    page.table({"", "before", "after"},
               {{"parameters", cat(before.params), cat(after.params)}, {"MACs per image", cat(before.macs), cat(after.macs)}});
    Json list = describe_groups(page);
    add_training_plots(page, record.history());
    page.heading("Layers");
    page.table(change_header(), change_table(compare_layers(teacher_.graph, student_.graph)));
    page.save(record.path("report.html"));
    for (const char* file : {"model.safetensors", "plan.txt", "report.html"}) record.output(file);
    int64_t groups = 0;
    for (auto& group : first_.groups) groups += group.fixed.empty();
    Json result{{"model", record.path("model.safetensors")},
                {"params_before", before.params},
                {"params_after", after.params},
                {"macs_before", before.macs},
                {"macs_after", after.macs},
                {"groups", groups},
                {"group_list", list},
                {"plan", record.path("plan.txt")},
                {"steps", trained.steps},
                {"loss", trained.loss},
                {"seconds", trained.seconds},
                {"seed", c_.seed}};
    record.finish(result);
    auto share = [](int64_t a, int64_t b) { return 100.0 * static_cast<double>(a) / static_cast<double>(std::max<int64_t>(b, 1)); };
    say() << groups << " groups; parameters " << before.params << " > " << after.params << " (" << share(after.params, before.params)
          << " %), MACs " << before.macs << " > " << after.macs << " (" << share(after.macs, before.macs) << " %)\n"
          << record.path("model.safetensors") << "\n";
    return result;
  }

  const Options& o_;
  const Common& c_;
  Model teacher_, student_;
  std::optional<OpenedSet> data_;
  prune::Importance importance_;
  prune::GroupOptions groups_;
  prune::Selection selection_;
  prune::Structure first_;  // of the teacher
  prune::Plan plan_;        // in the teacher's channels
};

void add_selection_options(CLI::App& app, Options& o) {
  auto criteria = prune::criterion_names();
  std::erase(criteria, "taylor-abs");  // wants a loss whose gradients do not cancel over images
  app.add_option("--ratio", o.ratio, "share of the channels that goes")->check(CLI::Range(0.0, 0.999))->capture_default_str();
  app.add_option("--importance", o.importance, "what makes a channel matter")->check(CLI::IsMember(criteria))->capture_default_str();
  app.add_option("--reduction", o.reduction, "over the layers of a group")
      ->check(CLI::IsMember(prune::reduction_names()))
      ->capture_default_str();
  app.add_option("--normaliser", o.normaliser, "over the channels of a group; matters for --scope global")
      ->check(CLI::IsMember(prune::normaliser_names()))
      ->capture_default_str();
  app.add_flag("--published", o.published, "count the layers that Torch-Pruning counts: no depthwise weights, no slopes");
  app.add_option("--scope", o.scope, "rank within each group, or over all")
      ->check(CLI::IsMember({"local", "global"}))
      ->capture_default_str();
  app.add_option("--round-to", o.round_to, "rows that stay: a multiple of this, rounded down")->check(positive)->capture_default_str();
  app.add_option("--max-ratio", o.max_ratio, "no group loses more")->check(CLI::Range(0.001, 1.0))->capture_default_str();
  app.add_option("--layer-ratios", o.layer_ratios, "exceptions by layer, '*' allowed: conv1=0.5,layer1.*=0");
  app.add_option("--target", o.target, "prune until params=, macs= or bytes= (packed, at --bits) is reached: a number, or 50%")
      ->check(parsed_by(parse_target));
  app.add_option("--bits", o.bits, "for --target bytes=")->check(bit_widths)->capture_default_str();
  app.add_option("--steps", o.steps, "reach the ratio in steps, fine-tuning after each")->check(positive)->capture_default_str();
  reads(app.add_option("--plan", o.plan, "replay a plan instead of ranking: the rows that each layer keeps"));
  app.add_option("--protect", o.protect, "layers that keep all outputs, '*' allowed; layer:in keeps its inputs")->delimiter(',');
  app.add_flag("--prune-embedding", o.prune_embedding, "the embedding, too, becomes shorter");
  app.add_flag("--whole-groups", o.whole_groups, "grouped convolutions lose groups, instead of all groups becoming narrower");
  app.add_option("--samples", o.samples, "images for taylor, hessian and --compensate")->check(positive)->capture_default_str();
  app.add_flag("--compensate", o.compensate, "what removed channels gave on average moves into the next BatchNorm's mean or bias");
}

Command command("prune", "take channels out of a network and fine-tune it towards its teacher", [](CLI::App& app) -> Action {
  auto o = std::make_shared<Options>();
  reads(app.add_option("TEACHER", o->teacher, model_help()))->required();
  add_selection_options(app, *o);
  app.add_option("--sparse", o->sparse, "train with this regulariser before pruning")->check(CLI::IsMember(prune::sparsity_names()));
  app.add_option("--sparse-epochs", o->sparse_epochs, "of that training")->check(positive)->capture_default_str();
  app.add_option("--sparse-strength", o->sparse_strength, "of that regulariser")->check(not_negative)->capture_default_str();
  app.add_option("--sparse-growth", o->sparse_growth, "growing: what the weakest channel's strength gains each time")
      ->check(not_negative)
      ->capture_default_str();
  app.add_option("--sparse-every", o->sparse_every, "growing: steps from one time to the next")->check(positive)->capture_default_str();
  add_options(app, o->tune);
  fills(app.add_option("--out", o->out, "run directory, default runs/<teacher>-pruned-<finetune>"));
  return [o](const Common& c) {
    Options mine = *o;
    if (mine.out.empty()) mine.out = default_directory(mine.teacher, cat("pruned-", mine.tune.terms));
    return Pruning(mine, c).run();
  };
});

}  // namespace
}  // namespace vitrine::tools
