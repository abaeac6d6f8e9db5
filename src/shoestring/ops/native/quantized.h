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

// A matrix (rows, depth) as ops/quantized.py lays it out and describes it, seven words long. Panels of LANES rows; in a
// panel group after group. 8 bits: LINES lines. 4 bits: half as many, a byte's low half belongs to line i and its high
// half to line i + LINES / 2. scales and mins (panels, groups, LANES) are float16.
struct Matrix {
    int64_t bits, rows, depth;
    const uint8_t* values;
    const uint16_t *scales, *mins;
    const void* bias;
    int64_t groups() const { return depth / SIZE; }
    int64_t panels() const { return (rows + LANES - 1) / LANES; }
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

#ifdef CODED_TILES
// Tiles 0 to 3 results, 4 and 6 rows of a group's numbers, 5 and 7 a panel's group
class CodedTiles {
    bool on_;

  public:
    explicit CodedTiles(bool on) : on_(on) {
        if (!on) return;
        struct alignas(64) {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {64, 64, 64, 64, SIZE, 64, SIZE, 64};
            uint8_t rows[16] = {TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, LINES, TILE_ROWS, LINES};
        } shape;
        __asm__ volatile("" : : "r"(&shape) : "memory");  // GCC thinks that only its first bytes are read
        _tile_loadconfig(&shape);
    }
    CodedTiles(const CodedTiles&) = delete;
    CodedTiles& operator=(const CodedTiles&) = delete;
    ~CodedTiles() {
        if (on_) _tile_release();
    }
};

static inline void put(float* out, __mmask16 live, __m512 sums) { _mm512_mask_storeu_ps(out, live, sums); }

static inline void put(bf16* out, __mmask16 live, __m512 sums) {  // to nearest even as `store` does
    const __m512i bits = _mm512_castps_si512(sums), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(sums, sums, _CMP_UNORD_Q);
    _mm512_mask_cvtepi32_storeu_epi16(out, live, _mm512_mask_mov_epi32(up, nan, _mm512_set1_epi32(0x7fc0)));
}

static inline __m512 wide_of(const float* p, __mmask16 live) { return _mm512_maskz_loadu_ps(live, p); }

static inline __m512 wide_of(const bf16* p, __mmask16 live) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(live, p)), 16));
}

// `finish` for some rows' sums at once
template <class X, class Y>
static inline __attribute__((always_inline)) void finish_rows(const Matrix& m, int64_t panel, const __m512* acc, int64_t rows, Y* out, int64_t stride) {
    const int64_t first = panel * LANES, left = m.rows - first;
    const __mmask16 live = left < LANES ? __mmask16((1 << left) - 1) : __mmask16(-1);
    const X* bias = static_cast<const X*>(m.bias);
    const __m512 offset = bias ? wide_of(bias + first, live) : _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++)
        if (r < rows) put(out + r * stride + first, live, bias ? _mm512_add_ps(acc[r], offset) : acc[r]);
}

// A panel's 4-bit numbers as bytes, as tiles want them
static void spread_panel(const Matrix& m, int64_t panel, int8_t* to) {
    const __m512i half = _mm512_set1_epi8(0x0f);
    const uint8_t* line = m.values + panel * m.groups() * SIZE * LANES / 2;
    for (int64_t g = 0; g < m.groups(); g++, to += SIZE * LANES)
        for (int64_t i = 0; i < LINES / 2; i++, line += LINE) {
            const __m512i both = _mm512_loadu_si512(line);
            _mm512_store_si512(to + i * LINE, _mm512_and_si512(both, half));
            _mm512_store_si512(to + (i + LINES / 2) * LINE, _mm512_and_si512(_mm512_srli_epi16(both, 4), half));
        }
}

template <bool FOUR>
static inline __attribute__((always_inline)) void add_group(const Matrix& m, int64_t factors, const Coded& x, int64_t place, const int32_t* dots,
                             __m512* acc) {
    const __m512 scales = halves(m.scales + factors);
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) {
        const __m512 factor = _mm512_mul_ps(scales, _mm512_set1_ps(x.scales[place + r]));
        acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(dots + r * LANES)), factor, acc[r]);
    }
    if (!FOUR) return;
    const __m512 lows = halves(m.mins + factors);
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) acc[r] = _mm512_fmadd_ps(lows, _mm512_set1_ps(x.sums[place + r]), acc[r]);
}

// Two tiles become the whole numbers' products of two groups, or of the last one
#define TWO_GROUPS(NAME, FIRST, SECOND)                                                                            \
    static inline void make_##NAME(const int8_t* rows, int64_t bytes, const int8_t* weights, int64_t count) {      \
        _tile_zero(FIRST);                                                                                         \
        _tile_loadd(4, rows, bytes);                                                                               \
        _tile_loadd(5, weights, LINE);                                                                             \
        _tile_dpbssd(FIRST, 4, 5);                                                                                 \
        if (count < 2) return;                                                                                     \
        _tile_zero(SECOND);                                                                                        \
        _tile_loadd(6, rows + SIZE, bytes);                                                                        \
        _tile_loadd(7, weights + SIZE * LANES, LINE);                                                              \
        _tile_dpbssd(SECOND, 6, 7);                                                                                \
    }                                                                                                              \
    static inline void keep_##NAME(int32_t* to) {                                                                  \
        _tile_stored(FIRST, to, LINE);                                                                             \
        _tile_stored(SECOND, to + TILE_ROWS * LANES, LINE);                                                        \
    }

