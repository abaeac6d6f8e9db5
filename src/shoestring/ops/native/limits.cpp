// Drawing from part of the vocabulary (ops/limits.py says which part): what min_p, top_k and top_p keep is found
// without sorting. A first pass takes each block's largest logit; those bound the k-th largest of all, and what top_p
// can keep, so that only some hundreds or thousands of candidates are looked at one by one.
#include <algorithm>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "vocabulary.h"

constexpr float LOWEST = std::numeric_limits<float>::lowest();  // below what can be drawn is only -inf
constexpr double SHORT_MASS = 1e-6, SHORT_LOGIT = 1e-5;  // as in ops/limits.py
constexpr double LEAST_SCALE = 1e-30, MOST_SCALE = 1e30;  // past these a float32 times a logit is no number

struct Row {
    float* x;  // logits
    int64_t vocab;
    float scale, top;
    const float* tops;  // of its blocks
    int64_t blocks() const { return (vocab + BLOCK - 1) / BLOCK; }
    int64_t size(int64_t block) const { return vocab - block * BLOCK < BLOCK ? vocab - block * BLOCK : BLOCK; }
};

struct Candidates {  // in the order of the vocabulary
    std::vector<int32_t> ids;
    std::vector<float> x, weights;
    int64_t count = 0;
};

// Whether every logit is a number; their largest by block. What a mask forbids becomes -inf.
static bool first_pass(float* x, int64_t vocab, const uint8_t* allowed, float* tops) {
    int32_t bad = 0;
    for (int64_t start = 0; start < vocab; start += BLOCK) {
        const int64_t size = vocab - start < BLOCK ? vocab - start : BLOCK;
        float* own = x + start;
        if (allowed) {
#pragma omp simd
            for (int64_t i = 0; i < size; i++) own[i] = allowed[start + i] ? own[i] : -INFINITY;
        }
#pragma omp simd reduction(+ : bad)
        for (int64_t i = 0; i < size; i++) bad += own[i] != own[i];
        tops[start / BLOCK] = largest(own, size);
    }
    return bad == 0;
}

// e^((x - top) * scale) of at most BLOCK numbers, and their sum. From a copy on a cache line's boundary: where the
// row happens to lie must not change the order of the sum.
ONE_COPY static float weigh(const float* x, int64_t size, float scale, float top, float* weights) {
    alignas(64) float own[BLOCK];
    std::memcpy(own, x, size_t(size) * sizeof(float));
#pragma omp simd
    for (int64_t i = 0; i < size; i++) own[i] = (own[i] - top) * scale;
    const float sum = exp_and_sum(own, size, 0.0f);
    if (weights) std::memcpy(weights, own, size_t(size) * sizeof(float));
    return sum;
}

// What is at least `floor`
static void gather(const Row& row, float floor, Candidates& out) {
    out.ids.resize(size_t(row.vocab));
    int64_t count = 0;
    for (int64_t block = 0; block < row.blocks(); block++) {
        if (row.tops[block] < floor) continue;
        const int64_t first = block * BLOCK, last = first + row.size(block);
        for (int64_t i = first; i < last; i++) {
            out.ids[size_t(count)] = int32_t(i);
            count += row.x[i] >= floor;
        }
    }
    out.count = count;
    out.x.resize(size_t(count));
    for (int64_t i = 0; i < count; i++) out.x[size_t(i)] = row.x[out.ids[size_t(i)]];
}

static double weigh_all(const Row& row, Candidates& out) {
    out.weights.resize(size_t(out.count));
    double total = 0.0;
    for (int64_t start = 0; start < out.count; start += BLOCK) {
        const int64_t size = out.count - start < BLOCK ? out.count - start : BLOCK;
        total += weigh(out.x.data() + start, size, row.scale, row.top, out.weights.data() + start);
    }
    return total;
}

