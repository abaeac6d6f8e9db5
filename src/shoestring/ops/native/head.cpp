// The product with the vocabulary matrix, its sums kept in float32: a logit of 16 in bf16 is off by up to 0.03, which
// was most of the difference between the sampler's and the trainer's logprobs.
#include <vector>

#include "panels.h"

constexpr int64_t GROUP = 8, BLOCK = COLUMNS * GROUP;  // panels whose peak is kept; their words

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
