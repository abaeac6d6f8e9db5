// Attention of new tokens over a paged cache.
//
// The cache is blocks of SPAN tokens; a sequence's lie wherever its block table says, and several sequences may have
// some in common. In a block each key head has its own part, in the order in which the products read it:
//   keys    two halves, each (dim / 2, 16 tokens, 2): a line of 64 bytes holds two dimensions of 16 tokens
//   values  (SPAN / 2, dim, 2): a line holds two tokens of 16 dimensions
// so that one bf16 instruction adds two products to each of 16 sums, a tile is 1 KiB of keys as they lie, and nothing
// is summed across a register.
#include <vector>

#include "decode.h"
#include "tiles.h"
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
#include <immintrin.h>
#define FAST_BF16 1
#endif

constexpr int64_t HALF = 16;

// Spans lie anywhere, so a processor foresees nothing past the end of one: as a span is read, the next but one is asked
// for, into the second cache. Into the first it was no faster than not to ask: few lines can be on their way there.
constexpr int64_t AHEAD = 2;

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

template <class X>
static void put_token(const Cache<X>& cache, const X* k, const X* v, int64_t t, int64_t head) {
    const int64_t at = cache.span(t, cache.places[t], head);
    put(k, v, cache.keys + at, cache.values + at, cache.places[t] % SPAN, cache.dim);
}

