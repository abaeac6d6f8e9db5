// The product with the vocabulary matrix, its sums kept in float32: a logit of 16 in bf16 is off by up to 0.03, which
// was most of the difference between the sampler's and the trainer's logprobs.
#include <vector>

#include "tiles.h"
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
#include <immintrin.h>
#define HAS_PRODUCT 1
#endif

// Rows of the hidden states, columns of the vocabulary and steps of the sum that one product takes; a packed matrix is
// panels of COLUMNS words, each K / DEPTH pairs of tiles, a tile 16 rows of 16 words x 2 numbers (Intel's VNNI order).
constexpr int64_t ROWS = 32, COLUMNS = 32, DEPTH = 32, TILE = 512, GROUP = 8, BLOCK = COLUMNS * GROUP;

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
#endif

// weight (vocab, depth) -> panels; words past the end of the vocabulary are zeros
API void pack_head_bf16(const bf16* weight, bf16* packed, int64_t vocab, int64_t depth, int threads) {
    const int64_t panels = (vocab + COLUMNS - 1) / COLUMNS;
    split(panels, threads, 1, [=](int64_t begin, int64_t end) {
        for (int64_t panel = begin; panel < end; panel++)
            for (int64_t k = 0; k < depth; k += DEPTH)
                for (int64_t c = 0; c < COLUMNS; c++) {
                    const int64_t word = panel * COLUMNS + c;
                    bf16* tile = packed + (panel * (depth / DEPTH) + k / DEPTH) * 2 * TILE + c / 16 * TILE;
                    for (int64_t i = 0; i < DEPTH; i++)
                        tile[i / 2 * 32 + c % 16 * 2 + i % 2] = word < vocab ? weight[word * depth + k + i] : bf16{0};
                }
    });
}

#ifdef HAS_PRODUCT
// Rows up to a multiple of ROWS, since tiles read so many: a copy with zeros where there are fewer.
class Filled {
    std::vector<bf16> copy_;
    const bf16* data_;

  public:
    Filled(const bf16* hidden, int64_t rows, int64_t depth) : data_(hidden) {
        if (rows % ROWS == 0) return;
        copy_.resize(size_t((rows + ROWS - 1) / ROWS * ROWS * depth));
        std::memcpy(copy_.data(), hidden, sizeof(bf16) * size_t(rows * depth));
        data_ = copy_.data();
    }
    const bf16* data() const { return data_; }
};

// hidden (rows, depth) -> logits (rows, vocab) float32
API void head_logits_bf16(const bf16* hidden, const bf16* packed, float* logits, int64_t rows, int64_t vocab,
                          int64_t depth, int threads) {
    const int64_t panels = (vocab + COLUMNS - 1) / COLUMNS;
    const Filled filled(hidden, rows, depth);
    const bf16* all = filled.data();
    split(panels, threads, few_grain(rows * COLUMNS * depth), [=](int64_t begin, int64_t end) {
        [[maybe_unused]] const Tiles set_up(16);
        alignas(64) float part[ROWS * COLUMNS];
        for (int64_t panel = begin; panel < end; panel++)
            for (int64_t row = 0; row < rows; row += ROWS) {
                const int64_t first = panel * COLUMNS, live = rows - row < ROWS ? rows - row : ROWS;
                product(all + row * depth, live, depth, packed + panel * depth * COLUMNS, part, COLUMNS);
                const size_t width = size_t(vocab - first < COLUMNS ? vocab - first : COLUMNS);
                for (int64_t r = 0; r < live; r++)
                    std::memcpy(logits + (row + r) * vocab + first, part + r * COLUMNS, width * sizeof(float));
            }
    });
}

struct Peak {  // of BLOCK words: the largest scaled logit, and the sum of e^(scaled - largest)
    float top, sum;
};

static Peak peak_of(float* x, int64_t size, float scale) {
    const float top = scale_and_top(x, size, scale, -INFINITY);
    return {top, exp_and_sum(x, size, top)};
}

