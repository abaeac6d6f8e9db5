// Sixteen rows against a panel of a quantised matrix by Intel's matrix tiles.
#pragma once
#include "coded_rows.h"

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
