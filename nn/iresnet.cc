#include "nn/iresnet.h"

#include <algorithm>
#include <cmath>

namespace vitrine::nn {
namespace {

int64_t planes(const IResNetSpec& s, int stage) {
  return std::max<int64_t>(1, std::llround(s.channels * static_cast<double>(64 << stage)));
}
int64_t halved(int64_t extent, int times) {
  for (int i = 0; i < times; ++i) extent = (extent + 1) / 2;
  return extent;
}

}  // namespace

IBasicBlock::IBasicBlock(int64_t in, int64_t out, int64_t stride)
    : bn1(in), conv1(in, out, 3, 3, 1, 1), bn2(out), prelu(out), conv2(out, out, 3, 3, stride, 1), bn3(out) {
  if (stride != 1 || in != out) downsample.add<Conv2d>(in, out, 1, 1, stride, 0).add<BatchNorm>(out);
}

Tensor IBasicBlock::forward(const Tensor& x) {
  Tensor y = bn3.forward(conv2.forward(prelu.forward(bn2.forward(conv1.forward(bn1.forward(x))))));
  return add(y, downsample.forward(x));
}

void IBasicBlock::members(Visitor& v) {
  v.child("bn1", bn1), v.child("conv1", conv1), v.child("bn2", bn2), v.child("prelu", prelu), v.child("conv2", conv2), v.child("bn3", bn3);
  if (!downsample.children.empty()) v.child("downsample", downsample);
}

IResNet::IResNet(const IResNetSpec& s)
    : conv1(3, planes(s, 0), 3, 3, 1, 1),
      bn1(planes(s, 0)),
      prelu(planes(s, 0)),
      layers(4),
      bn2(planes(s, 3)),
      fc(planes(s, 3) * halved(s.height, 4) * halved(s.width, 4), s.embedding),
      features(s.embedding, false) {
  CHECK(s.blocks.size() == 4, "IResNet: ", s.blocks.size(), " stages, expected 4");
  int64_t in = planes(s, 0);
  for (int stage = 0; stage < 4; ++stage)
    for (int b = 0; b < s.blocks[stage]; ++b) {
      layers[stage].add<IBasicBlock>(in, planes(s, stage), b == 0 ? 2 : 1);
      in = planes(s, stage);
    }
}

Tensor IResNet::forward(const Tensor& x) {
  Tensor y = prelu.forward(bn1.forward(conv1.forward(x)));
  for (auto& layer : layers) y = layer.forward(y);
  return features.forward(fc.forward(flatten(bn2.forward(y))));
}

void IResNet::members(Visitor& v) {
  v.child("conv1", conv1), v.child("bn1", bn1), v.child("prelu", prelu);
  for (int i = 0; i < 4; ++i) v.child(cat("layer", i + 1), layers[i]);
  v.child("bn2", bn2), v.child("fc", fc), v.child("features", features);
}

}  // namespace vitrine::nn
