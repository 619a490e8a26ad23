// Shared by the data tests: golden files as bytes, a fingerprint of pixels, generated images, a scratch folder.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/image.h"
#include "engine/core/error.h"
#include "tests/golden.h"

namespace vitrine::data {

inline std::vector<uint8_t> golden_bytes(const std::string& name) {
  const std::string text = read_file(golden("data/" + name));
  return {text.begin(), text.end()};
}

// SHA-256 (FIPS 180-4), hexadecimal. Its constants are the leading fraction bits of the cube roots of the first 64 primes.
inline std::string sha256(std::vector<uint8_t> m) {
  const auto fraction_bits = [](unsigned prime, int root) {  // floor(prime^(1/root) * 2^32) mod 2^32, in integers
    using Wide = unsigned __int128;
    uint64_t low = 0, high = uint64_t{1} << 37;
    while (high - low > 1) {
      const uint64_t x = (low + high) / 2;
      const bool below = root == 2 ? Wide(x) * x <= Wide(prime) << 64 : Wide(x) * x * x <= Wide(prime) << 96;
      (below ? low : high) = x;
    }
    return uint32_t(low);
  };
  std::array<uint32_t, 64> k;
  std::array<uint32_t, 8> h;
  int count = 0;
  for (unsigned n = 2; count < 64; ++n) {
    bool prime = true;
    for (unsigned d = 2; d * d <= n; ++d) prime = prime && n % d;
    if (!prime) continue;
    if (count < 8) h[count] = fraction_bits(n, 2);
    k[count++] = fraction_bits(n, 3);
  }

  const uint64_t bits = m.size() * 8;
  m.push_back(0x80);
  while (m.size() % 64 != 56) m.push_back(0);
  for (int i = 7; i >= 0; --i) m.push_back(uint8_t(bits >> 8 * i));
  for (size_t block = 0; block < m.size(); block += 64) {
    std::array<uint32_t, 64> w;
    for (int i = 0; i < 16; ++i) {
      const uint8_t* p = &m[block + 4 * i];
      w[i] = uint32_t(p[0]) << 24 | uint32_t(p[1]) << 16 | uint32_t(p[2]) << 8 | p[3];
    }
    for (int i = 16; i < 64; ++i) {
      const uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    auto s = h;
    for (int i = 0; i < 64; ++i) {
      const uint32_t e = s[4], a = s[0];
      const uint32_t t1 = s[7] + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
      const uint32_t t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
      s = {t1 + t2, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]};
    }
    for (int i = 0; i < 8; ++i) h[i] += s[i];
  }
  std::string hex;
  for (const uint32_t word : h)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}

// A smooth picture: it survives JPEG, and every pixel tells where it came from.
inline Image gradient(int height, int width, int seed = 0) {
  Image image(height, width);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      uint8_t* p = image.row(y) + 3 * x;
      p[0] = uint8_t(x * 2 + seed * 16), p[1] = uint8_t(y * 2), p[2] = uint8_t(x + y + seed);
    }
  return image;
}

// What f() throws, "" if nothing.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// An empty folder, gone with the object.
struct Scratch {
  std::filesystem::path path = std::filesystem::temp_directory_path() / cat("vitrine_data_", getpid(), "_", next()++);
  Scratch() { std::filesystem::create_directories(path); }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << text;
    return *this / name;
  }
  static int& next() {
    static int count = 0;
    return count;
  }
};

}  // namespace vitrine::data
