// Sizes: the exact packed bytes of the networks, and the ratios by which papers state theirs (spec A9).
#include <gtest/gtest.h>

#include "nn/network.h"
#include "quant/placement.h"
#include "tools/sizes.h"

namespace vitrine::tools {
namespace {

struct Network {
  const char* name;
  int64_t w8, w6, state_dict;
};

class PackedSize : public testing::TestWithParam<Network> {};
TEST_P(PackedSize, IsExactToTheByte) {
  const Network& n = GetParam();
  const Graph g = nn::make_model(n.name, 1).graph;
  EXPECT_EQ(sizes(g, 8).packed_bytes, n.w8);
  EXPECT_EQ(sizes(g, 6).packed_bytes, n.w6);
  EXPECT_EQ(state_dict_bytes(g), n.state_dict);
}
INSTANTIATE_TEST_SUITE_P(Networks, PackedSize,
                         testing::Values(Network{"iresnet18", 24'179'272, 18'177'176, 96'161'528},
                                         Network{"iresnet34", 34'406'344, 25'879'064, 136'661'176},
                                         Network{"iresnet50", 43'982'920, 33'096'344, 174'516'600},
                                         Network{"iresnet100", 65'868'760, 49'600'040, 260'904'400}),
                         [](const auto& info) { return std::string(info.param.name); });

// Ends at 8 bits, a matrix left alone, the integer placement: what pack writes, and no bits that nobody has.
TEST(PackedSize, OfAQuantizedNetworkHasTheBitsOfItsLayers) {
  const Model m = nn::make_model("iresnet18", 1, {32, 32, 0.25, 16});
  const auto bytes = [&](const char* bits, auto change) {
    quant::QuantSpec spec = quant::parse_bits(bits);
    change(spec);
    return sizes(quant::quantface(m, spec).graph, 4).packed_bytes;
  };
  const auto as_it_is = [](quant::QuantSpec&) {};
  for (const char* bits : {"w4a4", "w8a8"})
    EXPECT_EQ(bytes(bits, as_it_is), sizes(m.graph, quant::parse_bits(bits).weight_bits).packed_bytes) << bits;
  const int64_t stem = 16 * 27, matrix = m.tensors.at("fc.weight").numel(), rows = 16;
  EXPECT_EQ(bytes("w4a4", [](quant::QuantSpec& s) { s.ends = 8; }), bytes("w4a4", as_it_is) + (stem + matrix) / 2);
  EXPECT_EQ(bytes("w4a4", [](quant::QuantSpec& s) { s.layers = quant::parse_layer_bits("fc=w32a32"); }),
            bytes("w4a4", as_it_is) + 4 * matrix - matrix / 2 - 8 * rows);
}

TEST(PublishedSize, FollowsFromTheFloatSizeByARatio) {
  EXPECT_NEAR(size_by_quantface(261.22, 8), 65.31, 0.005);
  EXPECT_NEAR(size_by_quantface(261.22, 6), 49.009, 0.0005);
  EXPECT_NEAR(size_by_quantface(174.68, 8), 43.67, 0.005);
  EXPECT_NEAR(size_by_quantface(174.68, 6), 32.773, 0.0005);
  EXPECT_NEAR(size_by_quantface(96.22, 8), 24.055, 0.0005);   // printed as 24.10
  EXPECT_NEAR(size_by_quantface(96.22, 6), 18.0525, 0.0005);  // printed as 18.10
  EXPECT_NEAR(size_by_bits(130.44, 8), 32.61, 0.005);         // R34: MiB
  EXPECT_NEAR(size_by_bits(130.44, 6), 24.4575, 0.00005);     // printed as 24.45
}

}  // namespace
}  // namespace vitrine::tools
