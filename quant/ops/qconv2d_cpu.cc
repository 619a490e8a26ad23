#include "quant/ops/qconv2d.h"

#include <mutex>

#include "engine/cpu/isa.h"
#include "engine/cpu/qconv.h"
#include "quant/format.h"
#include "quant/ops/quantize.h"

namespace vitrine::quant {
namespace {

cpu::ConvShape conv_shape(const Shape& x, const Shape& w, const Shape& y, const Conv2dAttrs& a) {
  if (x.rank() == 2) return {.n = x[0], .h = 1, .w = 1, .c = x[1], .o = w[0], .kh = 1, .kw = 1, .oh = 1, .ow = 1};
  return {x[0], x[1],       x[2],       x[3],    w[0],    w[1],         w[2],         y[1],
          y[2], a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h, a.dilation_w, a.groups};
}

// The kernels' own layout of the weights, kept with the codes it was made of.
struct Prepacked {
  uint32_t version;
  int64_t groups;
  cpu::Isa isa;
  Tensor zero;
  uint32_t zero_version;
  cpu::QWeights weights;
};

std::shared_ptr<Prepacked> prepacked(const Tensor& codes, const Tensor& zero, const cpu::ConvShape& s) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  auto& kept = codes.buffer()->derived;
  auto p = std::static_pointer_cast<Prepacked>(kept);
  const bool valid = p && p->version == codes.version() && p->groups == s.groups && p->isa == cpu::isa() && p->zero.shares(zero) &&
                     p->zero_version == zero.version();
  if (valid) return p;
  Tensor q = unpack_codes(codes);
  const int bits = static_cast<int>(code_bits(codes.dtype()));
  p = std::make_shared<Prepacked>(Prepacked{codes.version(), s.groups, cpu::isa(), zero, zero.version(),
                                            cpu::QWeights(s, bits, q.data<int8_t>(), zero.data<int32_t>())});
  kept = p;
  return p;
}

// numerator[o] / (a * b[o]) in f64, rounded once; b null: 1. Memory of this thread, for one call.
const float* quotient(std::vector<float>& out, const Tensor& numerator, float a, const float* b) {
  out.resize(numerator.numel());
  for (size_t o = 0; o < out.size(); ++o)
    out[o] = static_cast<float>(double{numerator.data<float>()[o]} / (double{a} * (b ? double{b[o]} : 1.0)));
  return out.data();
}

const float* floats(const Tensor* t) { return t ? t->data<float>() : nullptr; }

KernelFor kernel("qconv2d", Device::cpu, [](const Call& c) {
  auto& a = c.as<QConv2dAttrs>();
  const QConv2dInputs<Tensor> in(c.in, a);
  const cpu::ConvShape s = conv_shape(in.x->shape(), in.codes->shape(), c.out[0].shape(), a);
  const Grid x = grid_of(*in.x_range, a.x_bits);
  thread_local std::vector<float> mult, second_mult;
  cpu::QEpilogue e;
  e.mult = quotient(mult, *in.gain, x.scale, in.scale->data<float>()), e.add = in.shift->data<float>();
  e.slope = floats(in.slope), e.post_mult = floats(in.post_gain), e.post_add = floats(in.post_shift);
  if (in.residual) {
    const Grid r = grid_of(*in.residual_range, a.residual_bits);
    e.residual = in.residual->data<uint8_t>(), e.residual_inv_scale = 1 / r.scale, e.residual_zero = r.zero;
  }
  if (in.out_range) {
    const Grid y = grid_of(*in.out_range, a.out_bits);
    e.out_scale = y.scale, e.out_zero = y.zero, e.out_max = y.max;
  }
  if (in.second_gain) {
    const Grid z = grid_of(*in.second_range, a.second_bits);
    e.second = c.out[1].data<uint8_t>();
    e.second_mult = quotient(second_mult, *in.second_gain, e.out_scale, nullptr), e.second_add = in.second_shift->data<float>();
    e.second_scale = z.scale, e.second_zero = z.zero, e.second_max = z.max;
  }
  auto weights = prepacked(*in.codes, *in.zero, s);
  if (a.out_bits)
    cpu::qconv(s, weights->weights, in.x->data<uint8_t>(), x.zero, e, c.out[0].data<uint8_t>());
  else
    cpu::qconv(s, weights->weights, in.x->data<uint8_t>(), x.zero, e, c.out[0].data<float>());
});

}  // namespace
}  // namespace vitrine::quant
