#include "tools/training.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "engine/core/text.h"
#include "engine/graph/fuse.h"
#include "engine/graph/rewrite.h"
#include "nn/io/safetensors.h"
#include "nn/network.h"
#include "quant/placement.h"
#include "tools/progress.h"
#include "tools/run_record.h"
#include "tools/training_step.h"

namespace vitrine::tools {

namespace {

Dtype dtype_of(const Model& m) { return m.graph.values[m.graph.inputs.at(0)].meta.dtype; }

// Runs graph(i) on batch i = 1, 2, ...
void follow(Model& student, const data::Dataset& set, const data::Batches& batches, const char* what,
            const std::function<Graph(int64_t)>& graph) {
  NoGrad quiet;
  Progress progress(what, static_cast<int64_t>(batches.size()), "batches");
  int64_t i = 0;
  for_each_batch(set, batches, preprocess_of(student), device_of(student), [&](const data::Batch&, const Tensor& pixels) {
    run(graph(++i), student.tensors, {pixels.to(dtype_of(student))});
    progress.add(1);
  });
}

}  // namespace

void calibrate(Model& student, const data::Dataset& set, const data::Batches& batches, const quant::ObserveAttrs& rule) {
  Graph tracking = quant::with_running_ranges(student.graph, rule);
  follow(student, set, batches, "calibrate", [&](int64_t) { return tracking; });
}

void reestimate_batch_norm(Model& student, const data::Dataset& set, const data::Batches& batches, const quant::ObserveAttrs& rule) {
  CHECK(!with_batch_statistics(student.graph).updates.empty(), "re-estimating BatchNorm: the network has none");
  Graph tracking = quant::with_running_ranges(student.graph, rule);
  follow(student, set, batches, "BatchNorm", [&](int64_t i) { return with_batch_statistics(tracking, 1.0 / static_cast<double>(i)); });
  for (auto& u : tracking.updates) {
    Tensor& range = student.tensors.at(tracking.values[u.state].name);
    range = Tensor::zeros(range.shape(), range.dtype(), range.device());
  }
}

namespace {

std::vector<std::string> split(const std::string& terms) {
  std::vector<std::string> all(1);
  for (char c : terms)
    if (c == '+')
      all.emplace_back();
    else
      all.back() += c;
  return all;
}

// What a step minimises, with the state of its terms.
class Objective {
 public:
  Objective(const ObjectiveOptions& o, bool with_teacher, int64_t classes, int64_t dim) : options_(o), ekd_(o.ekd) {
    for (const std::string& term : split(o.terms)) {
      CHECK(term == "ekd" || term == "mse" || term == "ce", "objective '", o.terms, "': expected ekd, mse, ce, or a sum of them");
      (term == "ekd" ? with_ekd_ : term == "mse" ? with_mse_ : with_ce_) = true;
    }
    CHECK(with_teacher || (!with_ekd_ && !with_mse_), "objective '", o.terms, "' needs a teacher");
    if (!with_ce_) return;
    losses::HeadOptions h = o.head;
    h.classes = classes, h.dim = dim;
    head_.emplace(h);
  }

  Tensor operator()(const Tensor& embedding, const Tensor& target, const std::vector<int64_t>& labels, StepMetrics& m) {
    Tensor loss;
    auto add_term = [&](const Tensor& term) { loss = loss ? add(loss, term) : term; };
    if (target && !with_mse_ && target.shape() == embedding.shape()) {  // always reported; not where the embedding was pruned
      NoGrad quiet;
      m.mse = losses::embedding_mse(embedding, target).item();
    }
    if (with_ekd_) {
      auto r = ekd_(embedding, target, labels);
      m.l_pos = r.l_pos, m.l_neg = r.l_neg, m.positives = r.positives;
      add_term(r.loss);
    }
    if (with_mse_) {
      const Tensor mse = losses::embedding_mse(embedding, target);
      m.mse = mse.item();
      add_term(mse);
    }
    if (with_ce_) {
      std::vector<int64_t> seen = labels;
      if (options_.ce_images > 0) std::fill(seen.begin() + std::min<int64_t>(options_.ce_images, m.images), seen.end(), -1);
      Tensor ce = (*head_)(embedding, seen);
      m.ce = ce.item();
      add_term(options_.ce_weight == 1 ? ce : mul_scalar(ce, options_.ce_weight));
    }
    m.loss = loss.item();
    return loss;
  }

  losses::Head* head() { return head_ ? &*head_ : nullptr; }

  TensorMap state() const {
    TensorMap all = ekd_.state();
    if (head_) all.merge(head_->state());
    return all;
  }
  void load_state(const TensorMap& all) {
    ekd_.load_state(all);
    if (head_) head_->load_state(all);
  }

