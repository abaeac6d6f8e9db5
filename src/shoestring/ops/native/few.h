// Products of weights with a few rows of numbers: what decode does, where each weight or key is read once for all who
// need it. A dot product's order of sums is the same however many stand beside it.
#pragma once
#include <vector>

#include "common.h"
#if defined(__AVX512BF16__) && defined(__AVX512VL__) && defined(__AVX512BW__)
#include <immintrin.h>
#define FEW_BF16 1
#endif

constexpr int64_t LANES = 16;  // dot products that are made side by side

// A few rows, and their products with weights: times() makes out[t * stride + n - begin] = weight row n . row t for n in
// [begin, end); weight rows lie `size` apart.

template <class X>
class Rows {
    const X* const* rows_;
    int64_t count_, size_;

  public:
    Rows(const X* const* rows, int64_t count, int64_t size) : rows_(rows), count_(count), size_(size) {}
    void times(const X* weight, int64_t begin, int64_t end, float* out, int64_t stride) const {
        for (int64_t n = begin; n < end; n++)
            for (int64_t t = 0; t < count_; t++) out[t * stride + n - begin] = dot_of(weight + n * size_, rows_[t], size_);
    }
};

#ifdef FEW_BF16
// The 16 sums of 16 vectors' numbers, in their order; every vector's are paired in the same way.
static inline __m512 sums_of(const __m512* s) {
    __m512 by_lane[4];
    for (int g = 0; g < 4; g++) {
        const __m512* a = s + 4 * g;
        const __m512 first = _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
        const __m512 second = _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
        const __m512d x = _mm512_castps_pd(first), y = _mm512_castps_pd(second);
        by_lane[g] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    __m512 halves[2];
    for (int g = 0; g < 2; g++) {
        const __m512 a = by_lane[2 * g], b = by_lane[2 * g + 1];
        halves[g] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    }
    return _mm512_add_ps(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88),
                         _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
}

// COUNT rows beside 16 / COUNT rows of weights, of which `live` are there. Weights are read in the order in which they
// lie: 16 rows side by side, 16 streams to the processor, came at a third to a half of the speed on one whose memory
// was not Intel's (docs/log.md).
template <int COUNT>
static inline void block_of(const bf16* weight, int64_t live, const bf16* const* rows, int64_t size, float* out,
                            int64_t stride) {
    constexpr int ROWS = 16 / COUNT;
    constexpr int64_t AHEAD = 1024;  // numbers
    __m512 sum[16];
    for (int i = 0; i < 16; i++) sum[i] = _mm512_setzero_ps();
    for (int a = 0; a < ROWS && a < live; a++) {
        const bf16* own = weight + a * size;
        __m512 made[COUNT];
        for (int b = 0; b < COUNT; b++) made[b] = _mm512_setzero_ps();
        for (int64_t k = 0; k < size; k += 32) {
            const __mmask32 there = size - k < 32 ? (__mmask32(1) << (size - k)) - 1 : __mmask32(-1);
            const __m512bh mine = (__m512bh)_mm512_maskz_loadu_epi16(there, own + k);
            _mm_prefetch(reinterpret_cast<const char*>(own + k + AHEAD), _MM_HINT_T0);
            for (int b = 0; b < COUNT; b++) {
                const __m512bh other = (__m512bh)_mm512_maskz_loadu_epi16(there, rows[b] + k);
                made[b] = _mm512_dpbf16_ps(made[b], mine, other);
            }
        }
        for (int b = 0; b < COUNT; b++) sum[b * ROWS + a] = made[b];
    }
    alignas(64) float found[16];
    _mm512_store_ps(found, sums_of(sum));
    if (live >= ROWS) {
        for (int b = 0; b < COUNT; b++) std::memcpy(out + b * stride, found + b * ROWS, sizeof(float) * ROWS);
    } else {
        for (int b = 0; b < COUNT; b++) std::memcpy(out + b * stride, found + b * ROWS, sizeof(float) * size_t(live));
    }
}

template <int COUNT>
static inline void blocks_of(const bf16* weight, int64_t begin, int64_t end, const bf16* const* rows, int64_t size,
                             float* out, int64_t stride) {
    for (int64_t n = begin; n < end; n += 16 / COUNT)
        block_of<COUNT>(weight + n * size, end - n, rows, size, out + n - begin, stride);
}

template <>
class Rows<bf16> {
    const bf16* const* rows_;
    int64_t count_, size_;

  public:
    Rows(const bf16* const* rows, int64_t count, int64_t size) : rows_(rows), count_(count), size_(size) {}
    void times(const bf16* weight, int64_t begin, int64_t end, float* out, int64_t stride) const {
        for (int64_t n = begin; n < end && count_; n += LANES) {
            const int64_t last = end - n < LANES ? end : n + LANES;
            float* to = out + n - begin;
            int64_t t = 0;
            for (; t + 4 <= count_; t += 4) blocks_of<4>(weight, n, last, rows_ + t, size_, to + t * stride, stride);
            for (; t + 2 <= count_; t += 2) blocks_of<2>(weight, n, last, rows_ + t, size_, to + t * stride, stride);
            if (t < count_) blocks_of<1>(weight, n, last, rows_ + t, size_, to + t * stride, stride);
        }
    }
};
#endif

// body(begin, end) over [0, count) in parts of whole LANES but for the last; `work` is an item's multiplications
template <class Body>
static inline void split_lanes(int64_t count, int threads, int64_t work, const Body& body) {
    split((count + LANES - 1) / LANES, threads, few_grain(LANES * work), [=](int64_t begin, int64_t end) {
        body(begin * LANES, end * LANES < count ? end * LANES : count);
    });
}

template <class X>
static inline void store_row(X* out, const float* from, int64_t size) {
#pragma omp simd
    for (int64_t i = 0; i < size; i++) store(out + i, from[i]);
}
