// A nest as the registers say it: six loops, the addresses of four streams, and the cycles that it takes.
#pragma once
#include "isa.hpp"
#include <algorithm>
#include <array>
#include <cstdint>

namespace insitu {

using Registers = std::array<uint32_t, 1u << (isa::WORD_BITS - isa::DATA_BITS)>;

struct Nest {
    isa::Ctl ctl;
    isa::Ctl2 ctl2;
    isa::Sh sh;
    isa::Lim lim;
    uint32_t mask, high; // of an address; from a low byte to its high byte
    uint32_t x, w, p, d; // addresses of the present issue
    int32_t row, column; // its place in the plane
    uint32_t count[isa::LEVELS], left[isa::LEVELS];

    Nest(const Registers &r, unsigned address_bits)
        : ctl(r[isa::CTL]), ctl2(r[isa::CTL2]), sh(r[isa::SH]), lim(r[isa::LIM]), mask((1u << address_bits) - 1),
          high(isa::Hioff(r[isa::HIOFF]).address), x(isa::Bx(r[isa::BX]).address & mask),
          w(isa::Bw(r[isa::BW]).address & mask), p(isa::Bp(r[isa::BP]).address & mask),
          d(isa::Bd(r[isa::BD]).address & mask), row(isa::Byx(r[isa::BYX]).y), column(isa::Byx(r[isa::BYX]).x)
    {
        for (unsigned i = 0; i < isa::LEVELS; i++) {
            const isa::Bound bound(r[isa::BOUND + i]);
            const isa::Dxw xw(r[isa::DXW + i]);
            const isa::Dpd pd(r[isa::DPD + i]);
            count[i] = left[i] = bound.count;
            step[i] = {xw.x, xw.w, pd.p, pd.d, bound.y, bound.x};
        }
    }

    // Issues of the loops below a level, or from it on.
    uint64_t below(unsigned level) const { return issues(0, level); }
    uint64_t from(unsigned level) const { return issues(level, isa::LEVELS); }
    uint64_t all() const { return below(isa::LEVELS); }

    // How often the lanes draw random words.
    uint64_t loads() const { return ctl.words ? from(ctl2.words_level) : 0; }

    bool serial() const { return ctl.dot || ctl.wide; }

    // The place of the present issue is not in the plane.
    bool outside() const { return uint32_t(row) >= lim.height || uint32_t(column) >= lim.width; }

    // The closed form: GO included, nothing that depends on data.
    uint64_t cycles(unsigned lanes) const
    {
        const uint64_t words = loads() ? loads() * lanes + (loads() - 1) * isa::RELOAD_CYCLES : 0;
        return isa::GO_CYCLES + all() + from(ctl.inner) * isa::PROLOGUE_CYCLES[ctl.prologue] + isa::DRAIN_CYCLES +
               (serial() ? isa::SERIAL_CYCLES : 0) + words;
    }

    // Goes on to the next issue. Returns the loop that advances, LEVELS after the last issue.
    unsigned advance()
    {
        unsigned level = 0;
        while (level < isa::LEVELS && left[level] == 0) {
            left[level] = count[level];
            level++;
        }
        if (level == isa::LEVELS) return level;
        move(level, 1);
        return level;
    }

    // Goes on by some issues of a loop, as far as it has so many left.
    void move(unsigned level, uint32_t issues)
    {
        left[level] -= issues;
        const Step &s = step[level];
        x = (x + issues * uint32_t(s.x)) & mask;
        w = (w + issues * uint32_t(s.w)) & mask;
        p = (p + issues * uint32_t(s.p)) & mask;
        d = (d + issues * uint32_t(s.d)) & mask;
        row += int32_t(issues) * s.row;
        column += int32_t(issues) * s.column;
    }

    struct Step {
        int32_t x, w, p, d, row, column;
    };
    Step step[isa::LEVELS];

    // So many addresses of a stream of the innermost loop lie one step apart in a memory of that size.
    bool inside(uint32_t first, int32_t by, uint32_t issues, size_t size) const
    {
        const int64_t last = int64_t(first) + int64_t(by) * (issues - 1);
        return first < size && last >= 0 && last < int64_t(std::min<uint64_t>(size, uint64_t(mask) + 1));
    }

  private:
    uint64_t issues(unsigned first, unsigned end) const
    {
        uint64_t n = 1;
        for (unsigned i = first; i < end && i < isa::LEVELS; i++) n *= count[i] + 1;
        return n;
    }
};

} // namespace insitu
