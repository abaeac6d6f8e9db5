// Products of the layers' weights, laid out in panels.
#include "panels.h"

// weight (wide, depth) -> panels; columns past its end are zeros
API void pack_panels_bf16(const bf16* weight, bf16* packed, int64_t wide, int64_t depth, int threads) {
    const int64_t panels = (wide + COLUMNS - 1) / COLUMNS;
    split(panels, threads, 1, [=](int64_t begin, int64_t end) {
        for (int64_t panel = begin; panel < end; panel++)
            for (int64_t k = 0; k < depth; k += DEPTH)
                for (int64_t c = 0; c < COLUMNS; c++) {
                    const int64_t column = panel * COLUMNS + c;
                    bf16* tile = packed + (panel * (depth / DEPTH) + k / DEPTH) * 2 * TILE + c / 16 * TILE;
                    for (int64_t i = 0; i < DEPTH; i++)
                        tile[i / 2 * 32 + c % 16 * 2 + i % 2] = column < wide ? weight[column * depth + k + i] : bf16{0};
                }
    });
}

#ifdef HAS_PRODUCT
// out (rows, wide) = x (rows, depth) . packed^T + bias, which may be null
API void panel_linear_bf16(const bf16* x, const bf16* packed, const bf16* bias, bf16* out, int64_t rows, int64_t wide,
                           int64_t depth, int threads) {
    const int64_t panels = (wide + COLUMNS - 1) / COLUMNS;
    const PanelRows each{x, rows, depth};
    split(panels, threads, few_grain(rows * COLUMNS * depth), [=](int64_t begin, int64_t end) {
        each.times(packed, bias, begin * COLUMNS, end * COLUMNS < wide ? end * COLUMNS : wide, out, wide);
    });
}
#endif
