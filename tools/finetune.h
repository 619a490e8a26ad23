// Fine-tuning a student towards its teacher, as `quantize` and `prune` offer it: options, batches, the run and its record.
#pragma once
#include "tools/run_record.h"
#include "tools/training.h"

namespace vitrine::tools {

struct FinetuneOptions {
  std::string data, without, terms = "ekd", sampler = "auto", batches, schedule = "constant";
  std::string ekd_positives = "labels", ekd_form = "rank", ekd_start = "zero";
  int64_t epochs = 1, batch = 64, checkpoint_every = 50;
  double lr = 0.001, ce_weight = 1, fraction = 1, momentum = 0.9, weight_decay = 5e-4, clip = 5, dropout = 0, teacher_cosine = 0.4;
  bool resume = false, exact = false;
};

void add_options(CLI::App&, FinetuneOptions&);
void write_config(RunRecord&, const FinetuneOptions&);
Recipe recipe_of(const FinetuneOptions&, uint64_t seed);  // QuantFace's
data::Batches draw(const FinetuneOptions&, const data::Dataset&, uint64_t seed, int64_t epoch);
// Up to `count` batches in random order, unmirrored: for looking, not for learning.
data::Batches draw_as_they_are(const FinetuneOptions&, const data::Dataset&, uint64_t seed, int64_t count);

Trained finetune(Model& student, const Model& teacher, const data::Dataset&, const FinetuneOptions&, const Recipe&, uint64_t seed,
                 RunRecord&);

}  // namespace vitrine::tools
