// Products with a quantised matrix, by themselves.
#include "quantized.h"

// out (tokens, rows) = x (tokens, depth) . matrix^T + bias
template <class X, class Y>
static void coded_linear(const X* x, const Matrix* matrix, Y* out, int64_t tokens, int threads) {
    const Matrix m = *matrix;
    Coded coded(tokens, m.depth);
    split(tokens, threads, grain_of(m.depth), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) coded.set_row(row, x + row * m.depth);
    });
    split(m.panels(), threads, few_grain(tokens * LANES * m.depth), [&](int64_t begin, int64_t end) {
        coded_times<X>(m, coded, 0, tokens, begin, end, out, m.rows);
    });
}

// out (tokens, depth) = rows ids[t] of the matrix; of a row that it hasn't NaN, which whoever draws from it reports
template <class X>
static void coded_rows(const int64_t* ids, const Matrix& m, X* out, int64_t tokens, int threads) {
    const int64_t groups = m.groups();
    split(tokens, threads, grain_of(m.depth), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; t++) {
            const int64_t row = ids[t], panel = row / LANES, lane = row % LANES;
            X* to = out + t * m.depth;
            if (row < 0 || row >= m.rows) {
                for (int64_t i = 0; i < m.depth; i++) store(to + i, NAN);
                continue;
            }
            for (int64_t g = 0; g < groups; g++, to += SIZE) {
                const int64_t at = (panel * groups + g) * LANES + lane;
                const float scale = half_of(m.scales[at]);
                float values[SIZE];
                for (int64_t i = 0; i < SIZE; i++) values[i] = float(m.number(panel, g, lane, i)) * scale;
                const float low = m.bits == 4 ? half_of(m.mins[at]) : 0.0f;
                for (int64_t i = 0; i < SIZE; i++) store(to + i, values[i] + low);
            }
        }
    });
}

#define CODED(NAME, X)                                                                                             \
    API void coded_linear_##NAME(const X* x, const Matrix* matrix, X* out, int64_t tokens, int threads) {          \
        coded_linear(x, matrix, out, tokens, threads);                                                             \
    }                                                                                                              \
    API void coded_logits_##NAME(const X* x, const Matrix* matrix, float* out, int64_t tokens, int threads) {      \
        coded_linear(x, matrix, out, tokens, threads);                                                             \
    }                                                                                                              \
    API void coded_rows_##NAME(const int64_t* ids, const Matrix* matrix, X* out, int64_t tokens, int threads) {    \
        coded_rows(ids, *matrix, out, tokens, threads);                                                            \
    }

CODED(f32, float)
CODED(bf16, bf16)

API int coded_kind() {  // which instructions the products are made with
#if defined(CODED_TILES)
    return tiles ? 3 : 2;
#elif defined(CODED_VNNI)
    return 2;
#elif defined(CODED_AVX2)
    return 1;
#else
    return 0;
#endif
}
