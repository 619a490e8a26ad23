// Shared by the data tests: golden files as bytes, a fingerprint of pixels, generated images, a scratch folder.
#pragma once
#include <unistd.h>
#include <algorithm>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/image.h"
#include "engine/core/error.h"
#include "engine/ops/image_input.h"
#include "tests/golden.h"
#include "tools/sha256.h"

namespace vitrine::data {

inline std::vector<uint8_t> golden_bytes(const std::string& name) {
  const std::string text = read_file(golden("data/" + name));
  return {text.begin(), text.end()};
}

inline std::string sha256(const std::vector<uint8_t>& bytes) {
  return tools::sha256({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
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

// One image as a network gets it.
inline void to_float(const Image& image, const Preprocess& p, float* out, bool flip = false) {
  check_input(image, p);
  ImageInputAttrs a;
  a.height = p.height, a.width = p.width, a.mean = p.mean, a.std = p.std, a.bgr = p.bgr, a.shrink = p.shrink;
  const Tensor bytes = Tensor::from({int64_t(image.pixels.size())}, image.pixels);
  const Tensor y = image_input(bytes, Tensor::from({1, 4}, std::vector<int64_t>{0, image.height, image.width, flip}), a);
  std::copy_n(y.data<float>(), y.numel(), out);
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
