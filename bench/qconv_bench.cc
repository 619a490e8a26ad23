// Every distinct convolution and product of the networks on integer codes, with its multiplicity: ours, and oneDNN's where it is installed
// (libdnnl-dev). Epilogue: scale and shift per channel, PReLU (leaky ReLU in oneDNN), codes out. And "network": all layers of a network one
// after the other, each with weights and an output of its own and the epilogue that it has in the integer form of the network: PReLU, or
// the addition and, as a second output, the next block's BatchNorm.
#include <algorithm>
#include <vector>

#include "bench/layers.h"
#include "bench/report.h"
#include "engine/core/rng.h"
#include "engine/core/tensor.h"
#include "engine/cpu/qconv.h"
#if __has_include(<oneapi/dnnl/dnnl.hpp>)
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#endif

namespace vitrine::bench {
namespace {

using cpu::ConvShape;

// Memory in large pages, as in real use.
template <class T>
struct Random {
  Tensor memory;
  T* data;
  Random(int64_t count, int64_t low, int64_t high) : memory(Tensor::empty({{(count + 3) / 4}, Dtype::f32, Device::cpu})) {
    Philox rng(1);
    data = reinterpret_cast<T*>(memory.data<float>());
    const int64_t period = std::min<int64_t>(count, 65521);
    std::generate_n(data, period,
                    [&] { return static_cast<T>(low + static_cast<int64_t>(rng.uniform() * static_cast<double>(high - low))); });
    for (int64_t i = period; i < count; i += period) std::copy_n(data, std::min(period, count - i), data + i);
  }
};

std::function<void()> ours(const ConvShape& s, int bits, bool prelu, bool add_second) {
  const int64_t half = int64_t{1} << (bits - 1);
  const Random<int8_t> codes(s.w_numel(), -half, half);
  std::vector<int32_t> zero(s.o);
  for (int64_t o = 0; o < s.o; ++o) zero[o] = static_cast<int32_t>(o * half / (4 * s.o));
  return [=, w = cpu::QWeights(s, bits, codes.data, zero.data()), x = Random<uint8_t>(s.x_numel(), 0, 2 * half),
          y = Random<uint8_t>(s.y_numel(), 0, 1), residual = Random<uint8_t>(add_second ? s.y_numel() : 1, 0, 2 * half),
          second = Random<uint8_t>(add_second ? s.y_numel() : 1, 0, 1), mult = std::vector<float>(s.o, 1e-3f),
          add = std::vector<float>(s.o, 0.5f), slope = std::vector<float>(s.o, 0.25f)] {
    cpu::QEpilogue e{.mult = mult.data(), .add = add.data(), .out_scale = 1, .out_zero = 100};
    if (prelu) e.slope = slope.data();
    if (add_second) {
      e.residual = residual.data, e.residual_inv_scale = 0.5f;
      e.second = second.data, e.second_mult = mult.data(), e.second_add = add.data(), e.second_scale = 10;
    }
    cpu::qconv(s, w, x.data, static_cast<int32_t>(half), e, y.data);
  };
}
std::function<void()> ours(const ConvShape& s, int bits) { return ours(s, bits, true, false); }

#if __has_include(<oneapi/dnnl/dnnl.hpp>)
// In the layouts that oneDNN asks for, converted beforehand.
std::function<void()> onednn(const ConvShape& s, int) {
  using namespace dnnl;
  using tag = memory::format_tag;
  const engine cpu(engine::kind::cpu, 0);
  const memory::dims wd =
      s.groups > 1 ? memory::dims{s.groups, s.group_out(), s.group_in(), s.kh, s.kw} : memory::dims{s.o, s.c, s.kh, s.kw};
  const memory::dims right{(s.oh - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1 - s.h - s.pad_h,
                           (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1 - s.w - s.pad_w};
  primitive_attr attr;
  attr.set_output_scales(2, std::vector<float>(s.o, 1e-3f));
  post_ops after;
  after.append_eltwise(1, algorithm::eltwise_relu, 0.25f, 0);
  attr.set_post_ops(after);
  const convolution_forward::primitive_desc d({prop_kind::forward_inference,
                                               algorithm::convolution_direct,
                                               {{s.n, s.c, s.h, s.w}, memory::data_type::u8, tag::any},
                                               {wd, memory::data_type::s8, tag::any},
                                               {{s.o}, memory::data_type::f32, tag::any},
                                               {{s.n, s.o, s.oh, s.ow}, memory::data_type::u8, tag::any},
                                               {s.stride_h, s.stride_w},
                                               {s.dilation_h - 1, s.dilation_w - 1},
                                               {s.pad_h, s.pad_w},
                                               right},
                                              attr, cpu);
  memory x(d.src_desc(), cpu), w(d.weights_desc(), cpu), b(d.bias_desc(), cpu), y(d.dst_desc(), cpu);
  for (memory* m : {&x, &w, &y}) std::fill_n(static_cast<char*>(m->get_data_handle()), m->get_desc().get_size(), 1);
  std::fill_n(static_cast<float*>(b.get_data_handle()), s.o, 0.5f);
  const std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}};
  return [=, c = convolution_forward(d), queue = stream(cpu)]() mutable { c.execute(queue, arguments), queue.wait(); };
}
#endif

void add_network(const std::string& network, int64_t batch, const char* what, std::function<void()> (*make)(const ConvShape&, int),
                 int bits) {
  for (const Layer& l : layers(network, batch)) {
    const ConvShape s = l.shape;
    const bool memory_bound = s.groups > 1 || (s.oh * s.ow == 1 && batch == 1);
    const double ops = 2.0 * static_cast<double>(s.y_numel() * s.kh * s.kw * s.group_in());
    const double bytes = static_cast<double>(s.x_numel() + s.y_numel() + s.w_numel() * bits / 8);
    add({cat(network, " b", batch, " ", what), describe(l), memory_bound ? 0 : ops, bytes, l.count, [=] { return make(s, bits); }, true});
  }
}

void add_whole(const std::string& network, int64_t batch, int bits) {
  const std::vector<Layer> all = sequence(network, batch);
  double ops = 0;
  for (const Layer& l : all) ops += 2.0 * static_cast<double>(l.shape.y_numel() * l.shape.kh * l.shape.kw * l.shape.group_in());
  add({cat(network, " b", batch, " network"), cat("w", bits, "a", bits), ops, 0, 1,
       [=] {
         std::vector<std::function<void()>> calls;
         for (const Layer& l : all) calls.push_back(ours(l.shape, bits, l.prelu, l.add && l.shape.kh > 1));
         return [=] {
           for (const auto& call : calls) call();
         };
       },
       true});
}

const bool added = [] {
  for (const char* network : {"iresnet18", "iresnet34", "iresnet50", "iresnet100", "mobilefacenet"})
    for (int64_t batch : {1, 32}) {
      for (int bits : {8, 6, 4}) add_whole(network, batch, bits);
      add_network(network, batch, "w8a8", ours, 8);
      add_network(network, batch, "w6a6", ours, 6);
      add_network(network, batch, "w4a4", ours, 4);
#if __has_include(<oneapi/dnnl/dnnl.hpp>)
      add_network(network, batch, "w8a8 oneDNN", onednn, 8);
#endif
    }
  return true;
}();

}  // namespace
}  // namespace vitrine::bench
