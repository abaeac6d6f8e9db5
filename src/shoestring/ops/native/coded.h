// Products of a few or many rows with a matrix in whole numbers of 8 or 4 bits under a scale for every 32 of them. The
// rows are rounded to 8 bits in groups of 32 too, a group's dot product is a whole number and exact, and groups are
// added in their order: a row's result is the same bits whichever instructions made it and whatever stands beside it.
#pragma once
#include "few.h"
#include "tiles.h"
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#define CODED_VNNI 1
#if defined(HAS_TILES) && defined(__AMX_INT8__)
#define CODED_TILES 1
#endif
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#define CODED_AVX2 1
#endif

constexpr int64_t SIZE = 32, LINE = 64;  // numbers of a group; bytes of a line: 4 numbers of each of LANES rows
constexpr int64_t LINES = SIZE * LANES / LINE;
constexpr int64_t TILE_ROWS = 16, TILES_FROM = 6;  // with so many rows tiles are faster than the vector instruction

// A matrix (rows, depth) as ops/quantized.py lays it out and describes it, eight words long. Panels of LANES rows; in a
// panel group after group. 8 bits: LINES lines. 4 bits: half as many, a byte's low half belongs to line i and its high
// half to line i + LINES / 2. scales and mins (panels, groups, LANES) are float16.
struct Matrix {
    int64_t bits, rows, depth;
    const uint8_t* values;
    const uint16_t *scales, *mins;
    const void* bias;
    int64_t in_panels;  // of 16 bits: whether they lie as panels.h says
    int64_t groups() const { return depth / SIZE; }
    int64_t panels() const { return (rows + LANES - 1) / LANES; }
    // `count` of its rows from row `first` on, both whole panels
    Matrix part(int64_t first, int64_t count) const {
        Matrix own = *this;
        own.rows = count;
        own.values += first * depth / (bits == 4 ? 2 : 1);
        own.scales += first * groups();
        if (mins) own.mins += first * groups();
        return own;
    }
    // number i of a group of a panel's row
    int32_t number(int64_t panel, int64_t group, int64_t lane, int64_t i) const {
        const int64_t held = bits == 4 ? LINES / 2 : LINES, line = (panel * groups() + group) * held + i / 4 % held;
        const uint8_t byte = values[line * LINE + 4 * lane + i % 4];
        return bits == 8 ? int8_t(byte) : i / 4 < held ? byte & 0x0f : byte >> 4;
    }
};

static inline float half_of(uint16_t half) {  // float16 without infinities, which no scale is
    const uint32_t sign = uint32_t(half & 0x8000u) << 16, size = half & 0x7fffu;
    const float small = float(size) * 5.9604644775390625e-8f;  // below 2^-14: multiples of 2^-24
    const float normal = from_bits((size << 13) + (112u << 23));
    return from_bits(to_bits(size < 0x400u ? small : normal) | sign);
}

#ifdef CODED_VNNI
static inline __m512 wide(const float* p) { return _mm512_loadu_ps(p); }
static inline __m512 wide(const bf16* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
#endif

// Rows rounded to whole numbers: value = scale * number. `sums` are the values' sums of each group, `offsets` -128 times
// the numbers' (the vector instruction wants one side without a sign). There are whole tiles of rows, the last filled up,
// and what belongs to a group of TILE_ROWS rows lies side by side.
class Coded {
    Scratch numbers_, factors_;
    int64_t rows_;

  public:
    int64_t depth, groups;
    int8_t* values;
    float *scales, *sums;
    int32_t* offsets;

    Coded(int64_t rows, int64_t width) : rows_((rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS), depth(width) {
        groups = width / SIZE;
        numbers_.grow(rows_ * width / 4);
        factors_.grow(3 * rows_ * groups);
        values = reinterpret_cast<int8_t*>(numbers_.data());
        scales = factors_.data();
        sums = scales + rows_ * groups;
        offsets = reinterpret_cast<int32_t*>(sums + rows_ * groups);
        std::memset(values + rows * width, 0, size_t((rows_ - rows) * width));
    }

    int64_t place_of(int64_t row, int64_t g) const {
        return (row / TILE_ROWS * groups + g) * TILE_ROWS + row % TILE_ROWS;
    }

#ifdef CODED_VNNI
    template <class X>
    void set_row(int64_t row, const X* x) {
        int8_t* to = values + row * depth;
        const __m512i size = _mm512_set1_epi32(0x7fffffff);
        for (int64_t g = 0; g < groups; g++, x += SIZE, to += SIZE) {
            const __m512 a = wide(x), b = wide(x + LANES);
            // by the bits of |x|: a NaN is above all numbers and becomes the scale
            const __m512i top = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), size),
                                                 _mm512_and_si512(_mm512_castps_si512(b), size));
            const float most = from_bits(_mm512_reduce_max_epu32(top));
            const float inverse = most > 1e-30f ? 127.0f / most : 0.0f;
            const __m512i p = _mm512_cvtps_epi32(_mm512_mul_ps(a, _mm512_set1_ps(inverse)));  // ties to even
            const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(b, _mm512_set1_ps(inverse)));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(p));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + LANES), _mm512_cvtepi32_epi8(q));
            set_factors(row, g, most, _mm512_reduce_add_epi32(_mm512_add_epi32(p, q)));
        }
    }
#else
    template <class X>
    void set_row(int64_t row, const X* x) {
        int8_t* to = values + row * depth;
        for (int64_t g = 0; g < groups; g++, x += SIZE, to += SIZE) {
            uint32_t top = 0;  // by the bits of |x|: a NaN is above all numbers and becomes the scale
            for (int64_t i = 0; i < SIZE; i++) {
                const uint32_t size = to_bits(load(x + i)) & 0x7fffffffu;
                top = size > top ? size : top;
            }
            const float most = from_bits(top), inverse = most > 1e-30f ? 127.0f / most : 0.0f;
            int32_t sum = 0;
            for (int64_t i = 0; i < SIZE; i++) {
                const int32_t number = int32_t(std::rint(load(x + i) * inverse));  // ties to even, as torch does
                to[i] = int8_t(number);
                sum += number;
            }
            set_factors(row, g, most, sum);
        }
    }
#endif

  private:
    void set_factors(int64_t row, int64_t g, float most, int32_t sum) {
        const int64_t place = place_of(row, g);
        scales[place] = most / 127.0f;
        sums[place] = scales[place] * float(sum);
        offsets[place] = -128 * sum;
    }
};

// A row's sums of one panel, and the bias, to `out`. `X` says what the bias is: logits are float32 beside bf16 rows.
template <class X, class Y>
static inline void finish(const Matrix& m, int64_t panel, const float* sums, Y* out) {
    const int64_t first = panel * LANES, live = m.rows - first < LANES ? m.rows - first : LANES;
    const X* bias = static_cast<const X*>(m.bias);
    for (int64_t i = 0; i < live; i++) store(out + first + i, bias ? sums[i] + load(bias + first + i) : sums[i]);
}
