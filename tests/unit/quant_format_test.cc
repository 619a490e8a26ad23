// Packed codes: the layout bit by bit, round trips, and weights that equal what the fake-quantizer makes.
#include <gtest/gtest.h>

#include <cstring>

#include "engine/core/rng.h"
#include "quant/format.h"

namespace vitrine::quant {
namespace {

Tensor bytes_as(Dtype d, const std::vector<uint8_t>& bytes) {
  const DtypeInfo& i = info(d);
  Tensor t = Tensor::empty({{static_cast<int64_t>(bytes.size()) * i.block / i.block_bytes}, d, Device::cpu});
  std::memcpy(t.raw(), bytes.data(), bytes.size());
  return t;
}
std::vector<uint8_t> bytes_of(const Tensor& t) {
  auto* p = static_cast<const uint8_t*>(t.raw());
  return {p, p + t.meta().nbytes()};
}
std::vector<int> codes_of(const Tensor& packed) {
  Tensor q = unpack_codes(packed);
  return {q.data<int8_t>(), q.data<int8_t>() + q.numel()};
}
std::vector<uint8_t> random_bytes(int64_t n, uint64_t seed) {
  Philox rng(seed);
  std::vector<uint8_t> b(n);
  for (auto& x : b) x = static_cast<uint8_t>(rng.below(256));
  return b;
}

template <int bits>
void expect_group() {
  const DtypeInfo& i = info(code_dtype(bits));
  EXPECT_EQ(i.block, CodeGroup<bits>::kCodes);
  EXPECT_EQ(i.block_bytes, static_cast<int>(sizeof(CodeGroup<bits>)));
  EXPECT_EQ(code_bits(code_dtype(bits)), bits);
}
TEST(CodeFormat, TheTableOfDtypesHasTheGroupsOfTheFormat) {
  expect_group<2>(), expect_group<3>(), expect_group<4>(), expect_group<5>(), expect_group<6>(), expect_group<7>(), expect_group<8>();
  EXPECT_EQ(code_bits(Dtype::i8), 0);
  EXPECT_THROW(code_dtype(1), Error);
  EXPECT_THROW(code_dtype(9), Error);
}

// Every group of bytes is codes, and those codes are packed to the same bytes. Of 5 and 7 bits random groups.
TEST(CodeFormat, EveryGroupSurvivesTheRoundTrip) {
  for (int64_t bits : {2, 4, 8}) {
    std::vector<uint8_t> all(256);
    for (int v = 0; v < 256; ++v) all[v] = static_cast<uint8_t>(v);
    EXPECT_EQ(bytes_of(pack_codes(unpack_codes(bytes_as(code_dtype(bits), all)), bits)), all) << bits;
  }
  for (int64_t bits : {3, 6})
    for (int high = 0; high < 256; ++high) {  // 2^24 groups, 2^16 at a time
      std::vector<uint8_t> all;
      for (int low = 0; low < 65536; ++low)
        for (int byte : {low & 255, low >> 8, high}) all.push_back(static_cast<uint8_t>(byte));
      ASSERT_EQ(bytes_of(pack_codes(unpack_codes(bytes_as(code_dtype(bits), all)), bits)), all) << bits << " " << high;
    }
  for (int64_t bits : {5, 7}) {
    auto some = random_bytes(35 * 20000, 1);
    EXPECT_EQ(bytes_of(pack_codes(unpack_codes(bytes_as(code_dtype(bits), some)), bits)), some) << bits;
  }
}

TEST(CodeFormat, BitJOfCodeIIsBitIBPlusJOfTheStream) {
  for (int64_t bits = 2; bits <= 8; ++bits) {
    auto bytes = random_bytes(105, 2);
    auto codes = codes_of(bytes_as(code_dtype(bits), bytes));
    ASSERT_EQ(static_cast<int64_t>(codes.size()), 105 * 8 / bits);
    for (size_t i = 0; i < codes.size(); ++i) {
      int u = 0;
      for (int64_t j = 0; j < bits; ++j) {
        const size_t at = i * bits + j;
        u |= (bytes[at / 8] >> at % 8 & 1) << j;
      }
      ASSERT_EQ(codes[i], u - (1 << (bits - 1))) << bits << " bits, code " << i;
    }
  }
}

TEST(CodeFormat, AreTheBytesOfTheHeader) {
  Tensor six = Tensor::from({5}, std::vector<int8_t>{-32, 31, -1, 0, 1});  // 0, 63, 31, 32, 33
  EXPECT_EQ(bytes_of(pack_codes(six, 6)), std::vector<uint8_t>({0xC0, 0xFF, 0x81, 0x21}));
  Tensor three = Tensor::from({3}, std::vector<int8_t>{-4, 3, 1});  // 0, 7, 5: the last byte is filled up with zeros
  EXPECT_EQ(bytes_of(pack_codes(three, 3)), std::vector<uint8_t>({0x78, 0x01}));
}

TEST(CodeFormat, TensorsTakeTheBitsOfTheirCodesAndNobodyIndexesThem) {
  EXPECT_EQ((Meta{{64, 3, 3, 3}, Dtype::u6}).nbytes(), 64 * 27 * 6 / 8);
  EXPECT_EQ((Meta{{3, 3, 1}, Dtype::u7}).nbytes(), 8) << "63 bits";
  EXPECT_EQ((Meta{{0, 3}, Dtype::u3}).nbytes(), 0);
  Tensor t = pack_codes(Tensor::zeros({3}, Dtype::i8), 4);
  EXPECT_THROW(t.data<uint8_t>(), Error);
  EXPECT_THROW(t.values(), Error);
  EXPECT_THROW(pack_codes(Tensor::from({1}, std::vector<int8_t>{8}), 4), Error);
  EXPECT_THROW(pack_codes(Tensor::from({1}, std::vector<int8_t>{-9}), 4), Error);
}

FakeQuantWeightAttrs to_bits(int64_t bits, bool mse = false) {
  FakeQuantWeightAttrs a;
  a.bits = bits, a.mse = mse;
  return a;
}

TEST(PackedWeights, AreWhatTheFakeQuantizerMakes) {
  Philox rng(5);
  std::vector<float> v(7 * 4 * 5);
  for (float& x : v) x = static_cast<float>(rng.normal());
  for (int i = 0; i < 20; ++i) v[i] = 3 + 0.02f * v[i];  // far from 0
  Tensor w = Tensor::from({7, 1, 4, 5}, v);
  for (int64_t bits = 2; bits <= 8; ++bits)
    for (bool mse : {false, true}) {
      PackedWeights p = pack_weights(w, to_bits(bits, mse), "w");
      EXPECT_EQ(p.codes.meta(), (Meta{w.shape(), code_dtype(bits)}));
      std::vector<float> back(v.size());
      unpack_weights(p, back.data());
      EXPECT_EQ(back, fake_quant_weight(w, bits, true, mse).values<float>()) << bits;
    }
}

TEST(PackedWeights, AConstantChannelIsKeptAndAChannelBeyondTheZeroPointRefused) {
  Tensor w = Tensor::from({4, 2}, std::vector<float>{0.1f, 0.1f, -0.37f, -0.37f, 0, 0, -1, 1});
  PackedWeights p = pack_weights(w, to_bits(8), "w");
  std::vector<float> back(8), want = fake_quant_weight(w, 8, true).values<float>();
  unpack_weights(p, back.data());
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(back[i], want[i], 0x1p-23 * std::abs(want[i])) << i;
  for (float bad : {NAN, INFINITY})
    EXPECT_THROW(pack_weights(Tensor::from({1, 3}, std::vector<float>{1, bad, -1}), to_bits(8), "w"), Error) << bad;
  try {
    pack_weights(Tensor::from({1, 2}, std::vector<float>{1, 1.001f}), to_bits(8), "layer1.conv");
    FAIL() << "not refused";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("layer1.conv: output 0"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace vitrine::quant
