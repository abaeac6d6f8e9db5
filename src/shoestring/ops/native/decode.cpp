// Attention of one new token a sequence over the two-level cache.
//
// A row of the cache is blocks of SPAN tokens of one key head, in the order in which the products read them:
//   keys    two halves, each (dim / 2, 16 tokens, 2): a line of 64 bytes holds two dimensions of 16 tokens
//   values  (SPAN / 2, dim, 2): a line holds two tokens of 16 dimensions
// so that one bf16 instruction adds two products to each of 16 sums, a tile is 1 KiB of keys as they lie, and nothing
// is summed across a register.
#include "tiles.h"
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
#include <immintrin.h>
#define FAST_BF16 1
#endif

constexpr int64_t SPAN = 32, HALF = 16;

static inline int64_t whole_spans(int64_t tokens) { return (tokens + SPAN - 1) / SPAN * SPAN; }

static inline int64_t key_place(int64_t token, int64_t d, int64_t dim) {
    return token / HALF * HALF * dim + d / 2 * SPAN + token % HALF * 2 + d % 2;
}

static inline int64_t value_place(int64_t token, int64_t d, int64_t dim) {
    return token / 2 * 2 * dim + d * 2 + token % 2;
}

template <class X>
static void put(const X* k, const X* v, X* keys, X* values, int64_t token, int64_t dim) {
    for (int64_t d = 0; d < dim; d++) {
        keys[key_place(token, d, dim)] = k[d];
        values[value_place(token, d, dim)] = v[d];
    }
}

// scores[r * stride + j] = q[r] . key j for `queries` rows of q; whole blocks are written, so up to SPAN - 1 scores
// past the last token
template <class X>
static void dots(const X* q, const X* keys, int64_t queries, int64_t tokens, int64_t dim, float* scores,
                 int64_t stride, Tiles&) {
    for (int64_t j = 0; j < tokens; j += HALF)
        for (int64_t r = 0; r < queries; r++) {
            float sums[HALF] = {};
            for (int64_t d = 0; d < dim; d += 2) {
                const X* line = keys + j * dim + d * HALF;
                const float a = load(q + r * dim + d), b = load(q + r * dim + d + 1);
#pragma omp simd
                for (int64_t i = 0; i < HALF; i++) sums[i] += a * load(line + 2 * i) + b * load(line + 2 * i + 1);
            }
            std::memcpy(scores + r * stride + j, sums, sizeof(sums));
        }
}

// acc[r * dim + d] += sum over tokens of weights[r * stride + token] * value; a last odd token has a partner of
// weight 0
template <class X>
static void mix(const X* weights, int64_t stride, const X* values, int64_t queries, int64_t tokens, int64_t dim,
                float* acc, Tiles&) {
    for (int64_t j = 0; j < tokens; j += 2)
        for (int64_t r = 0; r < queries; r++) {
            const float a = load(weights + r * stride + j), b = load(weights + r * stride + j + 1);
            const X* line = values + j * dim;
#pragma omp simd
            for (int64_t d = 0; d < dim; d++)
                acc[r * dim + d] += a * load(line + 2 * d) + b * load(line + 2 * d + 1);
        }
}

#ifdef FAST_BF16
static inline __m512bh pairs(const bf16* p) { return (__m512bh)_mm512_loadu_si512(p); }

static inline __m512bh both(const bf16* p) {  // two numbers, sixteen times
    int32_t pair;
    std::memcpy(&pair, p, 4);
    return (__m512bh)_mm512_set1_epi32(pair);
}

template <int ROWS>
static void dots_rows(const bf16* q, const bf16* keys, int64_t tokens, int64_t dim, float* scores, int64_t stride) {
    for (int64_t j = 0; j < tokens; j += SPAN) {
        const bf16 *left = keys + j * dim, *right = left + HALF * dim;
        __m512 a[ROWS], b[ROWS];
        for (int r = 0; r < ROWS; r++) a[r] = b[r] = _mm512_setzero_ps();
        for (int64_t d = 0; d < dim; d += 2) {
            const __m512bh x = pairs(left + d * HALF), y = pairs(right + d * HALF);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                const __m512bh query = both(q + r * dim + d);
                a[r] = _mm512_dpbf16_ps(a[r], query, x);
                b[r] = _mm512_dpbf16_ps(b[r], query, y);
            }
        }
        for (int r = 0; r < ROWS; r++) {
            _mm512_storeu_ps(scores + r * stride + j, a[r]);
            _mm512_storeu_ps(scores + r * stride + j + HALF, b[r]);
        }
    }
}

