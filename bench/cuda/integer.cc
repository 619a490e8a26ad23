// Integer layers on the cuda device. A line for every distinct layer of a network and batch: time and TOP/s of qconv2d with the
// epilogue that the layer has (scale and shift, PReLU, codes out) at w8a8 by dp4a and by tensor cores, w6a6, w4a4 by bytes and by four
// bits, and of cuDNN's and cuBLAS' int8 (no epilogue, no zero points) where they take the shape. And images/s of whole packed networks.
#include "bench/cuda/integer.h"

#include <cstdio>

#include "bench/cuda/timing.h"
#include "bench/layers.h"
#include "engine/core/rng.h"
#include "engine/cuda/library.h"
#include "nn/network.h"
#include "quant/format.h"
#include "quant/lower.h"
#include "quant/ops/qconv2d.h"
#include "quant/ops/qconv2d_cuda.h"
#include "quant/placement.h"

namespace vitrine::bench {
namespace {

using cpu::ConvShape;
using quant::QPath;

template <class T>
Tensor random(Shape shape, int64_t low, int64_t high) {
  Tensor t = Tensor::zeros(shape, dtype_of<T>());
  Philox rng(1);
  std::generate_n(t.data<T>(), t.numel(), [&] { return static_cast<T>(low + static_cast<int64_t>(rng.below(high - low))); });
  return t;
}

Step ours(const ConvShape& s, int bits, bool prelu) {
  const int64_t half = int64_t{1} << (bits - 1);
  quant::QConv2dAttrs a;
  a.stride_h = s.stride_h, a.stride_w = s.stride_w, a.pad_h = s.pad_h, a.pad_w = s.pad_w, a.groups = s.groups;
  a.x_bits = a.out_bits = bits, a.slope = prelu;
  auto vector = [&](double v) { return Tensor::full({s.o}, v); };
  const Tensor range = Tensor::from({2}, std::vector<float>{-1, 1.5f});
  Tensors in{random<uint8_t>({s.n, s.h, s.w, s.c}, 0, 2 * half),
             range,
             quant::pack_codes(random<int8_t>({s.o, s.kh, s.kw, s.group_in()}, -half, half), bits),
             vector(static_cast<double>(half)),
             Tensor::zeros({s.o}, Dtype::i32),
             vector(0.1),
             vector(0.01)};
  if (prelu) in.push_back(vector(0.25));
  in.push_back(range);
  for (Tensor& t : in) t = t.to(Device::cuda);
  return [in, a] { quant::qconv2d(in, a); };
}

// Empty where the library does not take the shape.
Step cudnn(const ConvShape& s) {
  const cuda::ConvProblem p = problem(cuda::Direction::forward, s);
  const Tensor x = random<int8_t>({s.x_numel()}, -128, 128).to(Device::cuda), w = random<int8_t>({s.w_numel()}, -128, 128).to(Device::cuda);
  const Tensor y = Tensor::zeros({s.y_numel()}).to(Device::cuda);
  const Step step = [=] { cuda::cudnn_conv_int8(p, x.raw(), w.raw(), y.raw()); };
  return cuda::cudnn_conv_int8(p, x.raw(), w.raw(), y.raw()) ? step : Step();
}
Step cublas(const ConvShape& s) {
  if (s.kh * s.kw * s.stride_h * s.stride_w * s.groups != 1) return {};
  const int64_t m = s.n * s.h * s.w;
  const Tensor x = random<int8_t>({m * s.c}, -128, 128).to(Device::cuda), w = random<int8_t>({s.w_numel()}, -128, 128).to(Device::cuda);
  const Tensor y = Tensor::zeros({m * s.o}, Dtype::i32).to(Device::cuda);
  const Step step = [=] { cuda::cublas_matmul_int8(m, s.o, s.c, x.raw(), w.raw(), y.raw()); };
  return cuda::cublas_matmul_int8(m, s.o, s.c, x.raw(), w.raw(), y.raw()) ? step : Step();
}

template <class Make>
void row(const std::string& what, const ConvShape& s, const Make& make) {
  try {
    const Step step = make();
    if (!step) return;
    const Timing t = timing(step, 0.02);
    const double operations = 2.0 * static_cast<double>(s.y_numel() * s.kh * s.kw * s.group_in());
    std::printf("%-60s %10.2f us %8.2f TOP/s  spread %4.1f%%\n", what.c_str(), 1e6 * t.seconds, 1e-12 * operations / t.seconds,
                100 * t.spread);
  } catch (const Error& e) {
    std::printf("%-60s %s\n", what.c_str(), e.what());
  }
  std::fflush(stdout);
}

void layer_rows(const Layer& l, const std::string& what) {
  const ConvShape& s = l.shape;
  for (auto [path, name] : {std::pair{QPath::dp4a, "w8a8 dp4a"}, {QPath::bytes, "w8a8 tensor cores"}}) {
    quant::qpath() = path;
    row(what + name, s, [&] { return ours(s, 8, l.prelu); });
  }
  quant::qpath() = QPath::bytes;
  for (int bits : {6, 4}) row(cat(what, "w", bits, "a", bits, " tensor cores"), s, [&] { return ours(s, bits, l.prelu); });
  quant::qpath() = QPath::nibbles;
  row(what + "w4a4 tensor cores, 4 bits", s, [&] { return ours(s, 4, l.prelu); });
  quant::qpath() = QPath::chosen;
  row(what + "int8 cuDNN", s, [&] { return cudnn(s); });
  row(what + "int8 cuBLAS", s, [&] { return cublas(s); });
}

void network_row(const std::string& network, int64_t batch, int bits) {
  Model m = quant::integer(nn::make_model(network, 1), {bits, bits});
  const Tensor x = random<uint8_t>({batch, 112, 112, 3}, 0, 256).to(Dtype::f32);
  for (auto& [name, t] : m.tensors)  // uncalibrated, but of a plausible size
    if (name.ends_with(".range")) t = Tensor::from({2}, std::vector<float>{-3, 3});
  const Model packed = to(quant::lower(m), Device::cuda);
  const Tensor on_device = x.to(Device::cuda);
  const Timing t = timing([&] {
    NoGrad quiet;
    run(packed.graph, packed.tensors, {on_device});
  });
  std::printf("%-60s %10.1f images/s  spread %4.1f%%\n", cat(network, " b", batch, " packed w", bits, "a", bits).c_str(),
              static_cast<double>(batch) / t.seconds, 100 * t.spread);
  std::fflush(stdout);
}

}  // namespace

void integer_rows(const std::vector<std::string>& networks, const std::vector<int64_t>& batches) {
  for (const std::string& network : networks)
    for (int64_t batch : batches) {
      for (int bits : {8, 6, 4}) network_row(network, batch, bits);
      for (const Layer& l : layers(network, batch)) layer_rows(l, cat(network, " b", batch, " ", describe(l), " "));
    }
}

}  // namespace vitrine::bench
