// Rows of tokens to the places of their (token, expert) pairs and back.
#include "common.h"

// out[t] = sum_k weights[t, k] x[place[t, k]]; weights null: 1 each
template <class X>
static void combine_rows(const X* x, const int64_t* place, const float* weights, X* out, int64_t tokens, int64_t top_k,
                         int64_t size, int threads) {
    split(tokens, threads, grain_of(top_k * size), [=](int64_t begin, int64_t end) {
        Scratch room(size);
        float* sum = room.data();
        for (int64_t t = begin; t < end; t++) {
            for (int64_t i = 0; i < size; i++) sum[i] = 0.0f;
            for (int64_t k = 0; k < top_k; k++) {
                const X* row = x + place[t * top_k + k] * size;
                const float weight = weights ? weights[t * top_k + k] : 1.0f;
#pragma omp simd
                for (int64_t i = 0; i < size; i++) sum[i] += weight * load(row + i);
            }
            for (int64_t i = 0; i < size; i++) store(out + t * size + i, sum[i]);
        }
    });
}

// out[place[t, k]] = weights[t, k] x[t] (weights null: x[t]); dots[t, k] = x[t] . other[place[t, k]], if asked for
template <class X>
static void spread_rows(const X* x, const int64_t* place, const float* weights, const X* other, X* out, float* dots,
                        int64_t tokens, int64_t top_k, int64_t size, int threads) {
    split(tokens, threads, grain_of(top_k * size), [=](int64_t begin, int64_t end) {
        for (int64_t pair = begin * top_k; pair < end * top_k; pair++) {
            const X* row = x + pair / top_k * size;
            X* to = out + place[pair] * size;
            if (weights == nullptr) {
                std::memcpy(to, row, sizeof(X) * size_t(size));
            } else {
                const float weight = weights[pair];
#pragma omp simd
                for (int64_t i = 0; i < size; i++) store(to + i, weight * load(row + i));
            }
            if (dots) dots[pair] = dot_of(row, other + place[pair] * size, size);
        }
    });
}

#define EXPERTS(NAME, X)                                                                                           \
    API void combine_rows_##NAME(const X* x, const int64_t* place, const float* weights, X* out, int64_t tokens,   \
                                 int64_t top_k, int64_t size, int threads) {                                       \
        combine_rows(x, place, weights, out, tokens, top_k, size, threads);                                        \
    }                                                                                                              \
    API void spread_rows_##NAME(const X* x, const int64_t* place, const float* weights, const X* other, X* out,    \
                                float* dots, int64_t tokens, int64_t top_k, int64_t size, int threads) {           \
        spread_rows(x, place, weights, other, out, dots, tokens, top_k, size, threads);                            \
    }

EXPERTS(f32, float)
EXPERTS(bf16, bf16)
