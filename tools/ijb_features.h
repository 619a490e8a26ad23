// Where the features of IJB's faces come from, and their pooling, shard by shard.
#pragma once
#include <string>

#include "tools/ijb.h"

namespace vitrine::tools {

struct PooledFaces {
  eval::Templates sums;
  int64_t skipped = 0;  // images that could not be read
};

PooledFaces pool_embeddings(const IjbBenchmark&, const IjbOptions&);
// In shards of some thousand images. Finished ones are kept in options.shards; those of another fingerprint are an Error with `resume`
// and replaced without.
PooledFaces pool_by_model(const Model&, const IjbBenchmark&, const IjbOptions&, const std::string& fingerprint);

}  // namespace vitrine::tools
