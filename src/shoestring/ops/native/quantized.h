// Products of any number of rows with a quantised matrix, by what the processor has.
#pragma once
#include "coded_tiles.h"

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

// out[row * stride + n] = matrix row n . x[row] + bias[n] for panels [begin, end) of the matrix and rows [from, to), of
// which the first begins a tile. Rows are taken some hundred at a time, so that they and the part of the matrix stay in
// the cache.
template <class X, class Y>
static void coded_times(const Matrix& m, const Coded& x, int64_t from, int64_t to, int64_t begin, int64_t end, Y* out,
                        int64_t stride) {
#ifdef CODED_TILES
    if (tiles && to - from >= TILES_FROM) {
        constexpr int64_t TOGETHER = 256;
        const CodedTiles set_up(true);
        Scratch room(m.bits == 4 ? m.depth * LANES / 4 : 0);
        for (int64_t first = from; first < to; first += TOGETHER) {
            const int64_t last = first + TOGETHER < to ? first + TOGETHER : to;
            for (int64_t panel = begin; panel < end; panel++) {
                const int8_t* numbers = reinterpret_cast<const int8_t*>(m.values) + panel * m.depth * LANES;
                if (m.bits == 4) {
                    int8_t* own = reinterpret_cast<int8_t*>(room.data());
                    spread_panel(m, panel, own);
                    numbers = own;
                }
                for (int64_t row = first; row < last; row += TILE_ROWS) {
                    const int64_t live = last - row < TILE_ROWS ? last - row : TILE_ROWS;
                    Y* own = out + row * stride;
                    if (m.bits == 4)
                        panel_tiles<true, X>(m, panel, numbers, x, row, live, own, stride);
                    else
                        panel_tiles<false, X>(m, panel, numbers, x, row, live, own, stride);
                }
            }
        }
        return;
    }
#endif
    for (int64_t panel = begin; panel < end; panel++) panel_by_rows<X>(m, panel, x, from, to, out, stride);
}