TWO_GROUPS(even, 0, 1)
TWO_GROUPS(odd, 2, 3)

// TILE_ROWS rows from `row` on, of which `live` are there; `numbers` are the panel's, a byte each. Three pairs of groups
// are under way at a time: one in the tiles, one on its way to memory, one being added up. No two of them meet in the low
// bits of an address, by which the processor tells loads from stores.
template <bool FOUR, class X, class Y>
static void panel_tiles(const Matrix& m, int64_t panel, const int8_t* numbers, const Coded& x, int64_t row, int64_t live,
                        Y* out, int64_t stride) {
    const int64_t groups = m.groups(), bytes = x.depth;
    const int8_t* rows = x.values + row * bytes;
    alignas(4096) int32_t dots[2][2 * TILE_ROWS * LANES];
    __m512 acc[TILE_ROWS];  // stays in registers as long as its address goes nowhere: tiles count as writing anywhere
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) acc[r] = _mm512_setzero_ps();
    int64_t factors = panel * groups * LANES, place = x.place_of(row, 0);
    const auto add = [&](int64_t g, const int32_t* from) __attribute__((always_inline)) {
        for (int64_t i = g; i < g + 2 && i < groups; i++, factors += LANES, place += TILE_ROWS)
            add_group<FOUR>(m, factors, x, place, from + (i - g) * TILE_ROWS * LANES, acc);
    };
    make_even(rows, bytes, numbers, groups);
    keep_even(dots[0]);
    if (groups > 2) make_odd(rows + 2 * SIZE, bytes, numbers + 2 * SIZE * LANES, groups - 2);
    for (int64_t g = 0; g < groups; g += 4) {
        if (g + 2 < groups) keep_odd(dots[1]);
        if (g + 4 < groups) make_even(rows + (g + 4) * SIZE, bytes, numbers + (g + 4) * SIZE * LANES, groups - g - 4);
        add(g, dots[0]);
        if (g + 4 < groups) keep_even(dots[0]);
        if (g + 6 < groups) make_odd(rows + (g + 6) * SIZE, bytes, numbers + (g + 6) * SIZE * LANES, groups - g - 6);
        add(g + 2, dots[1]);
    }
    finish_rows<X>(m, panel, acc, live, out, stride);
}
#endif

template <int ROWS, class X, class Y>
static inline void panel_to(const Matrix& m, int64_t panel, const Coded& x, int64_t row, Y* out, int64_t stride) {
    alignas(64) float sums[ROWS * LANES];
    if (m.bits == 4)
        panel_rows<ROWS, true>(m, panel, x, row, sums);
    else
        panel_rows<ROWS, false>(m, panel, x, row, sums);
    for (int r = 0; r < ROWS; r++)
        finish<X>(m, panel, sums + r * LANES, out + (row + r) * stride);
}

template <class X, class Y>
static void panel_by_rows(const Matrix& m, int64_t panel, const Coded& x, int64_t row, int64_t end, Y* out,
                          int64_t stride) {
    for (; row + 8 <= end; row += 8) panel_to<8, X>(m, panel, x, row, out, stride);
    for (; row + 4 <= end; row += 4) panel_to<4, X>(m, panel, x, row, out, stride);
    for (; row + 2 <= end; row += 2) panel_to<2, X>(m, panel, x, row, out, stride);
    if (row < end) panel_to<1, X>(m, panel, x, row, out, stride);
}

// out[row * stride + n] = matrix row n . x[row] + bias[n] for panels [begin, end) of the matrix. Rows are taken some
// hundred at a time, so that they and the part of the matrix stay in the cache.
template <class X, class Y>
static void coded_times(const Matrix& m, const Coded& x, int64_t rows, int64_t begin, int64_t end, Y* out,
                        int64_t stride) {
#ifdef CODED_TILES
    if (tiles && rows >= TILES_FROM) {
        constexpr int64_t TOGETHER = 256;
        const CodedTiles set_up(true);
        Scratch room(m.bits == 4 ? m.depth * LANES / 4 : 0);
        for (int64_t first = 0; first < rows; first += TOGETHER) {
            const int64_t last = first + TOGETHER < rows ? first + TOGETHER : rows;
            for (int64_t panel = begin; panel < end; panel++) {
                const int8_t* numbers = reinterpret_cast<const int8_t*>(m.values) + panel * m.depth * LANES;
                if (m.bits == 4) {
                    int8_t* own = reinterpret_cast<int8_t*>(room.data());
                    spread_panel(m, panel, own);
                    numbers = own;
                }
                for (int64_t row = first; row < last; row += TILE_ROWS) {
                    const int64_t live = last - row < TILE_ROWS ? last - row : TILE_ROWS;
                    Y* to = out + row * stride;
                    if (m.bits == 4)
                        panel_tiles<true, X>(m, panel, numbers, x, row, live, to, stride);
                    else
                        panel_tiles<false, X>(m, panel, numbers, x, row, live, to, stride);
                }
            }
        }
        return;
    }
#endif
    for (int64_t panel = begin; panel < end; panel++) panel_by_rows<X>(m, panel, x, 0, rows, out, stride);
}