template <int ROWS, int LINES>
static void mix_rows(const bf16* weights, int64_t stride, const bf16* values, int64_t tokens, int64_t dim, float* acc) {
    for (int64_t d = 0; d < dim; d += 16 * LINES) {
        __m512 sums[ROWS][LINES];
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < LINES; i++) sums[r][i] = _mm512_loadu_ps(acc + r * dim + d + 16 * i);
        for (int64_t j = 0; j < tokens; j += 2) {
            __m512bh line[LINES];
#pragma GCC unroll 4
            for (int i = 0; i < LINES; i++) line[i] = pairs(values + j * dim + 2 * d + 32 * i);
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; r++) {
                const __m512bh weight = both(weights + r * stride + j);
#pragma GCC unroll 4
                for (int i = 0; i < LINES; i++) sums[r][i] = _mm512_dpbf16_ps(sums[r][i], weight, line[i]);
            }
        }
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < LINES; i++) _mm512_storeu_ps(acc + r * dim + d + 16 * i, sums[r][i]);
    }
}

template <int ROWS>
static void mix_lines(const bf16* weights, int64_t stride, const bf16* values, int64_t tokens, int64_t dim,
                      float* acc) {
    if (dim % 64 == 0) return mix_rows<ROWS, 4>(weights, stride, values, tokens, dim, acc);
    mix_rows<ROWS, 1>(weights, stride, values, tokens, dim, acc);
}

#ifdef HAS_TILES
// On processors that have them 5 to 10 times faster than the vector instruction, whose latency is 15 cycles. Both are
// for as many queries as the tiles have rows, and any dim that is a multiple of DEPTH.
constexpr int64_t DEPTH = 32;

static void dots_tiles(const bf16* q, const bf16* keys, int64_t tokens, int64_t dim, float* scores, int64_t stride) {
    for (int64_t j = 0; j < tokens; j += SPAN) {
        _tile_zero(0);
        _tile_zero(1);
        for (int64_t d = 0; d < dim; d += DEPTH) {
            const bf16* left = keys + j * dim + d * HALF;
            _tile_loadd(4, q + d, dim * 2);
            _tile_loadd(5, left, 64);
            _tile_loadd(6, left + HALF * dim, 64);
            _tile_dpbf16ps(0, 4, 5);
            _tile_dpbf16ps(1, 4, 6);
        }
        _tile_stored(0, scores + j, stride * 4);
        _tile_stored(1, scores + j + HALF, stride * 4);
    }
}

// weights are 0 past the last token, up to a whole span
static void mix_tiles(const bf16* weights, int64_t stride, const bf16* values, int64_t tokens, int64_t dim, float* acc) {
    for (int64_t d = 0; d < dim; d += 32) {
        _tile_loadd(0, acc + d, dim * 4);
        _tile_loadd(1, acc + d + 16, dim * 4);
        for (int64_t j = 0; j < tokens; j += SPAN) {
            const bf16* line = values + j * dim + 2 * d;
            _tile_loadd(4, weights + j, stride * 2);
            _tile_loadd(5, line, dim * 4);
            _tile_loadd(6, line + 32, dim * 4);
            _tile_dpbf16ps(0, 4, 5);
            _tile_dpbf16ps(1, 4, 6);
        }
        _tile_stored(0, acc + d, dim * 4);
        _tile_stored(1, acc + d + 16, dim * 4);
    }
}
#endif

static void dots(const bf16* q, const bf16* keys, int64_t queries, int64_t tokens, int64_t dim, float* scores,
                 int64_t stride, Tiles& set_up) {
    int64_t r = 0;
#ifdef HAS_TILES
    if (tiles && dim % DEPTH == 0) {
        for (; r < queries; r += 16) {
            set_up.set_rows(int(queries - r < 16 ? queries - r : 16));
            dots_tiles(q + r * dim, keys, tokens, dim, scores + r * stride, stride);
        }
        return;
    }
#endif
    for (; r + 4 <= queries; r += 4) dots_rows<4>(q + r * dim, keys, tokens, dim, scores + r * stride, stride);
    if (queries - r == 3) dots_rows<3>(q + r * dim, keys, tokens, dim, scores + r * stride, stride);
    if (queries - r == 2) dots_rows<2>(q + r * dim, keys, tokens, dim, scores + r * stride, stride);
    if (queries - r == 1) dots_rows<1>(q + r * dim, keys, tokens, dim, scores + r * stride, stride);
}

