// Every distinct convolution of IResNet-18 and -50 and of MobileFaceNet (112x96, 128-d), with its multiplicity, in all three directions;
// and the products of their fully connected layers.
#include <algorithm>
#include <tuple>
#include <vector>

#include "bench/report.h"
#include "engine/core/error.h"
#include "engine/core/rng.h"
#include "engine/core/tensor.h"
#include "engine/cpu/conv.h"
#include "engine/cpu/matmul.h"

namespace vitrine::bench {
namespace {

using cpu::ConvShape;

// Collects the layers of a network, counting repeated ones.
struct Layers {
  int64_t batch;
  std::vector<std::pair<ConvShape, int64_t>> list = {};

  void add(int64_t h, int64_t w, int64_t c, int64_t o, int64_t kh, int64_t kw, int64_t stride, int64_t pad, int64_t groups = 1) {
    ConvShape s{batch,  h,      w,   c,   o, kh, kw,    (h + 2 * pad - kh) / stride + 1, (w + 2 * pad - kw) / stride + 1,
                stride, stride, pad, pad, 1, 1,  groups};
    auto key = [](const ConvShape& q) { return std::tie(q.h, q.w, q.c, q.o, q.kh, q.stride_h, q.groups); };
    for (auto& [have, count] : list)
      if (key(have) == key(s)) return void(++count);
    list.push_back({s, 1});
  }
};

Layers iresnet(int64_t batch, const int (&blocks)[4]) {
  Layers net{batch};
  net.add(112, 112, 3, 64, 3, 3, 1, 1);
  int64_t size = 112, in = 64;
  for (int stage = 0; stage < 4; ++stage, size /= 2) {
    const int64_t out = int64_t{64} << stage;
    net.add(size, size, in, out, 3, 3, 1, 1);
    net.add(size, size, out, out, 3, 3, 2, 1);
    net.add(size, size, in, out, 1, 1, 2, 0);
    for (int i = 2; i < 2 * blocks[stage]; ++i) net.add(size / 2, size / 2, out, out, 3, 3, 1, 1);
    in = out;
  }
  return net;
}

Layers mobilefacenet(int64_t batch) {
  Layers net{batch};
  net.add(112, 96, 3, 64, 3, 3, 2, 1);
  net.add(56, 48, 64, 64, 3, 3, 1, 1, 64);
  struct Stage {
    int64_t expansion, channels, repeats, stride;
  };
  int64_t h = 56, w = 48, in = 64;
  for (Stage s : {Stage{2, 64, 5, 2}, {4, 128, 1, 2}, {2, 128, 6, 1}, {4, 128, 1, 2}, {2, 128, 2, 1}})
    for (int64_t i = 0; i < s.repeats; ++i) {
      const int64_t wide = in * s.expansion, stride = i == 0 ? s.stride : 1;
      net.add(h, w, in, wide, 1, 1, 1, 0);
      net.add(h, w, wide, wide, 3, 3, stride, 1, wide);
      h = (h + stride - 1) / stride, w = (w + stride - 1) / stride, in = s.channels;
      net.add(h, w, wide, in, 1, 1, 1, 0);
    }
  net.add(7, 6, 128, 512, 1, 1, 1, 0);
  net.add(7, 6, 512, 512, 7, 6, 1, 0, 512);
  net.add(1, 1, 512, 128, 1, 1, 1, 0);
  return net;
}

// A tensor's memory: aligned, and in large pages, as in real use.
Tensor random(int64_t count) {
  Philox rng(1);
  Tensor t = Tensor::empty({{count}, Dtype::f32, Device::cpu});
  std::generate_n(t.data<float>(), count, [&] { return static_cast<float>(rng.uniform()) - 0.5f; });
  return t;
}

enum class Direction { forward, grad_x, grad_w };
constexpr const char* kDirection[] = {"forward", "grad_x", "grad_w"};

auto prepare(const ConvShape& s, Direction d) {
  return [s, d] {
    auto call = [s, d, x = random(s.x_numel()), w = random(s.w_numel()), y = random(s.y_numel())]() mutable {
      if (d == Direction::forward) cpu::conv2d(s, x.data<float>(), w.data<float>(), y.data<float>());
      if (d == Direction::grad_x) cpu::conv2d_grad_x(s, y.data<float>(), w.data<float>(), x.data<float>());
      if (d == Direction::grad_w) cpu::conv2d_grad_w(s, x.data<float>(), y.data<float>(), w.data<float>());
    };
    return std::function<void()>(std::move(call));
  };
}

void add_network(const char* network, const Layers& layers) {
  for (Direction d : {Direction::forward, Direction::grad_x, Direction::grad_w})
    for (const auto& [s, count] : layers.list) {
      if (s.c == 3 && d == Direction::grad_x) continue;  // nobody asks for the gradient of the image
      const bool depthwise = s.groups > 1;
      const double flops = 2.0 * static_cast<double>(s.y_numel() * s.kh * s.kw * s.group_in());
      const double bytes = 4.0 * static_cast<double>(s.x_numel() + s.y_numel() + s.w_numel());
      add({cat(network, " b", s.n, depthwise ? " dw " : " ", kDirection[static_cast<int>(d)]),
           cat(s.h, "x", s.w, " ", s.c, ">", s.o, " ", s.kh, "x", s.kw, " s", s.stride_h, " x", count), depthwise ? 0 : flops, bytes, count,
           prepare(s, d)});
    }
}

void add_product(const char* what, int64_t m, int64_t n, int64_t k, bool ta, bool tb) {
  const bool vector = m == 1;
  add({cat("matmul ", what), cat(m, "x", n, "x", k, ta ? " a^T" : "", tb ? " b^T" : ""), vector ? 0 : 2.0 * static_cast<double>(m * n * k),
       4.0 * static_cast<double>(m * k + k * n + m * n), 1, [=] {
         auto call = [=, a = random(m * k), b = random(k * n), c = random(m * n)]() mutable {
           cpu::matmul(m, n, k, a.data<float>(), ta, b.data<float>(), tb, c.data<float>());
         };
         return std::function<void()>(std::move(call));
       }});
}

const bool added = [] {
  add_network("iresnet18", iresnet(32, {2, 2, 2, 2}));
  add_network("iresnet50", iresnet(32, {3, 4, 14, 3}));
  add_network("iresnet18", iresnet(1, {2, 2, 2, 2}));
  add_network("mobilefacenet", mobilefacenet(64));
  add_product("fc", 1, 512, 25088, false, true);
  for (int64_t m : {4, 32, 64}) add_product("fc", m, 512, 25088, false, true);
  add_product("fc backward", 64, 25088, 512, false, false);
  add_product("fc backward", 512, 25088, 64, true, false);
  for (int transposed = 0; transposed < 4; ++transposed) add_product("square", 1024, 1024, 1024, transposed & 1, transposed & 2);
  add_product("arcface head", 64, 10572, 512, false, true);
  return true;
}();

}  // namespace
}  // namespace vitrine::bench
