// Sizes: the exact packed bytes of the networks, and the ratios by which papers state theirs (spec A9).
#include <gtest/gtest.h>

#include "nn/network.h"
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
