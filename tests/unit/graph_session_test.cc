// Session: the same bits as run(), from buffers that are shared and made once.
#include <gtest/gtest.h>

#include "engine/graph/session.h"
#include "nn/network.h"
#include "tests/recipe.h"

namespace vitrine {
namespace {

Tensor batch(const Tensor& image, int64_t n) {
  std::vector<float> v;
  for (int64_t i = 0; i < n; ++i)
    for (float x : image.values<float>()) v.push_back(x * (1 - 0.1f * static_cast<float>(i)));
  Shape s = image.shape();
  s[0] = n;
  return Tensor::from(s, v);
}

TEST(Session, GivesTheBitsOfRunForAnyBatchAgainAndAgain) {
  Model m = nn::make_model("iresnet18", 1, {32, 32, 1.0 / 16, 8});
  Tensor x = Tensor::zeros({1, 32, 32, 3});
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(recipe::u_d(i, 5)) - 0.5f;
  for (int64_t n : {1, 3}) {
    Session s(m.graph, m.tensors, n);
    for (int64_t k : {n, n + 1}) {  // the second time with other images
      Tensor images = batch(x, k);
      Shape shape = images.shape();
      shape[0] = n;
      std::vector<float> last(images.data<float>() + (k - n) * x.numel(), images.data<float>() + k * x.numel());
      images = Tensor::from(shape, last);
      EXPECT_EQ(s.run({images})[0].values(), run(m.graph, m.tensors, {images})[0].values()) << n;
    }
    EXPECT_THROW(s.run({batch(x, n + 1)}), Error);
    EXPECT_THROW(s.run({}), Error);
  }
}

TEST(Session, SharesBuffersAndMakesNoneInARun) {
  Model m = nn::make_model("iresnet18", 1, {32, 32, 1.0 / 16, 8});
  int64_t every = 0;
  for (const Value& v : m.graph.values)
    if (v.kind == Value::Kind::computed) every += v.meta.nbytes();
  Session s(m.graph, m.tensors, 1);
  EXPECT_LT(s.bytes(), every / 5);
  Tensor x = Tensor::zeros({1, 32, 32, 3});
  s.run({x});
  reset_peak(Device::cpu);
  const int64_t live = memory_use(Device::cpu).live;
  int nodes = 0;
  s.run({x}, [&](const GraphNode&, const Tensors&) { ++nodes; });
  EXPECT_EQ(memory_use(Device::cpu).peak, live);
  EXPECT_EQ(nodes, static_cast<int>(m.graph.nodes.size()));
}

TEST(Session, RefusesGraphsThatUpdateAndModelsWithATensorMissing) {
  Model m = nn::make_model("iresnet18", 1, {32, 32, 1.0 / 64, 8});
  TensorMap some = m.tensors;
  some.erase("conv1.weight");
  EXPECT_THROW(Session(m.graph, some, 1), Error);
  Graph updating = m.graph;
  updating.updates.push_back({updating.find("bn1.running_mean"), updating.find("bn1.running_mean")});
  EXPECT_THROW(Session(updating, m.tensors, 1), Error);
}

}  // namespace
}  // namespace vitrine