// The k-th largest logit, or `floor` where that is larger. k blocks have a number at least as large as the k-th
// largest of their tops.
static float kth_largest(const Row& row, int64_t k, float floor, Candidates& scratch) {
    if (k <= row.blocks()) {
        std::vector<float> tops(row.tops, row.tops + row.blocks());
        std::nth_element(tops.begin(), tops.begin() + (k - 1), tops.end(), std::greater<float>());
        floor = std::max(floor, tops[size_t(k - 1)]);
    }
    gather(row, floor, scratch);
    if (scratch.count < k) return floor;  // min_p left fewer
    std::nth_element(scratch.x.begin(), scratch.x.begin() + (k - 1), scratch.x.end(), std::greater<float>());
    return scratch.x[size_t(k - 1)];
}

struct Cut {  // kept is what lies above, and the first `equal` of those that are equal to it
    float at;
    int64_t equal;
};

// Where the mass, from the largest down, reaches `target`: quickselect by weight, three ways
static Cut cut_at_mass(const Candidates& from, double target) {
    std::vector<std::pair<float, float>> left;
    left.reserve(size_t(from.count));
    for (int64_t i = 0; i < from.count; i++) left.emplace_back(from.x[size_t(i)], from.weights[size_t(i)]);
    auto begin = left.begin(), end = left.end();
    double before = 0.0;
    while (begin != end) {
        const float a = begin->first, b = begin[(end - begin) / 2].first, c = end[-1].first;
        const float pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
        const auto above = std::partition(begin, end, [=](const auto& it) { return it.first > pivot; });
        const auto equal = std::partition(above, end, [=](const auto& it) { return it.first == pivot; });
        double mass = before;
        for (auto it = begin; it != above; ++it) mass += it->second;
        if (mass >= target) {
            end = above;
            continue;
        }
        int64_t count = 0;
        for (auto it = above; it != equal; ++it) {
            mass += it->second;
            count++;
            if (mass >= target) return {pivot, count};
        }
        before = mass;
        begin = equal;
    }
    return {*std::min_element(from.x.begin(), from.x.begin() + from.count), from.count};  // rounding: all of them
}

// A floor that is no number, or above the largest logit, would keep nothing: the likeliest always stays
static float floor_of(const Row& row, double share) {
    const float floor = float(row.top + (std::log(share) - SHORT_LOGIT) / double(row.scale));
    return floor <= row.top ? std::max(floor, LOWEST) : row.top;
}

static Cut cut_of(const Row& row, int64_t top_k, double top_p, double min_p, Candidates& scratch) {
    float floor = LOWEST;
    if (min_p > 0.0) floor = floor_of(row, min_p);
    if (top_k > 0 && top_k < row.vocab) floor = kth_largest(row, top_k, floor, scratch);
    if (top_p >= 1.0) return {floor, row.vocab};
    double total = 0.0;
    if (floor == LOWEST) {
        for (int64_t b = 0; b < row.blocks(); b++)
            total += weigh(row.x + b * BLOCK, row.size(b), row.scale, row.top, nullptr);
        // all words below this weight together are less than what top_p leaves out
        gather(row, floor_of(row, (1.0 - top_p) * total / double(row.vocab)), scratch);
        weigh_all(row, scratch);
    } else {
        gather(row, floor, scratch);
        total = weigh_all(row, scratch);
    }
    return cut_at_mass(scratch, top_p * (1.0 - SHORT_MASS) * total);
}

// Only what is kept stays in x
static void drop_below(const Row& row, Cut cut) {
#pragma omp simd
    for (int64_t i = 0; i < row.vocab; i++) row.x[i] = row.x[i] >= cut.at ? row.x[i] : -INFINITY;
    if (cut.equal >= row.vocab) return;
    int64_t seen = 0;
    for (int64_t i = 0; i < row.vocab; i++)
        if (row.x[i] == cut.at && ++seen > cut.equal) row.x[i] = -INFINITY;
}

