// Attention of rows laid end to end that may share a beginning, forward and backward, in float32. Scores stay in the
// cache: the backward pass makes them again from each query's normaliser.
//
// The work comes in parts: some rows (start, length) behind one prefix. A prefix is itself a row, a part of one row
// behind nothing. One key head at a time; its queries are `rep` heads of each token.
#include "common.h"

typedef float Vec __attribute__((vector_size(64)));
constexpr int64_t LANES = 16;
constexpr int64_t TOKENS = 16;  // of a row whose scores are made together
#ifdef __AVX512F__
constexpr int TALL = 8;  // rows of the product that fit the registers, two vectors wide
#else
constexpr int TALL = 3;
#endif

struct Part {
    int64_t first_row, last_row, prefix_start, prefix_length;
    int64_t sums;                    // of the prefix: where this part's share of its gradients lies, in tokens
    int64_t first_part, last_part;   // of a row that is a prefix: the parts behind it
};

struct Row {
    int64_t start, length;
};

struct Shape {
    int64_t heads, kv_heads, dim, room;  // room: for the tokens that a query sees, and LANES more
    float scale;
    int64_t rep() const { return heads / kv_heads; }
};

template <int ROWS, int WIDE>
static inline void product_block(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row, float* c,
                                 int64_t c_row, int64_t depth, bool add) {
    Vec sums[ROWS][WIDE];
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < WIDE; j++)
            if (add) std::memcpy(&sums[i][j], c + i * c_row + j * LANES, sizeof(Vec));
            else sums[i][j] = Vec{};
    for (int64_t p = 0; p < depth; p++) {
        Vec right[WIDE];
        for (int j = 0; j < WIDE; j++) std::memcpy(&right[j], b + p * b_row + j * LANES, sizeof(Vec));
        for (int i = 0; i < ROWS; i++) {
            const float left = a[i * a_row + p * a_step];
            for (int j = 0; j < WIDE; j++) sums[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < WIDE; j++) std::memcpy(c + i * c_row + j * LANES, &sums[i][j], sizeof(Vec));
}

template <int WIDE>
static inline void product_columns(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row,
                                   float* c, int64_t c_row, int64_t rows, int64_t depth, bool add) {
    int64_t i = 0;
    for (; i + TALL <= rows; i += TALL)
        product_block<TALL, WIDE>(a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth, add);
    for (; i + 2 <= rows; i += 2)
        product_block<2, WIDE>(a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth, add);
    for (; i < rows; i++)
        product_block<1, WIDE>(a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth, add);
}

// c (rows, columns) = or += a (rows, depth) b (depth, columns); columns a multiple of LANES, a's element (i, p) at
// a[i * a_row + p * a_step], so that it may stand turned round
static void product(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row, float* c,
                    int64_t c_row, int64_t rows, int64_t columns, int64_t depth, bool add) {
    int64_t j = 0;
    for (; j + 2 * LANES <= columns; j += 2 * LANES)
        product_columns<2>(a, a_row, a_step, b + j, b_row, c + j, c_row, rows, depth, add);
    if (j < columns) product_columns<1>(a, a_row, a_step, b + j, b_row, c + j, c_row, rows, depth, add);
}

static inline int64_t whole_lanes(int64_t size) { return (size + LANES - 1) / LANES * LANES; }

// A square of LANES x LANES turned round: row i meets row i + 8, number by number, four times
static inline void turn_square(const float* x, int64_t x_row, float* out, int64_t out_row) {
    Vec rows[2][LANES];
    for (int i = 0; i < LANES; i++) std::memcpy(&rows[0][i], x + i * x_row, sizeof(Vec));
    for (int stage = 0; stage < 4; stage++) {
        Vec *from = rows[stage % 2], *to = rows[1 - stage % 2];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            to[2 * i] = __builtin_shufflevector(from[i], from[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22,
                                                7, 23);
            to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
                                                    14, 30, 15, 31);
        }
    }
    for (int i = 0; i < LANES; i++) std::memcpy(out + i * out_row, &rows[0][i], sizeof(Vec));
}

// Tokens `from` ... of x (T, heads, dim), one head -> out (count, dim), and turned round into across (dim, room), where
// up to LANES - 1 columns more are written. Either may be null.
template <class X>
static void take(const X* x, int64_t heads, int64_t dim, int64_t head, int64_t from, int64_t count, float* out,
                 float* across, int64_t room, float* square) {
    for (int64_t first = 0; first < count; first += LANES) {
        float* lines = out ? out + first * dim : square;
        const int64_t some = count - first < LANES ? count - first : LANES;
        for (int64_t t = 0; t < some; t++) {
            const X* token = x + ((from + first + t) * heads + head) * dim;
#pragma omp simd
            for (int64_t d = 0; d < dim; d++) lines[t * dim + d] = load(token + d);
        }
        if (across)
            for (int64_t d = 0; d < dim; d += LANES) turn_square(lines + d, dim, across + d * room + first, room);
    }
}

