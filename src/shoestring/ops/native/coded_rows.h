// A few rows against a panel of a quantised matrix: AVX-512 VNNI, AVX2, or plain loops.
#pragma once
#include "coded.h"

#ifdef CODED_VNNI
static inline __m512 halves(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

static inline __m512i four_of(const int8_t* p) {
    int32_t word;
    std::memcpy(&word, p, 4);
    return _mm512_set1_epi32(word);
}

// ROWS rows from `row` on against a panel -> sums (ROWS, LANES)
template <int ROWS, bool FOUR>
static void panel_rows(const Matrix& m, int64_t panel, const Coded& x, int64_t row, float* sums) {
    const int64_t groups = m.groups();
    const uint8_t* line = m.values + panel * groups * (FOUR ? SIZE * LANES / 2 : SIZE * LANES);
    const uint16_t *scale = m.scales + panel * groups * LANES, *low = m.mins + panel * groups * LANES;
    const __m512i sign = _mm512_set1_epi8(char(0x80)), half = _mm512_set1_epi8(0x0f);
    __m512 acc[ROWS];
    for (int r = 0; r < ROWS; r++) acc[r] = _mm512_setzero_ps();
    for (int64_t g = 0; g < groups; g++, scale += LANES, low += LANES) {
        const int8_t* from = x.values + row * x.depth + g * SIZE;
        const int64_t place = x.place_of(row, g);
        __m512i dot[ROWS];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
            dot[r] = FOUR ? _mm512_setzero_si512() : _mm512_set1_epi32(x.offsets[place + r]);
        if (FOUR) {
#pragma GCC unroll 4
            for (int i = 0; i < LINES / 2; i++, line += LINE) {
                const __m512i both = _mm512_loadu_si512(line);
                _mm_prefetch(reinterpret_cast<const char*>(line + 2048), _MM_HINT_T0);
                const __m512i first = _mm512_and_si512(both, half);
                const __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), half);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++) {
                    dot[r] = _mm512_dpbusd_epi32(dot[r], first, four_of(from + r * x.depth + 4 * i));
                    dot[r] = _mm512_dpbusd_epi32(dot[r], second, four_of(from + r * x.depth + 4 * i + SIZE / 2));
                }
            }
        } else {
#pragma GCC unroll 8
            for (int i = 0; i < LINES; i++, line += LINE) {
                const __m512i weights = _mm512_xor_si512(_mm512_loadu_si512(line), sign);
                _mm_prefetch(reinterpret_cast<const char*>(line + 2048), _MM_HINT_T0);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++)
                    dot[r] = _mm512_dpbusd_epi32(dot[r], weights, four_of(from + r * x.depth + 4 * i));
            }
        }
        const __m512 scales = halves(scale);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const __m512 factor = _mm512_mul_ps(scales, _mm512_set1_ps(x.scales[place + r]));
            acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), factor, acc[r]);
        }
        if (FOUR) {
            const __m512 lows = halves(low);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++)
                acc[r] = _mm512_fmadd_ps(lows, _mm512_set1_ps(x.sums[place + r]), acc[r]);
        }
    }
    for (int r = 0; r < ROWS; r++) _mm512_storeu_ps(sums + r * LANES, acc[r]);
}
#elif defined(CODED_AVX2)
static inline __m256 halves(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// 8 sums of 4 products each. One side loses its sign to the other: 255 * 127 twice would not fit into 16 bits.
static inline __m256i four_products(__m256i weights, __m256i x) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_sign_epi8(weights, weights), _mm256_sign_epi8(x, weights));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

template <int ROWS, bool FOUR>
static void panel_rows(const Matrix& m, int64_t panel, const Coded& x, int64_t row, float* sums) {
    const int64_t groups = m.groups();
    const __m256i half = _mm256_set1_epi8(0x0f);
    __m256 acc[ROWS][2];
    for (int r = 0; r < ROWS; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (int64_t g = 0; g < groups; g++) {
        const uint8_t* line = m.values + (panel * groups + g) * (FOUR ? SIZE * LANES / 2 : SIZE * LANES);
        const int64_t place = x.place_of(row, g), factors = (panel * groups + g) * LANES;
        for (int r = 0; r < ROWS; r++) {
            const int8_t* from = x.values + (row + r) * x.depth + g * SIZE;
            for (int side = 0; side < 2; side++) {
                __m256i dot = _mm256_setzero_si256();
                for (int i = 0; i < LINES; i++) {
                    const uint8_t* at = line + (FOUR ? i % (LINES / 2) : i) * LINE + side * 32;
                    __m256i weights = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
                    if (FOUR) weights = _mm256_and_si256(i < LINES / 2 ? weights : _mm256_srli_epi16(weights, 4), half);
                    int32_t word;
                    std::memcpy(&word, from + 4 * i, 4);
                    dot = _mm256_add_epi32(dot, four_products(weights, _mm256_set1_epi32(word)));
                }
                const __m256 factor = _mm256_mul_ps(halves(m.scales + factors + side * 8),
                                                    _mm256_set1_ps(x.scales[place + r]));
                acc[r][side] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), factor, acc[r][side]);
                if (FOUR)
                    acc[r][side] = _mm256_fmadd_ps(halves(m.mins + factors + side * 8),
                                                   _mm256_set1_ps(x.sums[place + r]), acc[r][side]);
            }
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int side = 0; side < 2; side++) _mm256_storeu_ps(sums + r * LANES + side * 8, acc[r][side]);
}
#else
template <int ROWS, bool FOUR>
static void panel_rows(const Matrix& m, int64_t panel, const Coded& x, int64_t row, float* sums) {
    const int64_t groups = m.groups();
    for (int64_t i = 0; i < ROWS * LANES; i++) sums[i] = 0.0f;
    for (int64_t g = 0; g < groups; g++) {
        const uint8_t* line = m.values + (panel * groups + g) * (FOUR ? SIZE * LANES / 2 : SIZE * LANES);
        const int64_t factors = (panel * groups + g) * LANES;
        for (int64_t r = 0; r < ROWS; r++) {
            const int8_t* from = x.values + (row + r) * x.depth + g * SIZE;
            int32_t dot[LANES] = {};
            for (int64_t i = 0; i < LINES; i++) {
                const uint8_t* at = line + (FOUR ? i % (LINES / 2) : i) * LINE;
                const int shift = FOUR && i >= LINES / 2 ? 4 : 0;
#pragma omp simd
                for (int64_t c = 0; c < LANES; c++)
                    for (int64_t k = 0; k < 4; k++) {
                        const uint8_t byte = at[4 * c + k];
                        dot[c] += (FOUR ? byte >> shift & 0x0f : int8_t(byte)) * from[4 * i + k];
                    }
            }
            const int64_t place = x.place_of(row + r, g);
            for (int64_t c = 0; c < LANES; c++) {
                sums[r * LANES + c] += float(dot[c]) * (half_of(m.scales[factors + c]) * x.scales[place]);
                if (FOUR) sums[r * LANES + c] += half_of(m.mins[factors + c]) * x.sums[place];
            }
        }
    }
}
#endif
