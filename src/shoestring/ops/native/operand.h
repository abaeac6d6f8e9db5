// Rows that meet a matrix of any kind, and a thread's part of its columns.
#pragma once
#include <type_traits>

#include "panels.h"
#include "quantized.h"
#include "team.h"

template <class T>
static inline const T* as(const void* p) {
    return static_cast<const T*>(p);
}

// What a thread may take of a matrix's columns
static inline int64_t columns_of(const Matrix& m) { return m.in_panels ? COLUMNS : LANES; }

// Rows that meet a matrix: as they are, or as whole numbers where the matrix is in them
template <class X>
class Operand {
    const X* x_;
    int64_t rows_, depth_;
    Coded coded_;
    std::vector<const X*> each_;

  public:
    Operand(const X* x, int64_t rows, int64_t depth) : x_(x), rows_(rows), depth_(depth), coded_(rows, depth) {
        for (int64_t row = 0; row < rows; row++) each_.push_back(x + row * depth);
    }
    void set_row(const Matrix& m, int64_t row) {  // once x has it
        if (m.bits <= 8) coded_.set_row(row, each_[size_t(row)]);
    }
    // numbers [begin, end) of every row's product, `begin` a multiple of `columns_of`
    void times(const Matrix& m, int64_t begin, int64_t end, X* out, int64_t stride) const {
        if (begin >= end) return;
        if (m.bits <= 8)
            return coded_times<X>(m, coded_, 0, rows_, begin / LANES, (end + LANES - 1) / LANES, out, stride);
#ifdef HAS_PRODUCT
        if constexpr (std::is_same_v<X, bf16>) {
            if (m.in_panels)
                return PanelRows{x_, rows_, depth_}.times(as<X>(m.values), as<X>(m.bias), begin, end, out, stride);
        }
#endif
        const int64_t wide = end - begin;
        Scratch room(rows_ * wide);
        Rows<X>(each_.data(), rows_, depth_).times(reinterpret_cast<const X*>(m.values), begin, end, room.data(), wide);
        const X* bias = as<X>(m.bias);
        for (int64_t row = 0; row < rows_; row++) {
            float* made = room.data() + row * wide;
            if (bias)
                for (int64_t i = 0; i < wide; i++) made[i] += load(bias + begin + i);
            store_row(out + row * stride + begin, made, wide);
        }
    }
};

// The beginning of what is read next, asked for before a wait: memory would have nothing to do meanwhile
static inline void ask_for(const Matrix& m, int64_t begin) {
    constexpr int64_t ASKED = 8192;  // bytes: 2 to 3 % at 4 bits, and no more from more
    const uint8_t* from = m.values + begin * m.depth * m.bits / 8;
    for (int64_t at = 0; at < ASKED; at += 64) __builtin_prefetch(from + at, 0, 2);
}

// body(begin, end) on this thread's part of the columns of m, of which there are `count`
template <class Body>
static inline void in_lanes(const Member& me, const Matrix& m, int64_t count, const Body& body) {
    const int64_t each = columns_of(m);
    me.share((count + each - 1) / each, [&](int64_t begin, int64_t end) {
        body(begin * each, end * each < count ? end * each : count);
    });
}

static inline int64_t first_lane(const Member& me, const Matrix& m, int64_t count) {
    const int64_t each = columns_of(m);
    return (count + each - 1) / each * me.index / me.total * each;
}