// The queries (or their gradients) of one key head: tokens `from` ... -> (count * rep, dim), times scale
template <class X>
static void take_queries(const X* x, const Shape& s, int64_t kv, int64_t from, int64_t count, float scale, float* out) {
    const int64_t wide = s.rep() * s.dim;
    for (int64_t t = 0; t < count; t++) {
        const X* token = x + (from + t) * s.heads * s.dim + kv * wide;
#pragma omp simd
        for (int64_t i = 0; i < wide; i++) out[t * wide + i] = load(token + i) * scale;
    }
}

template <class X>
static void put_queries(const float* values, const Shape& s, int64_t kv, int64_t from, int64_t count, float scale,
                        X* out) {
    const int64_t wide = s.rep() * s.dim;
    for (int64_t t = 0; t < count; t++) {
        X* token = out + (from + t) * s.heads * s.dim + kv * wide;
#pragma omp simd
        for (int64_t i = 0; i < wide; i++) store(token + i, values[t * wide + i] * scale);
    }
}

template <class X>
static void forward_part(const Part& part, const Row* rows, const X* q, const X* k, const X* v, X* out, float* normalizer,
                         const Shape& s, int64_t kv, float* scratch) {
    const int64_t dim = s.dim, rep = s.rep(), prefix = part.prefix_length, room = s.room;
    float *keys = scratch, *values = keys + dim * room, *queries = values + room * dim;
    float *scores = queries + TOKENS * rep * dim, *mixed = scores + TOKENS * rep * room;
    float* square = mixed + TOKENS * rep * dim;
    take(k, s.kv_heads, dim, kv, part.prefix_start, prefix, nullptr, keys, room, square);
    take(v, s.kv_heads, dim, kv, part.prefix_start, prefix, values, nullptr, room, square);
    for (int64_t r = part.first_row; r < part.last_row; r++) {
        const Row& row = rows[r];
        take(k, s.kv_heads, dim, kv, row.start, row.length, nullptr, keys + prefix, room, square);
        take(v, s.kv_heads, dim, kv, row.start, row.length, values + prefix * dim, nullptr, room, square);
        for (int64_t first = 0; first < row.length; first += TOKENS) {
            const int64_t count = row.length - first < TOKENS ? row.length - first : TOKENS;
            const int64_t seen = prefix + first + count;
            take_queries(q, s, kv, row.start + first, count, s.scale, queries);
            product(queries, dim, 1, keys, room, scores, room, count * rep, whole_lanes(seen), dim, false);
            for (int64_t m = 0; m < count * rep; m++) {
                float* line = scores + m * room;
                const int64_t own = prefix + first + m / rep + 1;
                const float top = scale_and_top(line, own, 1.0f, -INFINITY), sum = exp_and_sum(line, own, top);
#pragma omp simd
                for (int64_t i = 0; i < own; i++) line[i] *= 1.0f / sum;
                for (int64_t i = own; i < seen; i++) line[i] = 0.0f;
                normalizer[(row.start + first + m / rep) * s.heads + kv * rep + m % rep] = top + std::log(sum);
            }
            product(scores, room, 1, values, dim, mixed, dim, count * rep, dim, seen, false);
            put_queries(mixed, s, kv, row.start + first, count, 1.0f, out);
        }
    }
}