// Without limits: among all, by sums of blocks, then inside one
static void draw_all(const Row& row, double uniform, int64_t* id, float* logprob) {
    double total = 0.0;
    std::vector<double> ends(size_t(row.blocks()));
    for (int64_t b = 0; b < row.blocks(); b++) {
        if (row.tops[b] >= LOWEST) total += weigh(row.x + b * BLOCK, row.size(b), row.scale, row.top, nullptr);
        ends[size_t(b)] = total;
    }
    int64_t block = 0;
    if (uniform < 0.0) {
        while (row.tops[block] < row.top) block++;
    } else {
        while (block + 1 < row.blocks() && !(ends[size_t(block)] > uniform * total)) block++;
        while (block > 0 && !(ends[size_t(block)] > ends[size_t(block - 1)])) block--;
    }
    const float* x = row.x + block * BLOCK;
    float weights[BLOCK];
    weigh(x, row.size(block), row.scale, row.top, weights);
    int64_t chosen = 0;
    double reached = block ? ends[size_t(block - 1)] : 0.0;
    for (int64_t i = 0; i < row.size(block); i++) {
        if (uniform < 0.0) {
            if (x[i] > x[chosen]) chosen = i;
            continue;
        }
        if (weights[i] > 0.0f) chosen = i;
        reached += weights[i];
        if (reached > uniform * total) break;
    }
    *id = block * BLOCK + chosen;
    *logprob = (x[chosen] - row.top) * row.scale - float(std::log(total));
}

// Among what is kept, in the order of the vocabulary; uniform < 0 is greedy
static void draw_kept(const Row& row, Cut cut, double uniform, int64_t* id, float* logprob, Candidates& kept) {
    gather(row, cut.at, kept);
    int64_t count = 0, equal = 0;
    for (int64_t i = 0; i < kept.count; i++) {
        const float x = kept.x[size_t(i)];
        if (x == cut.at && ++equal > cut.equal) continue;
        kept.x[size_t(count)] = x;
        kept.ids[size_t(count++)] = kept.ids[size_t(i)];
    }
    kept.count = count;
    const double total = weigh_all(row, kept), target = uniform * total;
    int64_t chosen = 0;
    double reached = 0.0;
    for (int64_t i = 0; i < count; i++) {
        if (uniform < 0.0) {
            if (kept.x[size_t(i)] > kept.x[size_t(chosen)]) chosen = i;
            continue;
        }
        if (kept.weights[size_t(i)] > 0.0f) chosen = i;
        reached += kept.weights[size_t(i)];
        if (reached > target) break;
    }
    *id = kept.ids[size_t(chosen)];
    *logprob = (kept.x[size_t(chosen)] - row.top) * row.scale - float(std::log(total));
}

// logits (rows, vocab), written to; numbers (3, rows): temperatures, top_p, min_p; allowed (masks, vocab) or null, and
// of_mask (rows) says which is a row's own (-1: none)
API void draw_limited_f32(float* logits, const double* uniform, const double* numbers, const int64_t* top_ks,
                          const uint8_t* allowed, const int64_t* of_mask, int64_t* ids, float* logprobs, int64_t rows,
                          int64_t vocab, int64_t drop, int threads) {
    split(rows, threads, 1, [=](int64_t begin, int64_t end) {
        std::vector<float> tops(size_t((vocab + BLOCK - 1) / BLOCK));
        Candidates scratch;
        for (int64_t r = begin; r < end; r++) {
            float* x = logits + r * vocab;
            const double temperature = numbers[r], top_p = numbers[rows + r], min_p = numbers[2 * rows + r];
            const uint8_t* mask = of_mask[r] < 0 ? nullptr : allowed + of_mask[r] * vocab;
            ids[r] = 0;
            logprobs[r] = NAN;
            if (!first_pass(x, vocab, mask, tops.data())) continue;
            const float top = largest(tops.data(), int64_t(tops.size()));
            if (!std::isfinite(top)) continue;
            const double scale = temperature > 0.0 ? std::clamp(1.0 / temperature, LEAST_SCALE, MOST_SCALE) : 1.0;
            const Row row{x, vocab, float(scale), top, tops.data()};
            const Cut cut = cut_of(row, top_ks[r], top_p, min_p, scratch);
            const double draw = temperature > 0.0 ? uniform[r] : -1.0;
            if (cut.at == LOWEST) {
                draw_all(row, draw, ids + r, logprobs + r);
                continue;
            }
            draw_kept(row, cut, draw, ids + r, logprobs + r, scratch);
            if (drop) drop_below(row, cut);
        }
    });
}
