// Integer layers: every step of the epilogue, every width of weights, and the ways between floats and codes.
#include "quant/ops/qconv2d.h"
#include "engine/ops.h"
#include "quant/format.h"
#include "quant/ops/quantize.h"
#include "tests/case.h"

namespace vitrine {
namespace {

using namespace quant;
using Inputs = std::function<Tensors(Maker&)>;
using Run = std::function<Tensors(const Tensors&)>;

Tensor f32(const Tensor& t) { return t.to(Dtype::f32); }

// A range as two tensors whose difference it is: the harness also calls with absolute values, and a range must contain 0.
void add_range(Tensors& in, float lo, float hi) {
  in.push_back(Tensor::from({2}, std::vector<float>{0, hi}));
  in.push_back(Tensor::from({2}, std::vector<float>{-lo, 0}));
}

struct Layer {
  Shape x, w;
  int64_t w_bits;
  QConv2dAttrs attrs;
};

Inputs inputs(const Layer& l) {
  return [l](Maker& m) {
    auto codes = [&](const Shape& s, int64_t bits) { return m.integers(s, 0, (int64_t{1} << bits) - 1).to(Dtype::u8); };
    const int64_t o = l.w[0], half = int64_t{1} << (l.w_bits - 1);
    const double gain = 1 / std::sqrt(static_cast<double>(l.w.product(1, l.w.rank())));
    Shape y{l.x[0], o};
    if (l.x.rank() == 4) y = conv2d(Tensor::zeros(l.x), Tensor::zeros(l.w), l.attrs).shape();
    Tensors in{codes(l.x, l.attrs.x_bits)};
    add_range(in, -1.1f, 2.3f);
    in.push_back(pack_codes(m.integers(l.w, -half, half - 1).to(Dtype::i8), l.w_bits));
    in.push_back(f32(m.uniform({o}, 0.8 * static_cast<double>(half), 1.2 * static_cast<double>(half))));
    in.push_back(m.integers({o}, -half / 2, half / 2).to(Dtype::i32));
    in.push_back(f32(m.uniform({o}, 0.5 * gain, 2 * gain))), in.push_back(f32(m.uniform({o})));
    if (l.attrs.slope) in.push_back(f32(m.uniform({o}, -0.1, 0.4)));
    if (l.attrs.residual_bits) in.push_back(codes(y, l.attrs.residual_bits)), add_range(in, -2, 1.5f);
    if (l.attrs.post) in.push_back(f32(m.uniform({o}, 0.5, 1.5))), in.push_back(f32(m.uniform({o})));
    if (l.attrs.out_bits) add_range(in, -1.7f, 3);
    if (l.attrs.second_bits) {
      in.push_back(f32(m.uniform({o}, -1.5, 1.5))), in.push_back(f32(m.uniform({o})));
      add_range(in, -2.2f, 2);
    }
    return in;
  };
}

Run run(const QConv2dAttrs& a) {
  return [a](const Tensors& in) {
    Tensors real;
    auto next = in.begin();
    auto take = [&](int n) { real.insert(real.end(), next, next + n), next += n; };
    auto range = [&] { real.push_back(sub(next[0], next[1])), next += 2; };
    take(1), range(), take(5 + (a.slope ? 1 : 0));
    if (a.residual_bits) take(1), range();
    if (a.post) take(2);
    if (a.out_bits) range();
    if (a.second_bits) take(2), range();
    return qconv2d(real, a);
  };
}

struct AddLayer {
  AddLayer(const char* label, const Layer& l) { AddCase({"qconv2d", label, inputs(l), run(l.attrs), 16, false, true}); }
};

QConv2dAttrs attrs(Conv2dAttrs conv, int64_t x_bits, int64_t out_bits, int64_t slope = 0, int64_t residual_bits = 0, int64_t post = 0,
                   int64_t second_bits = 0) {
  QConv2dAttrs a;
  static_cast<Conv2dAttrs&>(a) = conv;
  a.x_bits = x_bits, a.out_bits = out_bits, a.slope = slope, a.residual_bits = residual_bits, a.post = post, a.second_bits = second_bits;
  return a;
}

AddLayer whole("w8a8, every step", {{2, 7, 5, 19}, {21, 3, 3, 19}, 8, attrs(Conv2dAttrs(1, 1), 8, 8, 1, 8, 1, 8)});
AddLayer stem("w6a6, three channels, stride 2", {{1, 9, 11, 3}, {16, 3, 3, 3}, 6, attrs(Conv2dAttrs(2, 1), 8, 6, 1)});
AddLayer depthwise("w4a4, depthwise", {{2, 6, 7, 24}, {24, 3, 3, 1}, 4, attrs(Conv2dAttrs(1, 1, 24), 4, 4, 1)});
AddLayer wide_depthwise("w8a8, depthwise", {{2, 6, 7, 24}, {24, 3, 3, 1}, 8, attrs(Conv2dAttrs(1, 1, 24), 8, 8, 1)});
AddLayer groups("w5a7, groups", {{1, 5, 5, 12}, {8, 3, 3, 6}, 5, attrs(Conv2dAttrs(1, 1, 2), 7, 7)});
AddLayer residual("w6a6, residual, second", {{1, 5, 6, 16}, {16, 1, 1, 16}, 6, attrs(Conv2dAttrs(1, 0), 6, 6, 0, 6, 0, 6)});
AddLayer floats("w7a3, floats out", {{2, 4, 4, 9}, {10, 3, 3, 9}, 7, attrs(Conv2dAttrs(1, 0), 3, 0, 0, 5)});
AddLayer matrix("w3a8, matrix", {{3, 70}, {11, 70}, 3, attrs(Conv2dAttrs(), 8, 0)});
AddLayer small("w2a2, matrix with codes out", {{5, 33}, {7, 33}, 2, attrs(Conv2dAttrs(), 2, 2, 1)});
AddLayer many("w8a6, many pixels of whole units", {{1, 19, 17, 32}, {70, 3, 3, 32}, 8, attrs(Conv2dAttrs(1, 2, 1, 2), 6, 8, 1)});
AddLayer wide_groups("w4a8, wide groups", {{2, 6, 5, 32}, {40, 3, 3, 16}, 4, attrs(Conv2dAttrs(2, 1, 2), 8, 5, 0, 8)});
AddLayer deep("w6a6, deep matrix", {{3, 700}, {9, 700}, 6, attrs(Conv2dAttrs(), 6, 6, 0, 6, 1, 6)});
AddLayer nibbles("w4a4, many pixels of whole units", {{1, 19, 17, 32}, {70, 3, 3, 32}, 4, attrs(Conv2dAttrs(1, 2, 1, 2), 4, 8, 1)});
AddLayer odd_nibbles("w3a4, depth of no whole unit", {{2, 7, 5, 19}, {21, 3, 3, 19}, 3, attrs(Conv2dAttrs(1, 1), 4, 4, 1, 4, 1, 4)});
AddLayer deep_nibbles("w2a3, deep matrix", {{3, 700}, {9, 700}, 2, attrs(Conv2dAttrs(), 3, 0)});
AddLayer none("empty batch", {{0, 5, 5, 4}, {4, 3, 3, 4}, 8, attrs(Conv2dAttrs(1, 1), 8, 8)});

Inputs with_range(Shape s, double low, double high) {
  return [=](Maker& m) {
    Tensors in{f32(m.uniform(s, low, high))};
    add_range(in, -1, 2);
    return in;
  };
}
AddCase q6({"quantize", "6 bits, inside and outside the range", with_range({3, 7, 5}, -2, 3),
            [](const Tensors& in) { return Tensors{quantize(in[0], sub(in[1], in[2]), 6)}; }, 16, false, true});
AddCase q8({"quantize", "many chunks", with_range({50003}, -2, 3),
            [](const Tensors& in) { return Tensors{quantize(in[0], sub(in[1], in[2]), 8)}; }, 16, false, true});

Tensors stored(Maker& m) {
  Tensors in{m.integers({40007}, 0, 31).to(Dtype::u8)};
  add_range(in, -1, 2);
  return in;
}
AddCase d5({"dequantize", "5 bits", stored, [](const Tensors& in) { return Tensors{dequantize(in[0], sub(in[1], in[2]), 5)}; }, 16, false,
            true});

Tensors weights(Maker& m) {
  return {pack_codes(m.integers({6, 3, 3, 5}, -32, 31).to(Dtype::i8), 6), f32(m.uniform({6}, 10, 20)),
          m.integers({6}, -40, 40).to(Dtype::i32)};
}
AddCase w6({"dequantize_weight", "6 bits", weights, [](const Tensors& in) { return Tensors{dequantize_weight(in[0], in[1], in[2])}; }, 16,
            false, true});

}  // namespace
}  // namespace vitrine