// scores[r * stride + j] = q[r] . key j for `queries` rows of q, span i of whose keys lies at spans[i]; whole spans are
// written, so up to SPAN - 1 scores past the last token. AHEAD more spans at the end of the list are what will
// be read after it, here and in `mix`.
template <class X>
static void dots(const X* q, const X* const* spans, int64_t queries, int64_t tokens, int64_t dim, float* scores,
                 int64_t stride, Tiles&) {
    for (int64_t j = 0; j < tokens; j += HALF)
        for (int64_t r = 0; r < queries; r++) {
            const X* keys = spans[j / SPAN] + j % SPAN * dim;
            float sums[HALF] = {};
            for (int64_t d = 0; d < dim; d += 2) {
                const X* line = keys + d * HALF;
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
static void mix(const X* weights, int64_t stride, const X* const* spans, int64_t queries, int64_t tokens, int64_t dim,
                float* acc, Tiles&) {
    for (int64_t j = 0; j < tokens; j += 2)
        for (int64_t r = 0; r < queries; r++) {
            const float a = load(weights + r * stride + j), b = load(weights + r * stride + j + 1);
            const X* line = spans[j / SPAN] + j % SPAN * dim;
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

static inline void ask_for(const bf16* line) { _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1); }

// sums[r] = q[r] . each of 16 keys
template <int ROWS>
static inline void dots_half(const bf16* q, const bf16* keys, const bf16* coming, int64_t dim, float* scores,
                             int64_t stride) {
    __m512 sums[ROWS];
    for (int r = 0; r < ROWS; r++) sums[r] = _mm512_setzero_ps();
    for (int64_t d = 0; d < dim; d += 2) {
        const __m512bh line = pairs(keys + d * HALF);
        ask_for(coming + d * HALF);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) sums[r] = _mm512_dpbf16_ps(sums[r], both(q + r * dim + d), line);
    }
    for (int r = 0; r < ROWS; r++) _mm512_storeu_ps(scores + r * stride, sums[r]);
}

template <int ROWS>
static void dots_rows(const bf16* q, const bf16* const* spans, int64_t tokens, int64_t dim, float* scores,
                      int64_t stride) {
    for (int64_t j = 0; j < tokens; j += SPAN) {  // one half after the other, in the order in which they lie
        const bf16 *keys = spans[j / SPAN], *coming = spans[j / SPAN + AHEAD];
        dots_half<ROWS>(q, keys, coming, dim, scores + j, stride);
        dots_half<ROWS>(q, keys + HALF * dim, coming + HALF * dim, dim, scores + j + HALF, stride);
    }
}

template <int ROWS, int LINES>
static void mix_rows(const bf16* weights, int64_t stride, const bf16* const* spans, int64_t tokens, int64_t dim,
                     float* acc) {
    for (int64_t d = 0; d < dim; d += 16 * LINES) {
        __m512 sums[ROWS][LINES];
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < LINES; i++) sums[r][i] = _mm512_loadu_ps(acc + r * dim + d + 16 * i);
        for (int64_t j = 0; j < tokens; j += 2) {
            const int64_t place = j % SPAN * dim + 2 * d;
            const bf16 *values = spans[j / SPAN] + place, *coming = spans[j / SPAN + AHEAD] + place;
            __m512bh line[LINES];
#pragma GCC unroll 4
            for (int i = 0; i < LINES; i++) {
                line[i] = pairs(values + 32 * i);
                ask_for(coming + 32 * i);
            }
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
static void mix_lines(const bf16* weights, int64_t stride, const bf16* const* spans, int64_t tokens, int64_t dim,
                      float* acc) {
    if (dim % 64 == 0) return mix_rows<ROWS, 4>(weights, stride, spans, tokens, dim, acc);
    mix_rows<ROWS, 1>(weights, stride, spans, tokens, dim, acc);
}

#ifdef HAS_TILES
// On processors that have them 5 to 10 times faster than the vector instruction, whose latency is 15 cycles. Both are
// for as many queries as the tiles have rows, and any dim that is a multiple of DEPTH.
constexpr int64_t DEPTH = 32;

static void dots_tiles(const bf16* q, const bf16* const* spans, int64_t tokens, int64_t dim, float* scores,
                       int64_t stride) {
    for (int64_t j = 0; j < tokens; j += SPAN) {
        _tile_zero(0);
        _tile_zero(1);
        for (int64_t d = 0; d < dim; d += DEPTH) {
            const bf16* left = spans[j / SPAN] + d * HALF;
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
static void mix_tiles(const bf16* weights, int64_t stride, const bf16* const* spans, int64_t tokens, int64_t dim,
                      float* acc) {
    for (int64_t d = 0; d < dim; d += 32) {
        _tile_loadd(0, acc + d, dim * 4);
        _tile_loadd(1, acc + d + 16, dim * 4);
        for (int64_t j = 0; j < tokens; j += SPAN) {
            const bf16* line = spans[j / SPAN] + 2 * d;
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

static void dots(const bf16* q, const bf16* const* spans, int64_t queries, int64_t tokens, int64_t dim, float* scores,
                 int64_t stride, Tiles& set_up) {
    int64_t r = 0;
#ifdef HAS_TILES
    if (tiles && dim % DEPTH == 0) {
        for (; r < queries; r += 16) {
            set_up.set_rows(int(queries - r < 16 ? queries - r : 16));
            dots_tiles(q + r * dim, spans, tokens, dim, scores + r * stride, stride);
        }
        return;
    }
#endif
    for (; r + 4 <= queries; r += 4) dots_rows<4>(q + r * dim, spans, tokens, dim, scores + r * stride, stride);
    if (queries - r == 3) dots_rows<3>(q + r * dim, spans, tokens, dim, scores + r * stride, stride);
    if (queries - r == 2) dots_rows<2>(q + r * dim, spans, tokens, dim, scores + r * stride, stride);
    if (queries - r == 1) dots_rows<1>(q + r * dim, spans, tokens, dim, scores + r * stride, stride);
}

static void mix(const bf16* weights, int64_t stride, const bf16* const* spans, int64_t queries, int64_t tokens,
                int64_t dim, float* acc, Tiles& set_up) {
    if (dim % 16) return mix<bf16>(weights, stride, spans, queries, tokens, dim, acc, set_up);
    int64_t r = 0;
#ifdef HAS_TILES
    if (tiles && dim % DEPTH == 0) {
        for (; r < queries; r += 16) {
            set_up.set_rows(int(queries - r < 16 ? queries - r : 16));
            mix_tiles(weights + r * stride, stride, spans, tokens, dim, acc + r * dim);
        }
        return;
    }
#endif
    for (; r + 4 <= queries; r += 4)
        mix_lines<4>(weights + r * stride, stride, spans, tokens, dim, acc + r * dim);
    if (queries - r == 3) mix_lines<3>(weights + r * stride, stride, spans, tokens, dim, acc + r * dim);
    if (queries - r == 2) mix_lines<2>(weights + r * stride, stride, spans, tokens, dim, acc + r * dim);
    if (queries - r == 1) mix_lines<1>(weights + r * stride, stride, spans, tokens, dim, acc + r * dim);
}
#endif

// Softmax of one query's scores over the tokens it sees; the weights in X, filled with 0 up to `end`
template <class X>
static void weigh(float* scores, int64_t visible, int64_t end, float scale, X* weights) {
    const float inverse = 1.0f / exp_and_sum(scores, visible, scale_and_top(scores, visible, scale, -INFINITY));
    for (int64_t i = 0; i < visible; i++) store(weights + i, scores[i] * inverse);
    for (int64_t i = visible; i < end; i++) store(weights + i, 0.0f);
}

// Tokens order[0 ... count) whose sequences have their first `shared` spans in common, and one key head: all queries
// meet each of these keys together. A query may see less than the shared spans hold (tokens of one sequence).
// next_token and next_head: whose keys will be read after these.
template <class X>
static void decode_run(const X* q, const X* k, const X* v, const Cache<X>& cache, const int64_t* order, int64_t count,
                       int64_t shared, int64_t head, X* out, Scratch& scratch, std::vector<const X*>& spans,
                       Tiles& set_up, int64_t next_token, int64_t next_head) {
    const int64_t rep = cache.heads / cache.kv_heads, dim = cache.dim, queries = count * rep;
    int64_t most = 0;
    for (int64_t m = 0; m < count; m++) most = cache.places[order[m]] >= most ? cache.places[order[m]] + 1 : most;
    const int64_t stride = whole_spans(most) > shared * SPAN ? whole_spans(most) : shared * SPAN;
    const int64_t together = most < shared * SPAN ? most : shared * SPAN;
    const int64_t wide = (queries * dim + 15) / 16 * 16;
    scratch.grow(wide * 2 + queries * stride * 2);
    spans.resize(size_t(2 * (stride / SPAN + AHEAD)));
    const X **key_spans = spans.data(), **value_spans = key_spans + stride / SPAN + AHEAD;
    X* gathered = reinterpret_cast<X*>(scratch.data());
    float *acc = scratch.data() + wide, *scores = acc + wide;
    X* weights = reinterpret_cast<X*>(scores + queries * stride);
    const auto find = [&](int64_t t, int64_t from, int64_t to) {  // spans [from, to) of token t's sequence
        for (int64_t i = from; i < to; i++) {
            const int64_t at = cache.span(t, i * SPAN, head);
            key_spans[i] = cache.keys + at;
            value_spans[i] = cache.values + at;
        }
    };
    const auto then = [&](const X** end, const X* blocks, int64_t t, int64_t from, int64_t of_head) {
        for (int64_t i = from; i < from + AHEAD; i++) {
            const int64_t place = i * SPAN < cache.places[t] ? i * SPAN : cache.places[t];
            *end++ = blocks + cache.span(t, place, of_head);
        }
    };
    for (int64_t m = 0; m < count; m++) {
        const int64_t t = order[m], place = (t * cache.kv_heads + head) * dim;
        if (k) put_token(cache, k + place, v + place, t, head);
        const X* mine = q + (t * cache.heads + head * rep) * dim;
        std::memcpy(static_cast<void*>(gathered + m * rep * dim), mine, sizeof(X) * size_t(rep * dim));
    }
    std::memset(acc, 0, sizeof(float) * size_t(wide));
    find(order[0], 0, shared);
    then(key_spans + shared, cache.keys, order[0], shared, head);
    dots(gathered, key_spans, queries, together, dim, scores, stride, set_up);
    for (int64_t m = 0; m < count; m++) {
        const int64_t t = order[m], visible = cache.places[t] + 1, own = visible - shared * SPAN;
        float* mine = scores + m * rep * stride;
        if (own > 0) {
            const int64_t end = whole_spans(visible) / SPAN;
            find(t, shared, end);
            if (m + 1 < count)
                then(key_spans + end, cache.keys, order[m + 1], shared, head);
            else
                then(key_spans + end, cache.values, order[0], 0, head);
            dots(gathered + m * rep * dim, key_spans + shared, rep, own, dim, mine + shared * SPAN, stride, set_up);
        }
        const int64_t end = own > 0 ? whole_spans(visible) : shared * SPAN;
        for (int64_t r = 0; r < rep; r++)
            weigh(mine + r * stride, visible, end, cache.scale, weights + (m * rep + r) * stride);
    }
    then(value_spans + shared, cache.values, order[0], shared, head);
    mix(weights, stride, value_spans, queries, together, dim, acc, set_up);
    for (int64_t m = 0; m < count; m++) {
        const int64_t t = order[m], visible = cache.places[t] + 1, own = visible - shared * SPAN;
        float* mine = acc + m * rep * dim;
        if (own > 0) {
            const int64_t end = whole_spans(visible) / SPAN;
            find(t, shared, end);
            if (m + 1 < count)
                then(value_spans + end, cache.values, order[m + 1], shared, head);
            else
                then(value_spans + end, cache.keys, next_token, 0, next_head);
            mix(weights + m * rep * stride + shared * SPAN, stride, value_spans + shared, rep, own, dim, mine, set_up);
        }
        X* o = out + (t * cache.heads + head * rep) * dim;
        for (int64_t i = 0; i < rep * dim; i++) store(o + i, mine[i]);
    }
}

template <class X>
static void attend_some(const Runs<X>& all, int64_t begin, int64_t end) {
    const Cache<X>& cache = all.cache;
    Scratch scratch;
    std::vector<const X*> spans;
    Tiles set_up;
    for (int64_t task = begin; task < end; task++) {
        const int64_t *run = all.runs + 3 * (task / cache.kv_heads), head = task % cache.kv_heads;
        const int64_t next = task + 1 < end ? task + 1 : task;
        decode_run(all.q, all.k, all.v, cache, all.order + run[0], run[1] - run[0], run[2], head, all.out, scratch, spans,
                   set_up, all.order[all.runs[3 * (next / cache.kv_heads)]], next % cache.kv_heads);
    }
}

template <class X>
static void keep_some(const X* k, const X* v, const Cache<X>& cache, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++)
        for (int64_t head = 0; head < cache.kv_heads; head++) {
            const int64_t at = (t * cache.kv_heads + head) * cache.dim;
            put_token(cache, k + at, v + at, t, head);
        }
}

void attend_runs(const Runs<float>& all, int64_t begin, int64_t end) { attend_some(all, begin, end); }
void attend_runs(const Runs<bf16>& all, int64_t begin, int64_t end) { attend_some(all, begin, end); }

void keep_tokens(const float* k, const float* v, const Cache<float>& cache, int64_t begin, int64_t end) {
    keep_some(k, v, cache, begin, end);
}
void keep_tokens(const bf16* k, const bf16* v, const Cache<bf16>& cache, int64_t begin, int64_t end) {
    keep_some(k, v, cache, begin, end);
}

#define DECODE(NAME, X)                                                                                            \
    API void decode_##NAME(const X* q, const X* k, const X* v, X* keys, X* values, const int64_t* tables,          \
                           const int64_t* rows, const int64_t* places, const int64_t* order, const int64_t* runs,  \
                           int64_t num_runs, int64_t table_width, int64_t heads, int64_t kv_heads, int64_t dim,    \
                           float scale, X* out, int threads) {                                                     \
        const Runs<X> all{q, k, v, {keys, values, tables, rows, places, table_width, heads, kv_heads, dim, scale}, \
                          order, runs, num_runs, out};                                                             \
        split(all.count(), threads, 1, [&](int64_t begin, int64_t end) { attend_runs(all, begin, end); });         \
    }                                                                                                              \
    API void keep_##NAME(const X* k, const X* v, X* keys, X* values, const int64_t* tables, const int64_t* rows,   \
                         const int64_t* places, int64_t count, int64_t table_width, int64_t kv_heads, int64_t dim, \
                         int threads) {                                                                            \
        const Cache<X> cache{keys, values, tables, rows, places, table_width, kv_heads, kv_heads, dim, 1.0f};      \
        split(count, threads, grain_of(kv_heads * dim),                                                            \
              [&](int64_t begin, int64_t end) { keep_tokens(k, v, cache, begin, end); });                          \
    }

DECODE(f32, float)
DECODE(bf16, bf16)
