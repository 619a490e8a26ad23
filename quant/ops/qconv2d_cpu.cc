#include <mutex>

#include "engine/cpu/isa.h"
#include "engine/cpu/qconv.h"
#include "quant/format.h"
#include "quant/ops/qconv2d_layer.h"

namespace vitrine::quant {
namespace {

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

KernelFor kernel("qconv2d", Device::cpu, [](const Call& c) {
  auto& a = c.as<QConv2dAttrs>();
  const QConv2dInputs<Tensor> in(c.in, a);
  const cpu::ConvShape s = conv_shape(in.x->shape(), in.codes->shape(), c.out[0].shape(), a);
  thread_local std::vector<float> mult, second_mult;  // kept: a run of a model allocates nothing
  const QLayer layer(in, a, mult, second_mult);
  cpu::QEpilogue e = layer.epilogue;
  if (in.residual) e.residual = in.residual->data<uint8_t>();
  if (a.second_bits) e.second = c.out[1].data<uint8_t>();
  auto weights = prepacked(*in.codes, *in.zero, s);
  if (a.out_bits)
    cpu::qconv(s, weights->weights, in.x->data<uint8_t>(), layer.x.zero, e, c.out[0].data<uint8_t>());
  else
    cpu::qconv(s, weights->weights, in.x->data<uint8_t>(), layer.x.zero, e, c.out[0].data<float>());
});

}  // namespace
}  // namespace vitrine::quant
