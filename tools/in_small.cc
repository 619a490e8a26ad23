#include "tools/in_small.h"

#include "engine/graph/fuse.h"
#include "prune/importance.h"
#include "prune/plan.h"

namespace vitrine::tools {
namespace {

Recipe recipe(const std::string& terms, uint64_t seed) {
  Recipe r;
  r.objective.terms = terms;
  r.objective.head = {.margin = {.m2 = 0, .m3 = 0.3, .scale = 32}, .seed = seed};
  return r;
}

}  // namespace

std::shared_ptr<const data::Dataset> cached(std::shared_ptr<const data::Dataset> images, int64_t most_bytes) {
  auto cache = std::make_unique<data::CachedSet>(*images, most_bytes);
  return {cache.release(), [images](const data::Dataset* set) { delete set; }};
}

SmallBenchmarks::SmallBenchmarks(uint64_t seed, int64_t pairs, int subjects) : ijb(synthetic_ijb_benchmark(seed, subjects)) {
  constexpr int64_t kMost = int64_t{1} << 30;
  for (data::PairKind kind : data::kPairKinds) {
    lists.push_back(synthetic_benchmark(kind, seed, pairs));
    lists.back().images = cached(lists.back().images, kMost);
  }
  ijb.images = cached(ijb.images, kMost);
}

SmallResult evaluate(const Model& m, const SmallBenchmarks& b, uint64_t seed) {
  SmallResult r;
  const Model inference_form = fused(m);
  for (auto& list : b.lists) {
    r.trials.push_back(compare_by_model(inference_form, list, "", false));
    r.lists.push_back(eval::verify(r.trials.back()));
  }
  IjbOptions options;
  options.pooling.flip = false;
  r.ijb = evaluate_ijb(&inference_form, b.ijb, options, "", seed);
  return r;
}

Model small_teacher(const std::string& network, nn::NetworkOptions options, const data::Dataset& set, int64_t epochs, int64_t batch,
                    uint64_t seed, Device device) {
  Model m = to(nn::make_model(network, seed, options), device);
  m.info["shrink"] = std::to_string(112 / options.height);
  Recipe r = recipe("ce", seed);
  r.schedule = {.kind = nn::Schedule::Kind::cosine, .base = 0.1};
  r.epochs = epochs;
  fit(m, nullptr, set, [&](int64_t epoch) { return data::shuffled_batches(set.size(), batch, seed, static_cast<uint64_t>(epoch)); }, r, {});
  return m;
}

void distil(Model& student, const Model& teacher, const data::Dataset& set, const std::string& terms, uint64_t seed) {
  Recipe r = recipe(terms, seed);
  r.schedule.base = 0.01, r.objective.ce_images = data::Balanced{}.general;
  const auto labels = data::labels(set);
  fit(student, &teacher, set, [&](int64_t epoch) { return data::balanced_batches(labels, seed, static_cast<uint64_t>(epoch)); }, r, {});
}

Model without_a_fifth(const Model& m) {
  const prune::Structure s = prune::find_groups(m.graph);
  return prune::apply(m, s, prune::select(m.graph, s, prune::scores(m, s, {}), {.ratio = 0.2}));
}

}  // namespace vitrine::tools
