// Deterministic weights and images that the golden numbers were made with: the same bits in any language, so no weights need be stored.
// Two recipes: "G" of the InsightFace checks (values from a tensor's name) and "D-net" of the quantizer checks (values from its position).
// Both speak PyTorch's element order (O,I,kh,kw and N,C,H,W); nn::from_state_dict brings weights to ours, images() does it for images.
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nn/network.h"

namespace vitrine::recipe {

// A function of the flat position in PyTorch's order.
using Fill = std::function<double(int64_t)>;

inline Tensor filled(Shape shape, const Fill& f) {
  std::vector<float> v(shape.numel());
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(f(static_cast<int64_t>(i)));
  return Tensor::from(shape, v);
}

inline Tensor to_nhwc(const Tensor& nchw) { return transpose(nchw, {0, 2, 3, 1}).clone(); }
inline Tensor to_nchw(const Tensor& nhwc) { return transpose(nhwc, {0, 3, 1, 2}).clone(); }  // also O,kh,kw,I -> O,I,kh,kw

inline bool ends_with(const std::string& s, const std::string& end) {
  return s.size() >= end.size() && s.substr(s.size() - end.size()) == end;
}

// Inputs of one output of a layer: I * kh * kw of a convolution, the columns of a matrix (PyTorch's shape).
inline double fan_in(const Shape& s) { return static_cast<double>(s.product(1, s.rank())); }

// The state dict of a module: `value` gives a tensor from its name, its PyTorch shape and its position among all but num_batches_tracked.
inline io::StateDict state_dict(nn::Module& m, const std::function<Tensor(const std::string&, const Shape&, int)>& value) {
  io::StateDict state;
  int position = 0;
  for (auto& member : nn::named_members(m)) {
    const Shape& s = member.tensor->shape();
    Shape theirs = s.rank() == 4 ? Shape{s[0], s[3], s[1], s[2]} : s;
    bool batches = member.role == nn::Role::batches;
    state.entries.emplace_back(member.name, batches ? Tensor::zeros({}, Dtype::i64) : value(member.name, theirs, position++));
  }
  return state;
}

// Recipe G.
inline uint64_t fnv1a64(const std::string& text) {
  uint64_t h = 0xcbf29ce484222325;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001b3;
  return h;
}
inline uint64_t raw(uint64_t seed, int64_t i) {  // splitmix64, i-th number of a stream
  uint64_t z = seed + (static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
  z = (z ^ z >> 27) * 0x94D049BB133111EB;
  return z ^ z >> 31;
}
inline double u01(uint64_t seed, int64_t i) { return static_cast<double>(raw(seed, i) >> 40) * 0x1p-24; }

inline Tensor weight_g(const std::string& name, const Shape& s) {
  uint64_t seed = fnv1a64(name);
  auto fill = [&](auto f) { return filled(s, [&](int64_t i) { return f(u01(seed, i)); }); };
  auto uniform = [&](double bound) { return fill([=](double u) { return (2 * u - 1) * bound; }); };
  if (ends_with(name, "features.weight")) return Tensor::full(s, 1);
  if (s.rank() == 4 || s.rank() == 2) return uniform(std::sqrt(3 / fan_in(s)));
  if (ends_with(name, "running_var")) return fill([](double u) { return 0.5 + u; });
  if (ends_with(name, "running_mean")) return uniform(0.2);
  if (ends_with(name, "fc.bias")) return uniform(0.1);
  if (ends_with(name, ".bias")) return uniform(0.2);
  if (name.find("prelu") != std::string::npos || ends_with(name, "layers.2.weight")) return fill([](double u) { return 0.1 + 0.3 * u; });
  if (ends_with(name, "bn3.weight")) return fill([](double u) { return 0.25 * (0.5 + u); });
  return fill([](double u) { return 0.5 + u; });
}
inline int pixel_g(uint64_t seed, int64_t i) { return static_cast<int>(raw(seed, i) >> 56); }
inline Tensor image_g(const std::string& name) {  // [1,112,112,3]
  uint64_t seed = fnv1a64(name);
  return to_nhwc(filled({1, 3, 112, 112}, [&](int64_t i) { return (pixel_g(seed, i) - 127.5) / 127.5; }));
}
inline Model model_g(const std::string& network) {
  auto m = nn::make_network(network);
  return nn::from_state_dict(state_dict(*m, [](const std::string& name, const Shape& s, int) { return weight_g(name, s); }), network);
}

// Recipe D-net.
inline uint32_t hash32(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352d;
  x = (x ^ x >> 15) * 0x846ca68b;
  return x ^ x >> 16;
}
inline double u_d(int64_t i, int64_t seed) { return (hash32(static_cast<uint32_t>(i + seed * 0x9E3779B9)) >> 8) * 0x1p-24; }

inline Tensor weight_d(const std::string& name, const Shape& s, int position) {
  auto fill = [&](double scale, double offset = 0) {
    return filled(s, [&](int64_t i) { return offset + scale * (u_d(i, position) - 0.5); });
  };
  if (s.rank() == 4) return fill(1.4 * std::sqrt(6 / fan_in(s)));
  if (s.rank() == 2) return fill(2 * std::sqrt(3 / fan_in(s)));
  if (ends_with(name, "running_var")) return fill(0.5, 1);
  if (ends_with(name, "running_mean") || ends_with(name, ".bias")) return fill(0.2);
  if (name == "features.weight") return Tensor::full(s, 1);
  return fill(0.2, name.find("prelu") != std::string::npos ? 0.25 : 1);
}
inline Tensor images_d() {  // [2,112,112,3]
  return to_nhwc(filled({2, 3, 112, 112}, [](int64_t i) { return 2 * u_d(i, 1000) - 1; }));
}
inline Model model_d(const std::string& network) {
  auto m = nn::make_network(network);
  return nn::from_state_dict(state_dict(*m, weight_d), network);
}

// For comparing embeddings.
inline double norm(const std::vector<double>& v) {
  double s = 0;
  for (double x : v) s += x * x;
  return std::sqrt(s);
}
inline double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double s = 0;
  for (size_t i = 0; i < a.size(); ++i) s += a[i] * b[i];
  return s / (norm(a) * norm(b));
}
inline std::vector<double> row(const Tensor& t, int64_t i) {
  auto v = t.values();
  int64_t n = t.shape().back();
  return {v.begin() + i * n, v.begin() + (i + 1) * n};
}

}  // namespace vitrine::recipe