static void mix(const bf16* weights, int64_t stride, const bf16* values, int64_t queries, int64_t tokens, int64_t dim,
                float* acc, Tiles& set_up) {
    if (dim % 16) return mix<bf16>(weights, stride, values, queries, tokens, dim, acc, set_up);
    int64_t r = 0;
#ifdef HAS_TILES
    if (tiles && dim % DEPTH == 0) {
        for (; r < queries; r += 16) {
            set_up.set_rows(int(queries - r < 16 ? queries - r : 16));
            mix_tiles(weights + r * stride, stride, values, tokens, dim, acc + r * dim);
        }
        return;
    }
#endif
    for (; r + 4 <= queries; r += 4)
        mix_lines<4>(weights + r * stride, stride, values, tokens, dim, acc + r * dim);
    if (queries - r == 3) mix_lines<3>(weights + r * stride, stride, values, tokens, dim, acc + r * dim);
    if (queries - r == 2) mix_lines<2>(weights + r * stride, stride, values, tokens, dim, acc + r * dim);
    if (queries - r == 1) mix_lines<1>(weights + r * stride, stride, values, tokens, dim, acc + r * dim);
}
#endif

struct Decode {
    int64_t heads, kv_heads, dim, prompt_room, own_room;  // rooms: tokens that a row of the cache can hold
    float scale;
};

// Softmax of one query's scores over its prompt and its own tokens; the weights in X, each part filled to whole spans
// with 0.
template <class X>
static void weigh(float* scores, int64_t prompt, int64_t own, float scale, X* weights) {
    const int64_t all = prompt + own;
    const float inverse = 1.0f / exp_and_sum(scores, all, scale_and_top(scores, all, scale, -INFINITY));
    X* mine = weights + whole_spans(prompt);
    for (int64_t i = 0; i < prompt; i++) store(weights + i, scores[i] * inverse);
    for (X* x = weights + prompt; x < mine; x++) store(x, 0.0f);
    for (int64_t i = 0; i < own; i++) store(mine + i, scores[prompt + i] * inverse);
    for (X* x = mine + own; x < mine + whole_spans(own); x++) store(x, 0.0f);
}

// A run of slots of one group and one key head: their queries meet each key of the shared prompt together.
template <class X>
static void decode_run(const X* q, const X* k, const X* v, const X* prompt_k, const X* prompt_v, X* own_k, X* own_v,
                       const int64_t* own_lengths, const int64_t* slots, int64_t count, int64_t prompt_length,
                       int64_t head, const Decode& shape, X* out, Scratch& scratch, Tiles& set_up) {
    const int64_t rep = shape.heads / shape.kv_heads, dim = shape.dim, queries = count * rep;
    int64_t longest = 0;
    for (int64_t m = 0; m < count; m++) longest = own_lengths[slots[m]] > longest ? own_lengths[slots[m]] : longest;
    const int64_t stride = whole_spans(prompt_length) + whole_spans(longest + 1);
    const int64_t wide = (queries * dim + 15) / 16 * 16;
    scratch.grow(wide * 2 + queries * stride * 2);
    X* gathered = reinterpret_cast<X*>(scratch.data());
    float *acc = scratch.data() + wide, *scores = acc + wide;
    X* weights = reinterpret_cast<X*>(scores + queries * stride);
    for (int64_t m = 0; m < count; m++) {
        const X* mine = q + (slots[m] * shape.heads + head * rep) * dim;
        std::memcpy(static_cast<void*>(gathered + m * rep * dim), mine, sizeof(X) * size_t(rep * dim));
    }
    std::memset(acc, 0, sizeof(float) * size_t(wide));
    dots(gathered, prompt_k, queries, prompt_length, dim, scores, stride, set_up);
    for (int64_t m = 0; m < count; m++) {
        const int64_t slot = slots[m], own = own_lengths[slot] + 1, place = slot * shape.kv_heads + head;
        X *keys = own_k + place * shape.own_room * dim, *values = own_v + place * shape.own_room * dim;
        put(k + place * dim, v + place * dim, keys, values, own - 1, dim);
        float* mine = scores + m * rep * stride;
        dots(gathered + m * rep * dim, keys, rep, own, dim, mine + prompt_length, stride, set_up);
        for (int64_t r = 0; r < rep; r++)
            weigh(mine + r * stride, prompt_length, own, shape.scale, weights + (m * rep + r) * stride);
    }
    mix(weights, stride, prompt_v, queries, prompt_length, dim, acc, set_up);
    for (int64_t m = 0; m < count; m++) {
        const int64_t slot = slots[m], place = slot * shape.kv_heads + head;
        float* mine = acc + m * rep * dim;
        mix(weights + m * rep * stride + whole_spans(prompt_length), stride, own_v + place * shape.own_room * dim, rep,
            own_lengths[slot] + 1, dim, mine, set_up);
        X* o = out + (slot * shape.heads + head * rep) * dim;
        for (int64_t i = 0; i < rep * dim; i++) store(o + i, mine[i]);
    }
}

