// Intel's matrix tiles (AMX): eight registers of up to 16 rows of 64 bytes. A product of tiles adds
// (rows, 32) bf16 x (16, 16 x 2) bf16 to (rows, 16) float32.
#pragma once
#include "common.h"
#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#define HAS_TILES 1

static bool ask_for_tiles() {
    constexpr int REQUEST = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM: Linux keeps tiles off until asked
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
static const bool tiles = ask_for_tiles();

// Tiles are set up for as long as this lives: 0 to 4 (results, left operands) of the rows last asked for, 5 to 7 (right
// operands) of 16.
class Tiles {
    struct alignas(64) Shape {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {};
    };
    int rows_ = 0;

  public:
    explicit Tiles(int rows = 0) { set_rows(rows); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
    ~Tiles() {
        if (rows_) _tile_release();
    }
    void set_rows(int rows) {
        if (!tiles || rows == rows_) return;
        Shape shape;
        for (int i = 0; i < 8; i++) shape.rows[i] = uint8_t(i < 5 ? rows : 16);
        __asm__ volatile("" : : "r"(&shape) : "memory");  // GCC thinks that only its first bytes are read
        _tile_loadconfig(&shape);
        rows_ = rows;
    }
};
#else
static constexpr bool tiles = false;
struct Tiles {
    explicit Tiles(int = 0) {}
    void set_rows(int) {}
};
#endif
