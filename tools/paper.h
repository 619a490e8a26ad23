// What the reproduced paper (Ef-QuantFace, arXiv 2402.18163) claims, as far as the audit of its tables could state it, and what is known to
// be wrong with it.
#pragma once
#include <span>
#include <string>
#include <vector>

namespace vitrine::tools {

// What a claim is about. Rates are in percent, parameters in millions, sizes in MB as printed.
enum class Measure { kParameters, kSize, kLfw, kCalfw, kCplfw, kSllfw, kIjbc5, kIjbc4 };  // the last two: TPR at FPR 1e-5, 1e-4

struct Claim {
  int table;
  const char* network;  // iresnet18, ..
  const char* setting;  // f32: the teacher; w8a8, w6a6: fine-tuned with EKD on LFW; "w6a6, ekd+ce"; ..
  Measure measure;
  double value;
  int note = 0;  // of audit_note, 0: none
};

constexpr int kTables = 5;
std::span<const Claim> claims();
const char* table_title(int table);
const char* audit_note(int note);

}  // namespace vitrine::tools
