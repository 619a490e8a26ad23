// What the reproduced paper (Ef-QuantFace, arXiv 2402.18163) claims, as far as the audit of its tables could state it, and what is known to
// be wrong with it.
#pragma once
#include <string>
#include <vector>

namespace vitrine::tools {

// What a claim is about. Rates are in percent, parameters in millions, sizes in MB as printed.
enum class Measure { kParameters, kSize, kLfw, kCalfw, kCplfw, kSllfw, kIjbc5, kIjbc4 };  // the last two: TPR at FPR 1e-5, 1e-4

struct Claim {
  Measure measure;
  double value;
  int note = 0;  // of audit_note, 0: none
};

struct PaperRow {
  int table;
  std::string network;  // iresnet18, ..
  std::string setting;  // f32: the teacher; w8a8, w6a6: fine-tuned with EKD on LFW; "w6a6, half of the data"; ..
  std::vector<Claim> claims;
};

constexpr int kTables = 5;
const std::vector<PaperRow>& paper_rows();
const char* table_title(int table);
const char* audit_note(int note);

}  // namespace vitrine::tools
