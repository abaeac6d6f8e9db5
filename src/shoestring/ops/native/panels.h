// bf16 matrices in the order in which products of one row or many read them, their sums kept in float32.
#pragma once
#include "tiles.h"
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
#include <immintrin.h>
#define HAS_PRODUCT 1
#endif

// Rows, columns and steps of the sum that one product takes. A packed matrix (columns, depth) is panels of COLUMNS
// columns, each depth / DEPTH pairs of tiles, a tile 16 rows of 16 columns x 2 numbers (Intel's VNNI order).
constexpr int64_t ROWS = 32, COLUMNS = 32, DEPTH = 32, TILE = 512;

#ifdef HAS_PRODUCT
#ifdef HAS_TILES
static void product_tiles(const bf16* a, int64_t depth, const bf16* panel, float* out, int64_t stride) {
    const bf16* b = a + 16 * depth;
    const int64_t bytes = depth * 2;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < depth; k += DEPTH, panel += 2 * TILE) {
        _tile_loadd(6, panel, 64);
        _tile_loadd(7, panel + TILE, 64);
        _tile_loadd(4, a + k, bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, b + k, bytes);  // of 16 rows too
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, stride * 4);
    _tile_stored(1, out + 16, stride * 4);
    _tile_stored(2, out + 16 * stride, stride * 4);
    _tile_stored(3, out + 16 * stride + 16, stride * 4);
}
#endif

// sums[r] += row r of a . a tile, for COUNT rows that lie `depth` apart
template <int COUNT>
static inline void add_tile(const bf16* a, int64_t depth, const bf16* tile, __m512* sums) {
    for (int64_t k = 0; k < DEPTH; k += 2, tile += 32) {
        const __m512bh x = (__m512bh)_mm512_loadu_si512(tile);
#pragma GCC unroll 8
        for (int r = 0; r < COUNT; r++) {
            int32_t pair;
            std::memcpy(&pair, a + r * depth + k, 4);
            sums[r] = _mm512_dpbf16_ps(sums[r], (__m512bh)_mm512_set1_epi32(pair), x);
        }
    }
}

// COUNT rows of a against one panel, read in the order in which it lies: line by line from two tiles in turn it came
// at a third of the speed on an EPYC, which foresees one stream (docs/log.md)
template <int COUNT>
static void product_rows(const bf16* a, int64_t depth, const bf16* panel, float* out, int64_t stride) {
    __m512 left[COUNT], right[COUNT];
    for (int r = 0; r < COUNT; r++) left[r] = right[r] = _mm512_setzero_ps();
    for (int64_t k = 0; k < depth; k += DEPTH, panel += 2 * TILE) {
        add_tile<COUNT>(a + k, depth, panel, left);
        add_tile<COUNT>(a + k, depth, panel + TILE, right);
    }
    for (int r = 0; r < COUNT; r++) {
        _mm512_storeu_ps(out + r * stride, left[r]);
        _mm512_storeu_ps(out + r * stride + 16, right[r]);
    }
}

// out (live, COLUMNS) with rows `stride` apart = a (live, depth) . panel; `a` has ROWS rows, since tiles take all of them.
// A row's sums are the same however many are made beside it.
static void product(const bf16* a, int64_t live, int64_t depth, const bf16* panel, float* out, int64_t stride) {
#ifdef HAS_TILES
    if (tiles) return product_tiles(a, depth, panel, out, stride);
#endif
    int64_t r = 0;
    for (; r + 8 <= live; r += 8) product_rows<8>(a + r * depth, depth, panel, out + r * stride, stride);
    for (; r + 2 <= live; r += 2) product_rows<2>(a + r * depth, depth, panel, out + r * stride, stride);
    if (r < live) product_rows<1>(a + r * depth, depth, panel, out + r * stride, stride);
}

// Rows against panels without tiles: so many rows at a time as stay in the cache beside a panel
struct PanelRows {
    const bf16* x;
    int64_t rows, depth;
    static constexpr int64_t CACHED = 1 << 17;  // numbers

    // columns [begin, end) of every row's product, `begin` a multiple of COLUMNS; packed is the whole matrix
    void times(const bf16* packed, const bf16* bias, int64_t begin, int64_t end, bf16* out, int64_t stride) const {
        const int64_t together = CACHED / depth < 8 ? 8 : CACHED / depth / 8 * 8;
        for (int64_t first = 0; first < rows; first += together) {
            const int64_t last = first + together < rows ? first + together : rows;
            for (int64_t column = begin; column < end; column += COLUMNS) {
                const int64_t width = end - column < COLUMNS ? end - column : COLUMNS;
                const bf16 *panel = packed + column * depth, *own = bias ? bias + column : nullptr;
                int64_t row = first;
                for (; row + 8 <= last; row += 8) some<8>(row, panel, own, width, out + column, stride);
                for (; row + 4 <= last; row += 4) some<4>(row, panel, own, width, out + column, stride);
                for (; row + 2 <= last; row += 2) some<2>(row, panel, own, width, out + column, stride);
                if (row < last) some<1>(row, panel, own, width, out + column, stride);
            }
        }
    }

  private:
    template <int COUNT>
    void some(int64_t row, const bf16* panel, const bf16* bias, int64_t width, bf16* out, int64_t stride) const {
        alignas(64) float made[COUNT * COLUMNS];
        product_rows<COUNT>(x + row * depth, depth, panel, made, COLUMNS);
        for (int64_t r = 0; r < COUNT; r++) {
            float* sums = made + r * COLUMNS;
            if (bias)
                for (int64_t i = 0; i < width; i++) sums[i] += load(bias + i);
            bf16* to = out + (row + r) * stride;
            if (width == COLUMNS) {
#pragma omp simd
                for (int64_t i = 0; i < COLUMNS; i++) store(to + i, sums[i]);
            } else {
                for (int64_t i = 0; i < width; i++) store(to + i, sums[i]);
            }
        }
    }
};
#endif
