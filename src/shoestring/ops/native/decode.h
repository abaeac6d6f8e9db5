// The paged cache, as the kernels see it, and the attention over it that one thread makes (decode.cpp).
#pragma once
#include "common.h"

constexpr int64_t SPAN = 32;  // tokens of a block

// The blocks of the cache, and the tokens of a pass: token t stands at place places[t] of the sequence whose block
// table is row rows[t] of `tables`, and sees the places up to its own.
template <class X>
struct Cache {
    X *keys, *values;
    const int64_t *tables, *rows, *places;
    int64_t table_width, heads, kv_heads, dim;
    float scale;

    // of key head `head`: where the span lies that holds place `place` of token t's sequence
    int64_t span(int64_t t, int64_t place, int64_t head) const {
        return (tables[rows[t] * table_width + place / SPAN] * kv_heads + head) * SPAN * dim;
    }
};

// Runs of a pass, one for each key head: what a thread takes at a time. As ops/paged.py makes them: runs (num_runs, 3) begin
// and end in `order`, and the spans in common. q and out (tokens, heads, dim); k and v may be null, else each token's are
// put to their place first by its own run: no other token of the pass may see it.
template <class X>
struct Runs {
    const X *q, *k, *v;
    Cache<X> cache;
    const int64_t *order, *runs;
    int64_t num_runs;
    X* out;
    int64_t count() const { return num_runs * cache.kv_heads; }
};

void attend_runs(const Runs<float>& all, int64_t begin, int64_t end);
void attend_runs(const Runs<bf16>& all, int64_t begin, int64_t end);

// k and v (tokens, kv_heads, dim) of tokens [begin, end) to their places
void keep_tokens(const float* k, const float* v, const Cache<float>& cache, int64_t begin, int64_t end);
void keep_tokens(const bf16* k, const bf16* v, const Cache<bf16>& cache, int64_t begin, int64_t end);
