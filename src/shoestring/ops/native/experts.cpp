// Rows of tokens to the places of their (token, expert) pairs and back, with the products between; and for the few
// tokens of a decode step everything in one call.
#include <vector>

#include "few.h"

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

static inline float silu(float x) { return x / (1.0f + fast_exp(-x > 80.0f ? 80.0f : -x)); }

// out[t] = sum_k weights[t, k] down[e] (silu(gate[e] x[t]) * up[e] x[t]) with e = ids[t, k]. First each thread makes a
// part of the inner numbers of all pairs, then a part of the outer ones: each weight is read once.
template <class X>
static void few_experts(const X* x, const int64_t* ids, const float* weights, const X* gate_up, const X* down, X* out,
                        int64_t tokens, int64_t top_k, int64_t experts, int64_t inner, int64_t size, int threads) {
    const int64_t pairs = tokens * top_k;
    std::vector<int64_t> ends(size_t(experts) + 1, 0), order(size_t(pairs), 0);
    for (int64_t i = 0; i < pairs; i++) ends[size_t(ids[i]) + 1]++;
    for (int64_t e = 0; e < experts; e++) ends[size_t(e) + 1] += ends[size_t(e)];
    std::vector<int64_t> next(ends.begin(), ends.end() - 1);
    std::vector<const X*> own(size_t(pairs), nullptr), middle(size_t(pairs), nullptr);
    std::vector<X> made(size_t(pairs * inner));
    for (int64_t i = 0; i < pairs; i++) {
        const size_t place = size_t(next[size_t(ids[i])]++);
        order[place] = i;
        own[place] = x + i / top_k * size;
        middle[place] = made.data() + int64_t(place) * inner;
    }
    split(inner, threads, grain_of(pairs * size), [&](int64_t begin, int64_t end) {
        std::vector<float> gate(size_t(pairs), 0.0f), up(size_t(pairs), 0.0f);
        for (int64_t e = 0; e < experts; e++) {
            const int64_t first = ends[size_t(e)], count = ends[size_t(e) + 1] - first;
            for (int64_t i = begin; count && i < end; i++) {
                const X* row = gate_up + (e * 2 * inner + i) * size;
                dots_of(row, own.data() + first, count, size, gate.data());
                dots_of(row + inner * size, own.data() + first, count, size, up.data());
                for (int64_t p = 0; p < count; p++)
                    store(made.data() + (first + p) * inner + i, silu(gate[size_t(p)]) * up[size_t(p)]);
            }
        }
    });
    split(size, threads, grain_of(pairs * inner), [&](int64_t begin, int64_t end) {
        std::vector<float> part(size_t(pairs), 0.0f), sum(size_t(tokens), 0.0f);
        for (int64_t r = begin; r < end; r++) {
            for (int64_t t = 0; t < tokens; t++) sum[size_t(t)] = 0.0f;
            for (int64_t e = 0; e < experts; e++) {
                const int64_t first = ends[size_t(e)], count = ends[size_t(e) + 1] - first;
                if (count == 0) continue;
                dots_of(down + (e * size + r) * inner, middle.data() + first, count, inner, part.data());
                for (int64_t p = 0; p < count; p++) {
                    const int64_t pair = order[size_t(first + p)];
                    sum[size_t(pair / top_k)] += weights[pair] * part[size_t(p)];
                }
            }
            for (int64_t t = 0; t < tokens; t++) store(out + t * size + r, sum[size_t(t)]);
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
    }                                                                                                              \
    API void few_experts_##NAME(const X* x, const int64_t* ids, const float* weights, const X* gate_up,            \
                                const X* down, X* out, int64_t tokens, int64_t top_k, int64_t experts,             \
                                int64_t inner, int64_t size, int threads) {                                        \
        few_experts(x, ids, weights, gate_up, down, out, tokens, top_k, experts, inner, size, threads);            \
    }

EXPERTS(f32, float)
EXPERTS(bf16, bf16)