// runs (num_runs, 3): begin and end in `order`, and the group. q, k, v of one new token a slot; k and v are also
// written to the cache at own_lengths[slot].
template <class X>
static void decode(const X* q, const X* k, const X* v, const X* prompt_k, const X* prompt_v, X* own_k, X* own_v,
                   const int64_t* prompt_lengths, const int64_t* own_lengths, const int64_t* order,
                   const int64_t* runs, int64_t num_runs, Decode shape, X* out, int threads) {
    split(num_runs * shape.kv_heads, threads, 1, [=](int64_t begin, int64_t end) {
        Scratch scratch;
        Tiles set_up;
        for (int64_t task = begin; task < end; task++) {
            const int64_t *run = runs + 3 * (task / shape.kv_heads), head = task % shape.kv_heads;
            const int64_t group = run[2], offset = (group * shape.kv_heads + head) * shape.prompt_room * shape.dim;
            decode_run(q, k, v, prompt_k + offset, prompt_v + offset, own_k, own_v, own_lengths, order + run[0],
                       run[1] - run[0], prompt_lengths[group], head, shape, out, scratch, set_up);
        }
    });
}

// Tokens starts[i] ... + lengths[i] of k and v (T, kv_heads, dim) into row first + i of the cache, from place `at` on
template <class X>
static void keep(const X* k, const X* v, X* cache_k, X* cache_v, const int64_t* starts, const int64_t* lengths,
                 int64_t count, int64_t first, int64_t at, int64_t kv_heads, int64_t dim, int64_t room, int threads) {
    split(count * kv_heads, threads, 1, [=](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; task++) {
            const int64_t i = task / kv_heads, head = task % kv_heads;
            const int64_t row = ((first + i) * kv_heads + head) * room * dim;
            for (int64_t t = 0; t < lengths[i]; t++) {
                const int64_t from = ((starts[i] + t) * kv_heads + head) * dim;
                put(k + from, v + from, cache_k + row, cache_v + row, at + t, dim);
            }
        }
    });
}

#define DECODE(NAME, X)                                                                                            \
    API void decode_##NAME(const X* q, const X* k, const X* v, const X* prompt_k, const X* prompt_v, X* own_k,     \
                           X* own_v, const int64_t* prompt_lengths, const int64_t* own_lengths,                    \
                           const int64_t* order, const int64_t* runs, int64_t num_runs, int64_t heads,             \
                           int64_t kv_heads, int64_t dim, int64_t prompt_room, int64_t own_room, float scale,      \
                           X* out, int threads) {                                                                  \
        const Decode shape = {heads, kv_heads, dim, prompt_room, own_room, scale};                                 \
        decode(q, k, v, prompt_k, prompt_v, own_k, own_v, prompt_lengths, own_lengths, order, runs, num_runs,      \
               shape, out, threads);                                                                               \
    }                                                                                                              \
    API void keep_##NAME(const X* k, const X* v, X* cache_k, X* cache_v, const int64_t* starts,                    \
                         const int64_t* lengths, int64_t count, int64_t first, int64_t at, int64_t kv_heads,       \
                         int64_t dim, int64_t room, int threads) {                                                 \
        keep(k, v, cache_k, cache_v, starts, lengths, count, first, at, kv_heads, dim, room, threads);             \
    }

DECODE(f32, float)
DECODE(bf16, bf16)
