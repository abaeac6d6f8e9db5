// Attention of one new token a sequence over the two-level cache.
#include "common.h"
#if defined(__AVX512BF16__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define FAST_BF16 1
#endif

// scores[r * stride + j] = q[r] . keys[j] for `queries` rows of q
template <class X>
static void dots(const X* q, const X* keys, int64_t queries, int64_t count, int64_t dim, float* scores,
                 int64_t stride) {
    for (int64_t j = 0; j < count; j++)
        for (int64_t r = 0; r < queries; r++) scores[r * stride + j] = dot_of(q + r * dim, keys + j * dim, dim);
}

// acc[r * dim + d] += sum_j weights[r * stride + j] * values[j * dim + d]
template <class X>
static void mix(const float* weights, int64_t stride, const X* values, int64_t queries, int64_t count, int64_t dim,
                float* acc) {
    for (int64_t j = 0; j < count; j++)
        for (int64_t r = 0; r < queries; r++) {
            const float weight = weights[r * stride + j];
#pragma omp simd
            for (int64_t d = 0; d < dim; d++) acc[r * dim + d] += weight * load(values + j * dim + d);
        }
}

#ifdef FAST_BF16
// Lane i of the result is the sum of the 16 lanes of x[i].
static inline __m512 sums_of_16(__m512* x) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {  // 32-bit lanes in pairs
        const __m512 a = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]), b = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        x[i] = _mm512_add_ps(a, b);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {  // then fours: each 128-bit part holds four vectors' partial sums
        const __m512d a = _mm512_castps_pd(x[2 * i]), b = _mm512_castps_pd(x[2 * i + 1]);
        x[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        x[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0x88),
                             _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(x[0], x[1], 0x88), _mm512_shuffle_f32x4(x[0], x[1], 0xdd));
}

static inline __m512bh pairs(const bf16* p) { return (__m512bh)_mm512_loadu_si512(p); }

static inline __m512 widen(const bf16* p) {
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

// 16 keys at a time against each query; CHUNKS is dim / 32
template <int CHUNKS>
static void dots_of(const bf16* q, const bf16* keys, int64_t queries, int64_t count, float* scores, int64_t stride) {
    constexpr int64_t dim = CHUNKS * 32;
    for (int64_t j = 0; j < count; j += 16) {
        const int live = count - j < 16 ? int(count - j) : 16;
        for (int64_t r = 0; r < queries; r++) {
            __m512bh query[CHUNKS];
            for (int c = 0; c < CHUNKS; c++) query[c] = pairs(q + r * dim + 32 * c);
            __m512 sums[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) {
                const bf16* key = keys + (j + (i < live ? i : 0)) * dim;
                sums[i] = _mm512_setzero_ps();
#pragma GCC unroll 4
                for (int c = 0; c < CHUNKS; c++) sums[i] = _mm512_dpbf16_ps(sums[i], query[c], pairs(key + 32 * c));
            }
            _mm512_mask_storeu_ps(scores + r * stride + j, __mmask16((1u << live) - 1u), sums_of_16(sums));
        }
    }
}

static void dots(const bf16* q, const bf16* keys, int64_t queries, int64_t count, int64_t dim, float* scores,
                 int64_t stride) {
    if (dim == 64) return dots_of<2>(q, keys, queries, count, scores, stride);
    if (dim == 128) return dots_of<4>(q, keys, queries, count, scores, stride);
    dots<bf16>(q, keys, queries, count, dim, scores, stride);
}

// ROWS queries at a time over 64 dimensions, so that the sums stay in registers
template <int ROWS>
static void mix_rows(const float* weights, int64_t stride, const bf16* values, int64_t count, int64_t dim, float* acc) {
    for (int64_t d = 0; d < dim; d += 64) {
        __m512 sums[ROWS][4];
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < 4; i++) sums[r][i] = _mm512_loadu_ps(acc + r * dim + d + 16 * i);
        for (int64_t j = 0; j < count; j++) {
            __m512 v[4];
            for (int i = 0; i < 4; i++) v[i] = widen(values + j * dim + d + 16 * i);
            for (int r = 0; r < ROWS; r++) {
                const __m512 weight = _mm512_set1_ps(weights[r * stride + j]);
                for (int i = 0; i < 4; i++) sums[r][i] = _mm512_fmadd_ps(weight, v[i], sums[r][i]);
            }
        }
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < 4; i++) _mm512_storeu_ps(acc + r * dim + d + 16 * i, sums[r][i]);
    }
}