// Adds the part's share of its prefix's gradients to `sums` (kv_heads, 2, prefix, dim) and writes those of its rows;
// a row that is itself a prefix takes the shares of the parts behind it.
template <class X>
static void backward_part(const Part& part, const Part* parts, const Row* rows, const X* q, const X* k, const X* v,
                          const X* grad, const float* normalizer, X* grad_q, X* grad_k, X* grad_v, float* sums,
                          const Shape& s, int64_t kv, float* scratch) {
    const int64_t dim = s.dim, rep = s.rep(), prefix = part.prefix_length, room = s.room, size = room * dim;
    float *keys = scratch, *keys_across = keys + size, *values_across = keys_across + size;
    float *for_keys = values_across + size, *for_values = for_keys + size, *queries = for_values + size;
    float *slopes = queries + TOKENS * rep * dim, *back = slopes + TOKENS * rep * dim;
    float *probs = back + TOKENS * rep * dim, *pull = probs + TOKENS * rep * room;
    float* square = pull + TOKENS * rep * room;
    take(k, s.kv_heads, dim, kv, part.prefix_start, prefix, keys, keys_across, room, square);
    take(v, s.kv_heads, dim, kv, part.prefix_start, prefix, nullptr, values_across, room, square);
    std::memset(for_keys, 0, sizeof(float) * size_t(prefix * dim));
    std::memset(for_values, 0, sizeof(float) * size_t(prefix * dim));
    for (int64_t r = part.first_row; r < part.last_row; r++) {
        const Row& row = rows[r];
        take(k, s.kv_heads, dim, kv, row.start, row.length, keys + prefix * dim, keys_across + prefix, room, square);
        take(v, s.kv_heads, dim, kv, row.start, row.length, nullptr, values_across + prefix, room, square);
        float *own_keys = for_keys + prefix * dim, *own_values = for_values + prefix * dim;
        std::memset(own_keys, 0, sizeof(float) * size_t(row.length * dim));
        std::memset(own_values, 0, sizeof(float) * size_t(row.length * dim));
        for (int64_t p = part.first_part; p < part.last_part; p++) {
            const float* share = sums + (parts[p].sums * s.kv_heads + kv * row.length) * 2 * dim;
            for (int64_t i = 0; i < row.length * dim; i++) own_keys[i] += share[i];
            for (int64_t i = 0; i < row.length * dim; i++) own_values[i] += share[row.length * dim + i];
        }
        for (int64_t first = 0; first < row.length; first += TOKENS) {
            const int64_t count = row.length - first < TOKENS ? row.length - first : TOKENS, lines = count * rep;
            const int64_t seen = prefix + first + count;
            take_queries(q, s, kv, row.start + first, count, s.scale, queries);
            take_queries(grad, s, kv, row.start + first, count, 1.0f, slopes);
            product(queries, dim, 1, keys_across, room, probs, room, lines, whole_lanes(seen), dim, false);
            product(slopes, dim, 1, values_across, room, pull, room, lines, whole_lanes(seen), dim, false);
            for (int64_t m = 0; m < lines; m++) {
                float *p = probs + m * room, *d = pull + m * room;
                const int64_t own = prefix + first + m / rep + 1;
                exp_and_sum(p, own, normalizer[(row.start + first + m / rep) * s.heads + kv * rep + m % rep]);
                const float mean = dot_of(p, d, own);
#pragma omp simd
                for (int64_t i = 0; i < own; i++) d[i] = p[i] * (d[i] - mean);
                for (int64_t i = own; i < seen; i++) p[i] = d[i] = 0.0f;
            }
            product(probs, 1, room, slopes, dim, for_values, dim, seen, dim, lines, true);
            product(pull, 1, room, queries, dim, for_keys, dim, seen, dim, lines, true);
            product(pull, room, 1, keys, dim, back, dim, lines, dim, seen, false);
            put_queries(back, s, kv, row.start + first, count, s.scale, grad_q);
        }
        for (int64_t t = 0; t < row.length; t++)
            for (int64_t d = 0; d < dim; d++) {
                const int64_t at = ((row.start + t) * s.kv_heads + kv) * dim + d;
                store(grad_k + at, own_keys[t * dim + d]);
                store(grad_v + at, own_values[t * dim + d]);
            }
    }
    if (!prefix) return;
    float* share = sums + (part.sums * s.kv_heads + kv * prefix) * 2 * dim;
    std::memcpy(share, for_keys, sizeof(float) * size_t(prefix * dim));
    std::memcpy(share + prefix * dim, for_values, sizeof(float) * size_t(prefix * dim));
}

// `order` lists the parts: first those behind a prefix, then the others, which the backward pass needs in this order
#define ATTENTION(NAME, X)                                                                                         \
    API void attend_forward_##NAME(const X* q, const X* k, const X* v, X* out, float* normalizer,                  \
                                   const Part* parts, const Row* rows, const int64_t* order, int64_t behind,       \
                                   int64_t others, int64_t heads, int64_t kv_heads, int64_t dim, int64_t room,     \
                                   float scale, int threads) {                                                     \
        const Shape s{heads, kv_heads, dim, room, scale};                                                          \
        const auto run = [=](const int64_t* some, int64_t count) {                                                 \
            split(count * kv_heads, threads, 1, [=](int64_t begin, int64_t end) {                                  \
                Scratch scratch(2 * room * dim + TOKENS * s.rep() * (2 * dim + room) + LANES * dim);                             \
                for (int64_t i = begin; i < end; i++)                                                              \
                    forward_part(parts[some[i / kv_heads]], rows, q, k, v, out, normalizer, s, i % kv_heads,       \
                                 scratch.data());                                                                  \
            });                                                                                                    \
        };                                                                                                         \
        run(order, behind);                                                                                        \
        run(order + behind, others);                                                                               \
    }                                                                                                              \
    API void attend_backward_##NAME(const X* q, const X* k, const X* v, const X* grad, const float* normalizer,    \
                                    X* grad_q, X* grad_k, X* grad_v, float* sums, const Part* parts,               \
                                    const Row* rows, const int64_t* order, int64_t behind, int64_t others,         \
                                    int64_t heads, int64_t kv_heads, int64_t dim, int64_t room, float scale,       \
                                    int threads) {                                                                 \
        const Shape s{heads, kv_heads, dim, room, scale};                                                          \
        const auto run = [=](const int64_t* some, int64_t count) {                                                 \
            split(count * kv_heads, threads, 1, [=](int64_t begin, int64_t end) {                                  \
                Scratch scratch(5 * room * dim + TOKENS * s.rep() * (3 * dim + 2 * room) + LANES * dim);                         \
                for (int64_t i = begin; i < end; i++)                                                              \
                    backward_part(parts[some[i / kv_heads]], parts, rows, q, k, v, grad, normalizer, grad_q,       \
                                  grad_k, grad_v, sums, s, i % kv_heads, scratch.data());                          \
            });                                                                                                    \
        };                                                                                                         \
        run(order, behind);                                                                                        \
        run(order + behind, others);                                                                               \
    }

ATTENTION(f32, float)
ATTENTION(bf16, bf16)
