#include "nn/network.h"

#include <cmath>
#include <set>
#include <sstream>

#include "engine/core/rng.h"
#include "engine/ops/shapes.h"
#include "nn/iresnet.h"
#include "nn/mobilefacenet.h"

namespace vitrine::nn {
namespace {

using Builder = std::unique_ptr<Module> (*)(const NetworkOptions&);

template <int... blocks>
std::unique_ptr<Module> iresnet(const NetworkOptions& o) {
  return std::make_unique<IResNet>(IResNetSpec{{blocks...}, o.height, o.width, o.channels, o.embedding ? o.embedding : 512});
}
std::unique_ptr<Module> mobilefacenet(const NetworkOptions& o) {
  CHECK(o.channels == 1, "mobilefacenet has no width multiplier");
  return std::make_unique<MobileFaceNet>(MobileFaceNetSpec{o.height, o.width, o.embedding ? o.embedding : 128});
}

std::unique_ptr<Module> mbf(const NetworkOptions& o) {
  CHECK(o.channels == 1, "mbf has no width multiplier");
  return std::make_unique<Mbf>(o.height, o.width, o.embedding ? o.embedding : 512);
}

const std::vector<std::pair<std::string, Builder>> kNetworks = {
    {"iresnet18", iresnet<2, 2, 2, 2>},    {"iresnet34", iresnet<3, 4, 6, 3>}, {"iresnet50", iresnet<3, 4, 14, 3>},
    {"iresnet100", iresnet<3, 13, 30, 3>}, {"mobilefacenet", mobilefacenet},   {"mbf", mbf},
};

uint64_t fnv1a(const std::string& text) {
  uint64_t h = 0xcbf29ce484222325;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001b3;
  return h;
}

void fill(Tensor& t, Role role, bool narrow, Philox rng) {
  float* p = role == Role::batches ? nullptr : t.data<float>();
  const Shape& s = t.shape();
  double deviation = narrow ? 0.1 : std::sqrt(2.0 / static_cast<double>(s.rank() == 4 ? s[0] * s[1] * s[2] : 1));
  for (int64_t i = 0; p && i < t.numel(); ++i) switch (role) {
      case Role::conv_weight:
        p[i] = static_cast<float>(deviation * rng.normal());
        break;
      case Role::linear_weight:
        p[i] = static_cast<float>((2 * rng.uniform() - 1) / std::sqrt(static_cast<double>(s.back())));
        break;
      case Role::gamma:
      case Role::running_var:
        p[i] = 1;
        break;
      case Role::slope:
        p[i] = 0.25f;
        break;
      default:
        p[i] = 0;
    }
}

}  // namespace

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (auto& n : kNetworks) names.push_back(n.first);
  return names;
}

std::unique_ptr<Module> make_network(const std::string& name, const NetworkOptions& options) {
  std::string known;
  for (auto& [n, build] : kNetworks) {
    if (n == name) return build(options);
    known += (known.empty() ? "" : ", ") + n;
  }
  throw Error(cat("unknown network '", name, "': expected ", known));
}

void initialise(Module& m, uint64_t seed) {
  bool narrow = dynamic_cast<IResNet*>(&m) != nullptr;
  int64_t fan_in = 1;  // of the linear layer whose bias follows its weight
  for (auto& member : named_members(m)) {
    Philox rng(seed, fnv1a(member.name));
    if (member.role == Role::linear_weight) fan_in = member.tensor->shape().back();
    if (member.role == Role::linear_bias) {
      float* p = member.tensor->data<float>();
      for (int64_t i = 0; i < member.tensor->numel(); ++i)
        p[i] = static_cast<float>((2 * rng.uniform() - 1) / std::sqrt(static_cast<double>(fan_in)));
      continue;
    }
    fill(*member.tensor, member.role, narrow, rng);
  }
}

Model to_model(Module& m, const std::string& name, const NetworkOptions& options) {
  m.train(false);
  std::vector<NamedTensor> named;
  Model model;
  std::string frozen;
  for (auto& member : named_members(m)) {
    if (member.role == Role::batches) continue;  // no operator reads it
    bool buffer = is_buffer(member.role);
    named.push_back({member.name, *member.tensor, buffer ? Value::Kind::buffer : Value::Kind::parameter});
    model.tensors[member.name] = *member.tensor;
    if (!buffer && !member.trainable) frozen += (frozen.empty() ? "" : ",") + member.name;
  }
  Tensor example = Tensor::zeros({1, options.height, options.width, 3});
  model.graph = trace(named, example, [&](const Tensor& x) { return m.forward(x); });
  model.info = {{"arch", name}, {"mean", "127.5"}, {"std", name == "mobilefacenet" ? "128" : "127.5"}, {"bgr", "0"}, {"frozen", frozen}};
  return model;
}

Model make_model(const std::string& name, uint64_t seed, const NetworkOptions& options) {
  auto m = make_network(name, options);
  initialise(*m, seed);
  Model model = to_model(*m, name, options);
  model.info["source"] = cat(name, ", random weights, seed ", seed);
  return model;
}

std::vector<std::string> trainable(const Model& m) {
  std::set<std::string> frozen;
  if (auto it = m.info.find("frozen"); it != m.info.end()) {
    std::istringstream list(it->second);
    for (std::string name; std::getline(list, name, ',');) frozen.insert(name);
  }
  std::vector<std::string> names;
  for (Id id : m.graph.named(Value::Kind::parameter))
    if (const Value& v = m.graph.values[id]; !frozen.count(v.name) && is_float(v.meta.dtype)) names.push_back(v.name);
  return names;
}

}  // namespace vitrine::nn