static void mix(const float* weights, int64_t stride, const bf16* values, int64_t queries, int64_t count, int64_t dim,
                float* acc) {
    if (dim % 64) return mix<bf16>(weights, stride, values, queries, count, dim, acc);
    int64_t r = 0;
    for (; r + 4 <= queries; r += 4) mix_rows<4>(weights + r * stride, stride, values, count, dim, acc + r * dim);
    if (queries - r == 3) mix_rows<3>(weights + r * stride, stride, values, count, dim, acc + r * dim);
    if (queries - r == 2) mix_rows<2>(weights + r * stride, stride, values, count, dim, acc + r * dim);
    if (queries - r == 1) mix_rows<1>(weights + r * stride, stride, values, count, dim, acc + r * dim);
}
#endif

// A run of slots of one group, order[begin..end), and one key head: their queries meet each prompt key together.
struct Decode {
    int64_t heads, kv_heads, dim, prompt_room, own_room;  // rooms: tokens that a row of the pool can hold
    float scale;
};

template <class X>
static void decode_run(const X* q, const X* k, const X* v, const X* prompt_k, const X* prompt_v, X* own_k, X* own_v,
                       const int64_t* own_lengths, const int64_t* slots, int64_t count, int64_t prompt_length,
                       int64_t head, const Decode& shape, X* out, Scratch& scratch) {
    const int64_t rep = shape.heads / shape.kv_heads, dim = shape.dim, queries = count * rep;
    int64_t longest = 0;
    for (int64_t m = 0; m < count; m++) longest = own_lengths[slots[m]] > longest ? own_lengths[slots[m]] : longest;
    const int64_t stride = (prompt_length + longest + 1 + 15) / 16 * 16;
    const int64_t query_floats = (queries * dim + 15) / 16 * 16;  // room for the gathered queries, in X
    scratch.grow(query_floats * 2 + queries * stride);
    X* gathered = reinterpret_cast<X*>(scratch.data());
    float *acc = scratch.data() + query_floats, *scores = acc + query_floats;
    for (int64_t m = 0; m < count; m++) {
        const X* mine = q + (slots[m] * shape.heads + head * rep) * dim;
        std::memcpy(static_cast<void*>(gathered + m * rep * dim), mine, sizeof(X) * size_t(rep * dim));
    }
    std::memset(acc, 0, sizeof(float) * size_t(query_floats));
    for (int64_t j = 0; j < prompt_length; j += 16) {  // 16 keys stay in the first cache for all queries
        const int64_t block = prompt_length - j < 16 ? prompt_length - j : 16;
        dots(gathered, prompt_k + j * dim, queries, block, dim, scores + j, stride);
    }
    for (int64_t m = 0; m < count; m++) {
        const int64_t slot = slots[m], old = own_lengths[slot], place = (slot * shape.kv_heads + head);
        X *keys = own_k + place * shape.own_room * dim, *values = own_v + place * shape.own_room * dim;
        std::memcpy(static_cast<void*>(keys + old * dim), k + place * dim, sizeof(X) * size_t(dim));
        std::memcpy(static_cast<void*>(values + old * dim), v + place * dim, sizeof(X) * size_t(dim));
        float* mine = scores + m * rep * stride;
        dots(gathered + m * rep * dim, keys, rep, old + 1, dim, mine + prompt_length, stride);
        for (int64_t r = 0; r < rep; r++) {
            float* x = mine + r * stride;
            const int64_t all = prompt_length + old + 1;
            const float sum = exp_and_sum(x, all, scale_and_top(x, all, shape.scale, -INFINITY));
            const float inverse = 1.0f / sum;
            for (int64_t i = 0; i < all; i++) x[i] *= inverse;
        }
    }
    mix(scores, stride, prompt_v, queries, prompt_length, dim, acc);
    for (int64_t m = 0; m < count; m++) {
        const int64_t slot = slots[m], place = slot * shape.kv_heads + head;
        float* mine = acc + m * rep * dim;
        mix(scores + m * rep * stride + prompt_length, stride, own_v + place * shape.own_room * dim, rep,
            own_lengths[slot] + 1, dim, mine);
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
        for (int64_t task = begin; task < end; task++) {
            const int64_t *run = runs + 3 * (task / shape.kv_heads), head = task % shape.kv_heads;
            const int64_t group = run[2], offset = (group * shape.kv_heads + head) * shape.prompt_room * shape.dim;
            decode_run(q, k, v, prompt_k + offset, prompt_v + offset, own_k, own_v, own_lengths, order + run[0],
                       run[1] - run[0], prompt_lengths[group], head, shape, out, scratch);
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
    }

DECODE(f32, float)
DECODE(bf16, bf16)
