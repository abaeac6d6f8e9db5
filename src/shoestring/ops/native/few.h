// Dot products of one row with a few others at a time: what decode does, where each weight or key is read once for
// all who need it. A dot product's order of sums is the same however many stand beside it.
#pragma once
#include "common.h"
#if defined(__AVX512BF16__) && defined(__AVX512VL__) && defined(__AVX512BW__)
#include <immintrin.h>
#define FEW_BF16 1
#endif

constexpr int64_t FEW = 4;

#ifdef FEW_BF16
template <int COUNT>
static inline void dots_of_bf16(const bf16* row, const bf16* const* others, int64_t size, float* out) {
    __m512 sum[COUNT];
    for (int i = 0; i < COUNT; i++) sum[i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < size; k += 32) {
        const __mmask32 live = size - k < 32 ? (__mmask32(1) << (size - k)) - 1 : __mmask32(-1);
        const __m512bh own = (__m512bh)_mm512_maskz_loadu_epi16(live, row + k);
        for (int i = 0; i < COUNT; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], own, (__m512bh)_mm512_maskz_loadu_epi16(live, others[i] + k));
    }
    for (int i = 0; i < COUNT; i++) out[i] = _mm512_reduce_add_ps(sum[i]);
}

static inline void dots_of(const bf16* row, const bf16* const* others, int64_t count, int64_t size, float* out) {
    for (; count >= FEW; count -= FEW, others += FEW, out += FEW) dots_of_bf16<FEW>(row, others, size, out);
    for (; count > 0; count--) dots_of_bf16<1>(row, others++, size, out++);
}
#else
static inline void dots_of(const bf16* row, const bf16* const* others, int64_t count, int64_t size, float* out) {
    for (int64_t i = 0; i < count; i++) out[i] = dot_of(row, others[i], size);
}
#endif

static inline void dots_of(const float* row, const float* const* others, int64_t count, int64_t size, float* out) {
    for (int64_t i = 0; i < count; i++) out[i] = dot_of(row, others[i], size);
}