// The draw of one row from its blocks: only the block that the uniform number falls into is computed again
static void draw_row(const bf16* hidden, const bf16* packed, const Peak* peaks, const double* uniform, int64_t* id,
                     float* logprob, int64_t vocab, int64_t depth, float scale, double* ends) {
    const int64_t blocks = (vocab + BLOCK - 1) / BLOCK;
    int64_t block = 0;
    for (int64_t b = 1; b < blocks; b++)
        if (peaks[b].top > peaks[block].top) block = b;
    const float top = peaks[block].top;
    double total = 0.0;
    for (int64_t b = 0; b < blocks; b++) ends[b] = total += double(peaks[b].sum) * double(fast_exp(peaks[b].top - top));
    const double target = uniform ? *uniform * total : 0.0;
    if (uniform) {
        block = 0;
        while (block + 1 < blocks && !(ends[block] > target)) block++;
        while (block > 0 && !(ends[block] > ends[block - 1])) block--;
    }
    alignas(64) float x[BLOCK];
    const int64_t first = block * BLOCK, size = vocab - first < BLOCK ? vocab - first : BLOCK;
    for (int64_t c = 0; c < size; c += COLUMNS)
        product_rows<1>(hidden, depth, packed + (first + c) * depth, x + c, BLOCK);
    int64_t chosen = 0;
    double reached = block ? ends[block - 1] : 0.0;
    for (int64_t i = 0; i < size; i++) {
        if (!uniform) {
            if (x[i] > x[chosen]) chosen = i;
            continue;
        }
        const double weight = fast_exp(x[i] * scale - top);
        if (weight > 0.0) chosen = i;
        reached += weight;
        if (reached > target) break;
    }
    *id = first + chosen;
    *logprob = x[chosen] * scale - top - float(std::log(total));
}

// Logits are never written: a pass over the matrix keeps each block's largest and sum, then each row draws. scale is
// 1 / temperature; uniform null is greedy.
API void head_sample_bf16(const bf16* hidden, const bf16* packed, const double* uniform, int64_t* ids, float* logprobs,
                          int64_t rows, int64_t vocab, int64_t depth, float scale, int threads) {
    const int64_t blocks = (vocab + BLOCK - 1) / BLOCK, panels = (vocab + COLUMNS - 1) / COLUMNS;
    std::vector<Peak> peaks(size_t(rows * blocks));
    Peak* found = peaks.data();
    const Filled filled(hidden, rows, depth);
    const bf16* all = filled.data();
    split(blocks, threads, few_grain(rows * BLOCK * depth), [=](int64_t begin, int64_t end) {
        [[maybe_unused]] const Tiles set_up(16);
        alignas(64) float part[ROWS * BLOCK];
        for (int64_t block = begin; block < end; block++)
            for (int64_t row = 0; row < rows; row += ROWS) {
                const int64_t live = rows - row < ROWS ? rows - row : ROWS;
                for (int64_t c = 0; c < GROUP && block * GROUP + c < panels; c++)
                    product(all + row * depth, live, depth, packed + (block * GROUP + c) * depth * COLUMNS,
                            part + c * COLUMNS, BLOCK);
                const int64_t size = vocab - block * BLOCK < BLOCK ? vocab - block * BLOCK : BLOCK;
                for (int64_t r = 0; r < live; r++)
                    found[(row + r) * blocks + block] = peak_of(part + r * BLOCK, size, scale);
            }
    });
    split(rows, threads, few_grain(BLOCK * depth), [=](int64_t begin, int64_t end) {
        std::vector<double> ends(size_t(blocks), 0.0);
        for (int64_t row = begin; row < end; row++)
            draw_row(hidden + row * depth, packed, found + row * blocks, uniform ? uniform + row : nullptr, ids + row,
                     logprobs + row, vocab, depth, scale, ends.data());
    });
}
#endif

API int product_depth() {  // hidden sizes must be a multiple of it; 0: this processor has no bf16 products
#ifdef HAS_PRODUCT
    return int(DEPTH);
#else
    return 0;
#endif
}
