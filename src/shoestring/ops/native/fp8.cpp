// Numbers rounded to E4M3 under the scale of their tile, and back: what an FP8 product reads, in float32. Bit for bit
// what ops/fp8.py's quantize and dequantize make of them; a NaN stays one and leaves its tile's scale to the others.
#include "common.h"

constexpr int64_t TILE = 128, LANES = 16;
constexpr float LARGEST = 448.0f, FLOOR = 1e-4f;

static inline float scale_of(float amax) { return (amax < FLOOR ? FLOOR : amax) / LARGEST; }

// x to the nearest E4M3 number, ties to even: three bits of mantissa, and multiples of 2^-9 below 2^-6. Saturates.
static inline float e4m3(float x) {
    const uint32_t sign = to_bits(x) & 0x80000000u;
    float size = from_bits(to_bits(x) & 0x7fffffffu);
    size = size > LARGEST ? LARGEST : size;
    const uint32_t bits = to_bits(size);
    const float normal = from_bits((bits + 0x7ffffu + ((bits >> 20) & 1u)) & 0xfff00000u);
    const float shift = 24576.0f;  // 1.5 * 2^23 * 2^-9: adding it leaves multiples of 2^-9
    const float small = (size + shift) - shift;
    const float rounded = size < 0.015625f ? small : normal;
    return size != size ? size : from_bits(to_bits(rounded) | sign);
}

static inline float away(float x) { return from_bits(to_bits(x) & 0x7fffffffu); }

// x (rows, size) in tiles of TILE along each row
template <class X>
static void by_rows(const X* x, float* out, int64_t rows, int64_t size, int threads) {
    split(rows, threads, grain_of(size), [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++)
            for (int64_t first = 0; first < size; first += TILE) {
                const int64_t wide = size - first < TILE ? size - first : TILE;
                const X* from = x + row * size + first;
                float *to = out + row * size + first, amax = 0.0f;
#pragma omp simd reduction(max : amax)
                for (int64_t i = 0; i < wide; i++) {
                    const float value = away(load(from + i));
                    amax = value > amax ? value : amax;
                }
                const float scale = scale_of(amax);
#pragma omp simd
                for (int64_t i = 0; i < wide; i++) to[i] = e4m3(load(from + i) / scale) * scale;
            }
    });
}

// x (rows, size) in tiles of TILE along each column
template <class X>
static void by_columns(const X* x, float* out, int64_t rows, int64_t size, int threads) {
    const int64_t tiles = (rows + TILE - 1) / TILE, parts = (size + LANES - 1) / LANES;
    split(tiles * parts, threads, grain_of(TILE * LANES), [=](int64_t begin, int64_t end) {
        for (int64_t part = begin; part < end; part++) {
            const int64_t top = part / parts * TILE, bottom = top + TILE < rows ? top + TILE : rows;
            const int64_t left = part % parts * LANES, wide = size - left < LANES ? size - left : LANES;
            float scale[LANES] = {};
            for (int64_t row = top; row < bottom; row++) {
                const X* from = x + row * size + left;
#pragma omp simd
                for (int64_t i = 0; i < wide; i++) {
                    const float value = away(load(from + i));
                    scale[i] = value > scale[i] ? value : scale[i];
                }
            }
            for (int64_t i = 0; i < LANES; i++) scale[i] = scale_of(scale[i]);
            for (int64_t row = top; row < bottom; row++) {
                const X* from = x + row * size + left;
                float* to = out + row * size + left;
#pragma omp simd
                for (int64_t i = 0; i < wide; i++) to[i] = e4m3(load(from + i) / scale[i]) * scale[i];
            }
        }
    });
}

// matrices (count, rows, size) in blocks of TILE x TILE, cut at the edges
template <class X>
static void by_blocks(const X* x, float* out, int64_t count, int64_t rows, int64_t size, int threads) {
    const int64_t down = (rows + TILE - 1) / TILE, across = (size + TILE - 1) / TILE;
    split(count * down * across, threads, 1, [=](int64_t begin, int64_t end) {
        for (int64_t block = begin; block < end; block++) {
            const int64_t offset = block / (down * across) * rows * size;
            const int64_t top = block / across % down * TILE, bottom = top + TILE < rows ? top + TILE : rows;
            const int64_t left = block % across * TILE, wide = size - left < TILE ? size - left : TILE;
            float amax = 0.0f;
            for (int64_t row = top; row < bottom; row++) {
                const X* from = x + offset + row * size + left;
#pragma omp simd reduction(max : amax)
                for (int64_t i = 0; i < wide; i++) {
                    const float value = away(load(from + i));
                    amax = value > amax ? value : amax;
                }
            }
            const float scale = scale_of(amax);
            for (int64_t row = top; row < bottom; row++) {
                const X* from = x + offset + row * size + left;
                float* to = out + offset + row * size + left;
#pragma omp simd
                for (int64_t i = 0; i < wide; i++) to[i] = e4m3(load(from + i) / scale) * scale;
            }
        }
    });
}

#define FP8(NAME, X)                                                                                              \
    API void fp8_rows_##NAME(const X* x, float* out, int64_t rows, int64_t size, int threads) {                   \
        by_rows(x, out, rows, size, threads);                                                                     \
    }                                                                                                             \
    API void fp8_columns_##NAME(const X* x, float* out, int64_t rows, int64_t size, int threads) {                \
        by_columns(x, out, rows, size, threads);                                                                  \
    }                                                                                                             \
    API void fp8_blocks_##NAME(const X* x, float* out, int64_t count, int64_t rows, int64_t size, int threads) {  \
        by_blocks(x, out, count, rows, size, threads);                                                            \
    }

FP8(f32, float)
FP8(bf16, bf16)
