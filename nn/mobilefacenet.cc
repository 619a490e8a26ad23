#include "nn/mobilefacenet.h"

namespace vitrine::nn {
namespace {

void check_size(int64_t height, int64_t width) {
  CHECK(height % 16 == 0 && width % 16 == 0 && height > 0 && width > 0, "MobileFaceNet: input ", height, "x", width,
        ", expected multiples of 16");
}

struct Flatten : Module {
  Tensor forward(const Tensor& x) override { return flatten(x); }
  void members(Visitor&) override {}
};

Layers conv_bn(int64_t in, int64_t out, int64_t kernel_h, int64_t kernel_w, int64_t stride, int64_t pad, int64_t groups) {
  Layers l;
  l.then<Conv2d>(in, out, kernel_h, kernel_w, stride, pad, groups).then<BatchNorm>(out);
  return l;
}
Layers conv_block(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad, int64_t groups = 1) {
  Layers l = conv_bn(in, out, kernel, kernel, stride, pad, groups);
  l.then<PRelu>(out);
  return l;
}

// 1x1 to mid -> 3x3 depthwise -> 1x1 linear to out
Layers depthwise(int64_t in, int64_t mid, int64_t out, int64_t stride, bool residual) {
  Layers l;
  l.then<Layers>(conv_block(in, mid, 1, 1, 0)).then<Layers>(conv_block(mid, mid, 3, stride, 1, mid));
  l.then<Layers>(conv_bn(mid, out, 1, 1, 1, 0, 1));
  l.residual = residual;
  return l;
}
Layers blocks(int count, int64_t channels) {
  Layers l;
  for (int i = 0; i < count; ++i) l.then<Layers>(depthwise(channels, channels, channels, 1, true));
  return l;
}

}  // namespace

ConvBlock::ConvBlock(int64_t in, int64_t out, int64_t kernel_h, int64_t kernel_w, int64_t stride, int64_t pad, int64_t groups, bool linear)
    : conv(in, out, kernel_h, kernel_w, stride, pad, groups), bn(out), prelu(out), linear(linear) {}

Tensor ConvBlock::forward(const Tensor& x) {
  Tensor y = bn.forward(conv.forward(x));
  return linear ? y : prelu.forward(y);
}

void ConvBlock::members(Visitor& v) {
  v.child("conv", conv), v.child("bn", bn);
  if (!linear) v.child("prelu", prelu);
}

Bottleneck::Bottleneck(int64_t in, int64_t out, int64_t stride, int64_t expansion) : residual(stride == 1 && in == out) {
  int64_t mid = in * expansion;
  conv.add<Conv2d>(in, mid, 1, 1, 1, 0).add<BatchNorm>(mid).add<PRelu>(mid);
  conv.add<Conv2d>(mid, mid, 3, 3, stride, 1, mid).add<BatchNorm>(mid).add<PRelu>(mid);
  conv.add<Conv2d>(mid, out, 1, 1, 1, 0).add<BatchNorm>(out);
}

Tensor Bottleneck::forward(const Tensor& x) {
  Tensor y = conv.forward(x);
  return residual ? add(y, x) : y;
}

MobileFaceNet::MobileFaceNet(const MobileFaceNetSpec& s)
    : conv1(3, 64, 3, 3, 2, 1, 1, false),
      dw_conv1(64, 64, 3, 3, 1, 1, 64, false),
      conv2(128, 512, 1, 1, 1, 0, 1, false),
      linear7(512, 512, s.height / 16, s.width / 16, 1, 0, 512, true),
      linear1(512, s.embedding, 1, 1, 1, 0, 1, true) {
  check_size(s.height, s.width);
  struct Stage {
    int64_t expansion, channels;
    int repeats;
    int64_t stride;
  };
  int64_t in = 64;
  for (auto [expansion, channels, repeats, stride] : {Stage{2, 64, 5, 2}, {4, 128, 1, 2}, {2, 128, 6, 1}, {4, 128, 1, 2}, {2, 128, 2, 1}})
    for (int i = 0; i < repeats; ++i) {
      blocks.add<Bottleneck>(in, channels, i == 0 ? stride : 1, expansion);
      in = channels;
    }
}

Tensor MobileFaceNet::forward(const Tensor& x) {
  Tensor y = blocks.forward(dw_conv1.forward(conv1.forward(x)));
  return flatten(linear1.forward(linear7.forward(conv2.forward(y))));
}

void MobileFaceNet::members(Visitor& v) {
  v.child("conv1", conv1), v.child("dw_conv1", dw_conv1), v.child("blocks", blocks);
  v.child("conv2", conv2), v.child("linear7", linear7), v.child("linear1", linear1);
}

Mbf::Mbf(int64_t height, int64_t width, int64_t embedding) : conv_sep(conv_block(256, 512, 1, 1, 0)) {
  check_size(height, width);
  layers.add<Layers>(conv_block(3, 128, 3, 2, 1)).add<Layers>(conv_block(128, 128, 3, 1, 1, 64));
  layers.add<Layers>(depthwise(128, 128, 128, 2, false)).add<Layers>(blocks(4, 128));
  layers.add<Layers>(depthwise(128, 256, 256, 2, false)).add<Layers>(blocks(6, 256));
  layers.add<Layers>(depthwise(256, 512, 256, 2, false)).add<Layers>(blocks(2, 256));
  features.then<Layers>(conv_bn(512, 512, height / 16, width / 16, 1, 0, 512)).then<Flatten>();
  features.then<Linear>(512, embedding, false).then<BatchNorm>(embedding);
}

}  // namespace vitrine::nn