 private:
  ObjectiveOptions options_;
  losses::Ekd ekd_;
  std::optional<losses::Head> head_;
  bool with_ekd_ = false, with_mse_ = false, with_ce_ = false;
};

std::unique_ptr<nn::Optimiser> make_optimiser(Model& network, const Recipe& r) {
  auto names = nn::trainable(network);
  if (r.optimiser == "adamw")
    return std::make_unique<nn::AdamW>(network.tensors, names,
                                       nn::AdamWOptions{.lr = r.schedule.base, .weight_decay = r.weight_decay, .clip = r.clip});
  CHECK(r.optimiser == "sgd", "optimiser '", r.optimiser, "': expected sgd or adamw");
  return std::make_unique<nn::Sgd>(network.tensors, names, nn::SgdOptions{r.schedule.base, r.momentum, r.weight_decay, true, r.clip});
}

constexpr const char* kParts[] = {"network/", "optimiser/", "objective/"};

void save(const Checkpoint& c, int64_t step, const TensorMap& network, const nn::Optimiser& optimiser, const Objective& objective) {
  io::TensorFile file;
  file.metadata = {{"vitrine.step", std::to_string(step)}, {"vitrine.config", c.config}};
  const TensorMap parts[] = {network, optimiser.state(), objective.state()};
  for (size_t i = 0; i < std::size(parts); ++i)
    for (auto& [name, tensor] : parts[i]) file.tensors.emplace_back(kParts[i] + name, tensor.to(Device::cpu));
  io::write_safetensors(c.file, file);  // under another name, then renamed: a kill leaves the old checkpoint or the new one
}

int64_t step_of(const io::TensorFile& file, const std::string& path) {
  auto it = file.metadata.find("vitrine.step");
  CHECK(it != file.metadata.end(), path, ": no checkpoint of a training: it names no step");
  const auto step = number_from<int64_t>(it->second);
  CHECK(step && *step >= 0, path, ": step '", it->second, "', expected a number");
  return *step;
}

int64_t load(const Checkpoint& c, TensorMap& network, nn::Optimiser& optimiser, Objective& objective) {
  io::TensorFile file = io::read_safetensors(c.file);
  const int64_t step = step_of(file, c.file);
  check_same_run(c.file, file.metadata["vitrine.config"], c.config);
  TensorMap parts[3];
  for (auto& [name, tensor] : file.tensors)
    for (size_t i = 0; i < std::size(parts); ++i)
      if (name.rfind(kParts[i], 0) == 0) parts[i][name.substr(std::string(kParts[i]).size())] = tensor;
  for (auto& [name, tensor] : network) {
    auto it = parts[0].find(name);
    CHECK(it != parts[0].end() && it->second.shape() == tensor.shape() && it->second.dtype() == tensor.dtype(), c.file, ": no ", name, " ",
          str(tensor.meta()));
    tensor.assign(it->second.to(tensor.device()));
  }
  optimiser.load_state(parts[1]);
  objective.load_state(parts[2]);
  return step;
}

// The network's gradients are clipped by their norm, a head's are not, and its momentum is not Nesterov's: as in TFace.
void take_step(const Tensor& loss, const Tensor& embedding, TrainingStep& work, losses::Head* head, const Recipe& r, StepMetrics& m) {
  Tensors wanted{embedding};
  if (head) wanted.push_back(head->rows());
  const Tensors gradients = grad(loss, wanted);
  if (head) {
    SgdAttrs sgd;
    sgd.momentum = r.momentum, sgd.weight_decay = r.weight_decay;
    head->step(gradients[1], sgd, m.lr);
  }
  m.grad_norm = work.backward(gradients[0]);
}

}  // namespace

Json to_json(const StepMetrics& m) {
  Json j{{"step", m.step},           {"epoch", m.epoch},   {"loss", m.loss}, {"l_pos", m.l_pos},
         {"l_neg", m.l_neg},         {"mse", m.mse},       {"ce", m.ce},     {"grad_norm", m.grad_norm.value_or(0)},
         {"positives", m.positives}, {"images", m.images}, {"lr", m.lr}};
  if (!m.grad_norm) j.erase("grad_norm");
  return j;
}

bool has_term(const std::string& terms, const std::string& term) {
  const auto all = split(terms);
  return std::find(all.begin(), all.end(), term) != all.end();
}

void prepare_run(RunRecord& record, bool resume) {
  const std::string file = record.path(kCheckpoint);
  const bool finished = std::filesystem::exists(record.path("run.json"));
  if (!std::filesystem::exists(file)) {
    CHECK(!resume || !finished, file, ": missing, and the run is finished: nothing to resume");
    if (resume) say() << file << ": none yet, beginning with step 1\n";
    return;
  }
  if (!resume) {
    CHECK(finished, file, ": of a run that is not finished: go on with --resume, or delete it");
    return;
  }
  const io::TensorFile checkpoint = io::read_safetensors(file);
  const int64_t step = step_of(checkpoint, file);
  const auto made_with = checkpoint.metadata.find("vitrine.config");
  check_same_run(file, made_with == checkpoint.metadata.end() ? "" : made_with->second, record.fingerprint());
  record.resume_at(step);
}

void fit(Model& network, const Model* teacher, const data::Dataset& set, const EpochBatches& epoch_batches, const Recipe& recipe,
         const Checkpoint& checkpoint, const AfterStep& after_step) {
  Graph base = network.graph;
  if (recipe.dropout > 0) {
    base = with_dropout(base, recipe.dropout, static_cast<int64_t>(recipe.dropout_seed));
    CHECK(base.find(kDropoutStep) >= 0, "dropout ", recipe.dropout, ": the network has no matrix behind a flatten");
    network.tensors[kDropoutStep] = Tensor::zeros({}, Dtype::i64, device_of(network));
  }
  Graph frozen = with_batch_statistics(base), tracking = quant::with_running_ranges(frozen, recipe.ranges);
  if (recipe.clipped) frozen = quant::with_clipped_gradients(frozen), tracking = quant::with_clipped_gradients(tracking);
  for (Graph* g : {&frozen, &tracking}) *g = as_trained(*g, device_of(network), recipe.exact);
  auto optimiser = make_optimiser(network, recipe);
  std::map<int64_t, int64_t> class_of;  // by label: a part of a set has gaps in its labels
  for (int64_t label : data::labels(set)) class_of[label] = 0;
  int64_t classes = 0;
  for (auto& [label, number] : class_of) number = classes++;
  Objective objective(recipe.objective, teacher != nullptr, classes, network.graph.values[network.graph.outputs.at(0)].meta.shape[1]);
  int64_t done = 0, step = 0;
  if (checkpoint.resume && std::filesystem::exists(checkpoint.file)) done = load(checkpoint, network.tensors, *optimiser, objective);

  const std::optional<Model> inference_form =
      teacher ? std::optional(fused(*teacher, recipe.exact ? Fusion::bits : Fusion::free)) : std::nullopt;
  TrainingStep work(network.tensors, inference_form ? &*inference_form : nullptr, *optimiser, recipe.penalty, recipe.replay);

  const bool still = recipe.schedule.base == 0 && recipe.schedule.floor == 0;
  std::optional<NoGrad> no_history;
  if (still) no_history.emplace();
  data::Batches batches = epoch_batches(0);
  const int64_t total = static_cast<int64_t>(batches.size()) * recipe.epochs;
  Progress progress("train", total - done, "steps");
  for (int64_t epoch = 0; epoch < recipe.epochs; ++epoch) {
    if (epoch > 0) batches = epoch_batches(epoch);
    const int64_t skip = std::clamp<int64_t>(done - step, 0, static_cast<int64_t>(batches.size()));
    batches.erase(batches.begin(), batches.begin() + skip);
    step += skip;
    for_each_batch(set, batches, preprocess_of(network), device_of(network), [&](const data::Batch& b, const Tensor& floats) {
      const Tensor pixels = floats.to(dtype_of(network));
      StepMetrics m{.step = ++step, .epoch = epoch, .lr = nn::learning_rate(recipe.schedule, step - 1, total), .images = b.n};
      auto [embedding, target] = work.forward(step <= recipe.track_steps ? tracking : frozen, pixels);
      m.replayed = work.replays();
      embedding.set_requires_grad(!still);
      std::vector<int64_t> people;
      for (int64_t label : b.labels) people.push_back(class_of.at(label));
      const Tensor loss = objective(embedding, target, people, m);
      optimiser->set_lr(m.lr);
      if (!still) take_step(loss, embedding, work, objective.head(), recipe, m);
      CHECK(std::isfinite(m.loss) && std::isfinite(m.grad_norm.value_or(0)), "step ", m.step, ": loss ", m.loss, ", gradient norm ",
            m.grad_norm.value_or(0), ": training diverged");
      if (after_step) after_step(m);
      if (!checkpoint.file.empty() && step % checkpoint.every == 0) save(checkpoint, step, network.tensors, *optimiser, objective);
      progress.add(1, cat("loss ", m.loss));
    });
  }
  for (const std::string& name : nn::trainable(network)) network.tensors[name].set_requires_grad(false);
  network.tensors.erase(kDropoutStep);
}

Trained fit(Model& network, const Model* teacher, const data::Dataset& set, const EpochBatches& epoch_batches, const Recipe& recipe,
            RunRecord& record, int64_t checkpoint_every, bool resume) {
  Trained t;
  if (!record.history().empty()) {  // resumed: perhaps behind the last step
    const Json& last = record.history().back();
    t.steps = last.at("step"), t.loss = last.at("loss");
  }
  Stopwatch watch;
  fit(network, teacher, set, epoch_batches, recipe, {record.path(kCheckpoint), record.fingerprint(), checkpoint_every, resume},
      [&](const StepMetrics& m) {
        t.steps = m.step, t.images += m.images, t.loss = m.loss;
        record.metrics(to_json(m));
      });
  t.seconds = watch.seconds();
  say() << (teacher ? "fine-tuning: " : "training: ") << t.images << " images in " << t.seconds << " s, " << t.rate() << " images/s\n";
  return t;
}

}  // namespace vitrine::tools
