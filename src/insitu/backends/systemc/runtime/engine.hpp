// The learning engine as one class: executes microcode bit for bit and counts its cycles. No SystemC here.
//
// A result of a nest, in every lane, is sat((begin + sum of a * b) >> S): see docs/systemc.md and the executor in Python,
// insitu.backends.engine.machine, which defines it. S fraction bits, P lanes; A holds bytes, W words of P weights.
#pragma once
#include "isa.hpp"
#include "nest.hpp"
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace insitu {

// Microcode does what hardware cannot do.
struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What is fixed when an engine is made.
struct Build {
    unsigned lanes = 8, fraction = 24, address_bits = 13, operand_bits = 18, weight_bits = 8;
    uint32_t a_bytes = 2048, w_words = 1024, code_words = 1024; // sizes of the memories

    unsigned high() const { return operand_bits - isa::BYTE_BITS; }
    unsigned lane_bits() const { return fraction + 17; }
    unsigned wide_bits() const { return fraction + 24; }

    // Why no engine is made so; empty: one is.
    std::string refused() const
    {
        auto no = [](const char *what, unsigned value) { return std::string(what) + " is " + std::to_string(value); };
        if (lanes != 4 && lanes != 8 && lanes != 16 && lanes != 32) return no("lanes", lanes) + ", not 4, 8, 16 or 32";
        if (fraction < isa::WIDE_FRACTION || fraction > 24) return no("fraction", fraction) + ", not 16 to 24";
        if (operand_bits != 16 && operand_bits != 18) return no("operand_bits", operand_bits) + ", not 16 or 18";
        if (weight_bits != 4 && weight_bits != 8) return no("weight_bits", weight_bits) + ", not 4 or 8";
        if (address_bits < 8 || address_bits > isa::MOST_ADDRESS_BITS) return no("address_bits", address_bits);
        const uint32_t most = 1u << address_bits;
        if (a_bytes > most || a_bytes % lanes || !a_bytes) return no("a_bytes", a_bytes);
        if (w_words > most || !w_words) return no("w_words", w_words);
        if (code_words > isa::MOST_INSTRUCTIONS || !code_words) return no("code_words", code_words);
        return {};
    }
};

class Engine {
  public:
    static constexpr uint64_t LIMIT = 1u << 28; // cycles after which a program is taken to hang

    explicit Engine(const Build &b)
        : a(b.a_bytes), w(size_t(b.w_words) * b.lanes), code(b.code_words), table(isa::TABLE), build_(b)
    {
        if (const std::string reason = b.refused(); !reason.empty()) throw Fault("no such engine: " + reason);
    }

    std::vector<uint8_t> a, w; // bytes; of W a byte for each weight, whatever bits it has
    std::vector<uint64_t> code;
    std::vector<uint16_t> table;
    uint32_t random[2] = {isa::RESET_STATES[0], isa::RESET_STATES[1]}; // of the lanes, of the scalars

    const Build &build() const { return build_; }
    uint32_t flags() const { return flags_; }           // of triggers, as the last run left them
    uint32_t best_class() const { return best_class_; } // of the largest score

    // Executes from an address to END; the cycles that hardware takes.
    uint64_t run(uint32_t start, uint32_t label, uint64_t limit = LIMIT)
    {
        label_ = label;
        flags_ = 0;
        taken_ = isa::START_CYCLES;
        limit_ = limit;
        for (uint32_t at = start;;) {
            if (at >= code.size()) throw Fault("the program goes on at " + std::to_string(at) + ", behind its end");
            const uint64_t word = code[at++];
            const uint32_t number = uint32_t(word >> isa::DATA_BITS) & (isa::REGISTERS - 1);
            const uint32_t data = uint32_t(word) & isa::DATA_MASK;
            spend(isa::INSTRUCTION_CYCLES);
            register_[number] = data;
            switch (number) {
            case isa::END: return taken_;
            case isa::SEED: start_ = random[1]; break;
            case isa::SHIFT: shift(isa::Shift(data)); break;
            case isa::TRIG: trigger(isa::Trig(data).slot); break;
            case isa::BRZ:
                if (!(flags_ & isa::Brz(data).flags)) {
                    at = isa::Brz(data).target;
                    spend(isa::TAKEN_CYCLES);
                }
                break;
            case isa::GO: go(); break;
            case isa::SOFTMAX: softmax(); break;
            default: break;
            }
        }
    }

    // The next word of a random register: 32 shifts with taps 32, 30, 26 and 25.
    static uint32_t next(uint32_t s) { return half(half(s)); }

  private:
    Build build_;
    Registers register_{};
    uint32_t start_ = 1, flags_ = 0, label_ = 0, best_class_ = 0;
    int32_t best_ = 0, threshold_ = 0;
    bool fired_ = false;
    uint64_t taken_ = 0, limit_ = LIMIT;

    static uint32_t half(uint32_t s) { return s << 16 | (((s >> 16) ^ (s >> 14) ^ (s >> 10) ^ (s >> 9)) & 0xFFFF); }

    void spend(uint64_t cycles)
    {
        taken_ += cycles;
        if (taken_ > limit_) throw Fault("the program has not ended after " + std::to_string(limit_) + " cycles");
    }

    void shift(isa::Shift bits)
    {
        random[0] = next(random[0]) ^ bits.lanes;
        random[1] = next(random[1]) ^ bits.scalars;
    }

    void trigger(uint32_t slot)
    {
        fired_ = best_ > threshold_;
        flags_ = (flags_ & ~(1u << slot)) | uint32_t(fired_) << slot;
    }

    // --- memories: what hardware has no words for is refused ------------------------------------------------------

    uint8_t &byte(uint32_t address)
    {
        if (address >= a.size()) throw Fault("a nest uses address " + std::to_string(address) + " of A");
        return a[address];
    }

    template <unsigned P> uint8_t *vector(uint32_t address) { return &byte(address & ~(P - 1)); }

    template <unsigned P> uint8_t *weights(uint32_t address)
    {
        if (address >= build_.w_words) throw Fault("a nest uses address " + std::to_string(address) + " of W");
        return &w[size_t(address) * P];
    }

    static void fits(const char *what, int64_t value, unsigned bits)
    {
        if (value >> (bits - 1) != value >> 63)
            throw Fault(std::string(what) + " is " + std::to_string(value) + ", too large for " + std::to_string(bits) +
                        " bits");
    }

    static int32_t number(uint8_t byte, bool is_signed) { return is_signed ? int8_t(byte) : byte; }

    // --- nests ----------------------------------------------------------------------------------------------------

    void go()
    {
        Nest nest(register_, build_.address_bits);
        refuse(nest);
        spend(nest.cycles(build_.lanes) - isa::INSTRUCTION_CYCLES);
        if (nest.ctl.emit) return emit(nest);
        switch (build_.lanes) {
        case 4: return compute<4>(nest);
        case 8: return compute<8>(nest);
        case 16: return compute<16>(nest);
        default: return compute<32>(nest);
        }
    }

    void refuse(const Nest &n) const
    {
        const isa::Ctl &c = n.ctl;
        if (c.dot && c.high) throw Fault("a nest has both dot and high");
        if (n.serial() && c.mask) throw Fault("a nest has a mask and dot or wide");
        if (c.wide && n.below(c.inner) + isa::PROLOGUE_CYCLES[c.prologue] < 2) throw Fault("a wide result a cycle");
        const uint64_t results = c.each ? n.all() : n.from(c.inner);
        if ((c.score || c.emit) && results > isa::CLASSES) throw Fault("more scores or errors than classes");
        if (c.update && !c.each && !c.wide && c.prologue != isa::prologue::WEIGHTS)
            throw Fault("an update without each has no weights");
        if (c.mask && c.prologue != isa::prologue::MASK) throw Fault("a mask that no prologue loads");
    }

    // Errors of a violated margin: 1 at the best other class, -1 at the label, where the last TRIG fired.
    void emit(Nest &n)
    {
        uint32_t i = 0;
        for (bool last = false; !last; last = n.advance() >= isa::LEVELS) {
            if (n.ctl.each || ends(n)) {
                byte(n.d) = !fired_ ? 0 : i == label_ ? 255 : i == best_class_;
                i++;
            }
        }
    }

    // The present issue is the last one of its round.
    static bool ends(const Nest &n)
    {
        for (unsigned i = 0; i < n.ctl.inner && i < isa::LEVELS; i++)
            if (n.left[i]) return false;
        return true;
    }

    // What the lanes hold while a nest runs.
    template <unsigned P> struct Lanes {
        int16_t first[P] = {}, second[P] = {}; // operands
        int32_t sum[P] = {};                   // of products, since the last flush
        int64_t acc[P] = {};
        uint8_t v[P] = {}, kept[P] = {}, mask[P] = {}, pool[P] = {}, place[P] = {};
        uint32_t word[P] = {}; // random
        uint32_t pending = 0;  // products in a sum
    };

    static constexpr uint32_t MOST_PENDING = 1024; // 32 lanes of them, 255 * 128 each, fit 31 bits

    template <unsigned P> void compute(Nest &n)
    {
        Lanes<P> s;
        const isa::Ctl &c = n.ctl;
        const int64_t gain = gain_of(n);
        const bool runs = c.inner && !c.each && !c.pool; // the innermost loop is inside of a result
        const bool alone = c.each && moves_weights(n, gain);
        uint32_t issue = 0, results = 0;
        bool none = true;
        for (unsigned level = isa::LEVELS;;) {
            if (c.update && c.words && level >= n.ctl2.words_level) draw<P>(s, n);
            if (level >= c.inner) prologue<P>(s, n), issue = 0;
            if (alone) {
                update<P>(s, n, gain, n.ctl2.words_level ? n.left[0] + 1 : 1);
                level = n.advance();
                if (level == isa::LEVELS) return;
                continue;
            }
            if (level >= c.inner || c.each) begin<P>(s, n);
            if (c.pool) pooled<P>(s, n, issue++);
            else products<P>(s, n, gain, runs ? n.left[0] + 1 : 1);
            if (c.each || ends(n)) {
                const int32_t value = finish<P>(s, n, gain);
                if (c.score) compare(n, results, value, none);
                results++;
            }
            level = n.advance();
            if (level == isa::LEVELS) return;
        }
    }

    // What a product of operands counts in a sum.
    int64_t gain_of(const Nest &n) const
    {
        const isa::Ctl &c = n.ctl;
        const unsigned high = c.high && c.b != isa::second::ONE ? build_.high() : 0;
        if (c.a == isa::first::SCALAR) return int64_t(1) << (n.sh.scalar + high);
        if (c.a == isa::first::VECTOR) return int64_t(1) << high;
        const int64_t k = constant(c.a == isa::first::K0 ? isa::K0 : isa::K1);
        return k * (int64_t(1) << high);
    }

    int64_t constant(uint32_t which) const
    {
        const int64_t k = isa::K0Fields(register_[which]).value;
        fits("a constant", k, build_.operand_bits);
        return k;
    }

    // New random words of the lanes; the scalars' words begin anew.
    template <unsigned P> void draw(Lanes<P> &s, const Nest &n)
    {
        const unsigned count = n.left[n.ctl2.words_level] ? P : std::min<unsigned>(n.ctl2.last + 1, P);
        for (unsigned l = 0; l < P && !n.ctl.wide; l++) s.word[l] = l < count ? random[0] = next(random[0]) : 0;
        random[1] = start_;
    }

    // What a round reads before its products.
    template <unsigned P> void prologue(Lanes<P> &s, const Nest &n)
    {
        const isa::Ctl &c = n.ctl;
        if (c.prologue == isa::prologue::VECTOR) std::copy_n(vector<P>(n.p), P, s.v);
        if (c.prologue == isa::prologue::WEIGHTS) std::copy_n(weights<P>(n.p), P, s.kept);
        if (c.prologue == isa::prologue::MASK) {
            const uint8_t *read = vector<P>(n.p);
            for (unsigned l = 0; l < P; l++) s.mask[l] = n.ctl2.match ? (read[l] & 3) == n.ctl2.code : read[l] != 0;
        }
        hold<P>(s, n);
    }

    // Operands that no issue loads.
    template <unsigned P> void hold(Lanes<P> &s, const Nest &n)
    {
        const isa::Ctl &c = n.ctl;
        for (unsigned l = 0; l < P; l++) {
            s.first[l] = c.a == isa::first::VECTOR ? int16_t(number(s.v[l], c.scalar_signed)) : 1;
            s.second[l] = c.b == isa::second::VECTOR ? int16_t(number(s.v[l], c.vector_signed)) : 1;
        }
    }

    // The start of a result's sums: half a step, or of an update the inverted weight above random bits; and biases.
    template <unsigned P> void begin(Lanes<P> &s, const Nest &n)
    {
        const isa::Ctl &c = n.ctl;
        std::fill_n(s.sum, P, 0);
        s.pending = 0;
        if (c.pool) return;
        const unsigned fraction = c.wide ? isa::WIDE_FRACTION : build_.fraction;
        const uint32_t scalar = c.update ? random[1] = next(random[1]) : 0;
        if (c.each) std::copy_n(weights<P>(n.w), P, s.kept);
        if (c.wide) s.acc[0] = c.update ? scalar >> (32 - fraction) : int64_t(1) << (fraction - 1);
        else if (!c.update) std::fill_n(s.acc, P, int64_t(1) << (fraction - 1));
        else
            for (unsigned l = 0; l < P; l++)
                s.acc[l] = int64_t(int8_t(~s.kept[l])) * (int64_t(1) << fraction) | (s.word[l] ^ scalar) >> (32 - fraction);
        if (c.prologue == isa::prologue::BIASES) biases<P>(s, n);
        if (c.prologue == isa::prologue::BIAS) bias<P>(s, n);
    }

    template <unsigned P> void biases(Lanes<P> &s, const Nest &n)
    {
        const uint8_t *low = vector<P>(n.p), *high = vector<P>((n.p + n.high) & n.mask);
        const int64_t k0 = constant(isa::K0), k1 = constant(isa::K1);
        const int64_t scale = int64_t(1) << (n.ctl.high ? build_.high() : 0);
        for (unsigned l = 0; l < P; l++) s.acc[l] += (low[l] * k0 + int8_t(high[l]) * k1) * scale;
    }

    template <unsigned P> void bias(Lanes<P> &s, const Nest &n)
    {
        int32_t value = byte(n.p) | int8_t(byte((n.p + n.high) & n.mask)) * 256;
        if (n.ctl.update) value = ~value;
        fits("the shifted bias", int64_t(value >> 8) * (1 << n.sh.bias), build_.operand_bits);
        fits("the shifted bias", int64_t(value & 255) * (1 << n.sh.bias), build_.operand_bits);
        s.acc[0] += value * (int64_t(1) << (n.sh.bias + n.sh.serial));
    }

    // The products of so many issues of the innermost loop; the nest stands at the last of them afterwards.
    template <unsigned P> void products(Lanes<P> &s, Nest &n, int64_t gain, uint32_t count)
    {
        const isa::Ctl &c = n.ctl;
        const bool scalar = c.a == isa::first::SCALAR, weights_alone = c.b == isa::second::WEIGHTS && !c.vector_stream;
        if (s.pending + count > MOST_PENDING) flush<P>(s, n, gain);
        s.pending += count;
        if (scalar && n.sh.scalar > build_.high()) check_scalars(n, count);
        if (scalar && weights_alone && !c.dot) return outer<P>(s, n, count);
        for (uint32_t i = 0; i < count; i++) {
            if (i) n.move(0, 1);
            product<P>(s, n);
        }
    }

    // A byte of A times P weights, issue by issue. The nest stands at the last issue afterwards.
    template <unsigned P> void outer(Lanes<P> &s, Nest &n, uint32_t count)
    {
        const Nest::Step by = n.step[0];
        const bool is_signed = n.ctl.scalar_signed, still = !by.row && !by.column;
        if (still && n.outside()) return n.move(0, count - 1);
        if (!still || !n.inside(n.x, by.x, count, a.size()) || !n.inside(n.w, by.w, count, build_.w_words))
            return outer_slow<P>(s, n, count);
        int32_t sum[P];
        std::copy_n(s.sum, P, sum);
        const uint8_t *x = &a[n.x], *read = &w[size_t(n.w) * P];
        const auto dw = std::ptrdiff_t(by.w) * std::ptrdiff_t(P);
        for (uint32_t i = 0; i < count; i++) {
            const auto value = int16_t(number(x[std::ptrdiff_t(i) * by.x], is_signed));
            const uint8_t *weight = read + std::ptrdiff_t(i) * dw;
            for (unsigned l = 0; l < P; l++) sum[l] += value * int16_t(int8_t(weight[l]));
        }
        std::copy_n(sum, P, s.sum);
        n.move(0, count - 1);
    }

    // The same where places matter, or addresses are taken modulo.
    template <unsigned P> void outer_slow(Lanes<P> &s, Nest &n, uint32_t count)
    {
        int32_t sum[P];
        std::copy_n(s.sum, P, sum);
        for (uint32_t i = 0; i < count; i++) {
            if (i) n.move(0, 1);
            const uint8_t *read = weights<P>(n.w);
            if (n.outside()) continue;
            const auto value = int16_t(number(byte(n.x), n.ctl.scalar_signed));
            for (unsigned l = 0; l < P; l++) sum[l] += value * int16_t(int8_t(read[l]));
        }
        std::copy_n(sum, P, s.sum);
    }

    void check_scalars(Nest n, uint32_t count)
    {
        for (uint32_t i = 0; i < count; i++) {
            if (i) n.move(0, 1);
            if (n.outside()) continue;
            fits("the shifted scalar", number(byte(n.x), n.ctl.scalar_signed) * (int64_t(1) << n.sh.scalar), build_.operand_bits);
        }
    }

    // The products of an issue of any kind.
    template <unsigned P> void product(Lanes<P> &s, const Nest &n)
    {
        const isa::Ctl &c = n.ctl;
        const bool scalar = c.a == isa::first::SCALAR, off = (c.dot || scalar) && n.outside();
        if (off && (c.dot || !c.vector_stream)) return;
        if (c.vector_stream) {
            std::copy_n(vector<P>(off ? 0 : n.x), P, s.v);
            hold<P>(s, n);
        }
        if (scalar) std::fill_n(s.first, P, off ? int16_t(0) : int16_t(number(byte(n.x), c.scalar_signed)));
        if (c.b == isa::second::WEIGHTS) {
            const uint8_t *read = weights<P>(n.w);
            for (unsigned l = 0; l < P; l++) s.second[l] = int8_t(read[l]);
        }
        if (c.dot) {
            int32_t sum = 0;
            for (unsigned l = 0; l < P; l++) sum += s.first[l] * s.second[l];
            s.sum[0] += sum;
        } else {
            for (unsigned l = 0; l < P; l++) s.sum[l] += s.first[l] * s.second[l];
        }
    }

    // A nest moves a matrix of weights, one product each: what most of a training step is, done at once below.
    bool moves_weights(const Nest &n, int64_t gain) const
    {
        const isa::Ctl &c = n.ctl;
        return c.inner && c.update && c.to == isa::to::WEIGHTS && c.a == isa::first::SCALAR && c.b == isa::second::VECTOR &&
               c.prologue == isa::prologue::VECTOR && !c.vector_stream && !c.dot && !c.wide && !c.mask && !c.score &&
               n.sh.scalar <= build_.high() && gain <= int64_t(1) << build_.fraction;
    }

    // So many updates of the innermost loop. With a gain of 2**g, ({~w, r} + product * 2**g) >> S is
    // ~w + (((r >> g) + product) >> (S - g)), in 32 bits.
    template <unsigned P> void update(const Lanes<P> &s, Nest &n, int64_t gain, uint32_t count)
    {
        unsigned g = 0;
        while (int64_t(1) << g < gain) g++;
        const unsigned low = 32 - build_.fraction + g, rest = build_.fraction - g;
        const int32_t most = (1 << (build_.weight_bits - 1)) - 1, room = 1 << (build_.lane_bits() - build_.fraction - 1);
        const bool is_signed = n.ctl.scalar_signed;
        uint32_t scalar = random[1];
        int32_t largest = 0, least = 0;
        for (uint32_t i = 0; i < count; i++) {
            if (i) n.move(0, 1);
            scalar = next(scalar);
            const auto value = int16_t(n.outside() ? 0 : number(byte(n.x), is_signed));
            const uint8_t *old = weights<P>(n.w);
            uint8_t *moved = weights<P>(n.d);
            int32_t v[P];
            for (unsigned l = 0; l < P; l++) {
                const auto below = int32_t((s.word[l] ^ scalar) >> 1 >> (low - 1));
                v[l] = ~int32_t(int8_t(old[l])) + ((below + value * s.second[l]) >> rest);
            }
            for (unsigned l = 0; l < P; l++) {
                largest = std::max(largest, v[l]);
                least = std::min(least, v[l]);
                moved[l] = uint8_t(~std::clamp(v[l], -most - 1, most));
            }
        }
        random[1] = scalar;
        const bool wrong = largest >= room || least < -room;
        if (wrong) throw Fault("a sum is too large for " + std::to_string(build_.lane_bits()) + " bits");
    }

    // The sums of products go to the accumulators.
    template <unsigned P> void flush(Lanes<P> &s, const Nest &n, int64_t gain)
    {
        const int64_t serial = n.serial() ? int64_t(1) << n.sh.serial : 1;
        s.acc[0] += s.sum[0] * gain * serial;
        for (unsigned l = 1; l < P; l++) s.acc[l] += s.sum[l] * gain;
        std::fill_n(s.sum, P, 0);
        s.pending = 0;
    }

    template <unsigned P> void pooled(Lanes<P> &s, const Nest &n, uint32_t issue)
    {
        if (n.ctl.vector_stream) std::copy_n(vector<P>(n.x), P, s.v);
        const bool is_signed = n.ctl.scalar_signed;
        for (unsigned l = 0; l < P; l++) {
            if (issue && number(s.v[l], is_signed) <= number(s.pool[l], is_signed)) continue;
            s.pool[l] = s.v[l];
            s.place[l] = uint8_t(issue);
        }
    }

    // Rounds, saturates and writes a result; lane 0's value.
    template <unsigned P> int32_t finish(Lanes<P> &s, const Nest &n, int64_t gain)
    {
        const isa::Ctl &c = n.ctl;
        if (!c.pool) flush<P>(s, n, gain);
        if (c.wide) return wide(s.acc[0], n);
        uint8_t result[P];
        const unsigned bits = c.to == isa::to::WEIGHTS ? build_.weight_bits : 8;
        const int64_t least = c.out_signed ? -(int64_t(1) << (bits - 1)) : 0;
        const int64_t most = c.out_signed ? (int64_t(1) << (bits - 1)) - 1 : 255;
        const uint8_t inverted = c.update ? 255 : 0;
        if (!c.pool) check_sums<P>(s);
        for (unsigned l = 0; l < P && !c.pool; l++) {
            result[l] = uint8_t(std::clamp(s.acc[l] >> build_.fraction, least, most)) ^ inverted;
        }
        if (c.pool) std::copy_n(c.position ? s.place : s.pool, P, result);
        for (unsigned l = 0; l < P && c.mask; l++) result[l] = s.mask[l] ? result[l] : 0;
        if (c.to == isa::to::BYTE) byte(n.d) = result[0];
        else std::copy_n(result, P, c.to == isa::to::WEIGHTS ? weights<P>(n.d) : vector<P>(n.d));
        return number(result[0], c.out_signed);
    }

    template <unsigned P> void check_sums(const Lanes<P> &s) const
    {
        int64_t wrong = 0;
        for (unsigned l = 1; l < P; l++) wrong |= s.acc[l] >> (build_.lane_bits() - 1) ^ s.acc[l] >> 63;
        if (wrong) throw Fault("a sum is too large for " + std::to_string(build_.lane_bits()) + " bits");
        fits("the sum of lane 0", s.acc[0], build_.wide_bits());
    }

    // A result of lane 0 alone, of two bytes.
    int32_t wide(int64_t acc, const Nest &n)
    {
        fits("the sum of lane 0", acc, build_.wide_bits());
        const int64_t most = n.ctl.wide16 ? 32767 : 2047;
        int64_t v = std::clamp(acc >> isa::WIDE_FRACTION, -most - 1, most);
        if (n.ctl.update) v = ~v;
        byte(n.d) = uint8_t(v);
        byte((n.d + n.high) & n.mask) = uint8_t(v >> 8);
        return int32_t(v);
    }

    // --- scores ---------------------------------------------------------------------------------------------------

    void compare(const Nest &n, uint32_t i, int32_t value, bool &none)
    {
        if (n.ctl2.exclude && i == label_) {
            threshold_ = value - int32_t(isa::Margin(register_[isa::MARGIN]).value);
        } else if (none || value > best_) {
            best_ = value;
            best_class_ = i;
            none = false;
        }
    }

    // Errors of a softmax: exponentials from the table, then p = round(128 E / sum E), less 128 at the label.
    void softmax()
    {
        const Nest nest(register_, build_.address_bits);
        if (nest.all() > isa::CLASSES) throw Fault("a softmax of more classes than the score unit has");
        spend(isa::SOFTMAX_CYCLES + nest.all() * isa::SOFTMAX_SCORE_CYCLES - isa::INSTRUCTION_CYCLES);
        uint32_t power[isa::CLASSES], total = 0, i = 0;
        Nest n = nest;
        for (bool last = false; !last; last = n.advance() >= isa::LEVELS) {
            const int32_t z = byte(n.p) | int8_t(byte((n.p + n.high) & n.mask)) * 256;
            const int64_t distance = int64_t(best_) - z;
            power[i] = table[size_t(std::clamp<int64_t>(distance, 0, isa::TABLE - 1))];
            total += power[i++];
        }
        if (!total) throw Fault("a softmax whose table is empty");
        i = 0;
        n = nest;
        for (bool last = false; !last; last = n.advance() >= isa::LEVELS, i++) {
            const int32_t p = int32_t((256 * power[i] + total) / (2 * total)) - (i == label_ ? 128 : 0);
            byte(n.d) = uint8_t(std::clamp(p, -128, 127));
        }
    }
};

} // namespace insitu
