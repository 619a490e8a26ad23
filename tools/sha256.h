// SHA-256 (FIPS 180-4), for the hashes in run.json.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace vitrine::tools {

class Sha256 {
 public:
  void add(std::string_view bytes);
  std::string hex();  // of everything added; call once

 private:
  void block(const unsigned char* p);
  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> rest_{};
  size_t filled_ = 0;
  uint64_t total_ = 0;
};

std::string sha256(std::string_view bytes);
std::string sha256_file(const std::string& path);
// Of a folder: the hash of the sorted lines "<hash of file>  <relative path>" of all files in it, as `sha256sum` would print them.
std::string sha256_path(const std::string& path);

}  // namespace vitrine::tools
