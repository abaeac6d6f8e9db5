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
        coded_times<X>(m, coded, tokens, begin, end, out, m.rows);
    });
}

#define CODED(NAME, X)                                                                                             \
    API void coded_linear_##NAME(const X* x, const Matrix* matrix, X* out, int64_t tokens, int threads) {          \
        coded_linear(x, matrix, out, tokens, threads);                                                             \
    }                                                                                                              \
    API void coded_logits_##NAME(const X* x, const Matrix* matrix, float* out, int64_t tokens, int threads) {      \
        coded_linear(x, matrix, out, tokens, threads);                                                             \
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
