// The simulated engine behind C functions: host port, program runs, and the loop over samples.
// Words of memories travel as HOST_WORDS words of 32 bits, low first (HOST_WORDS: of the host port, by the build).
#include "Vengine.h"
#include "verilated.h"
#include <cstdint>

double sc_time_stamp() { return 0; }

namespace {

// The host port is a 64-bit word in narrow builds and an array of 32-bit words in wide ones.
void put(QData &port, const uint32_t *data) { port = data[0] | uint64_t(data[1]) << 32; }
template <size_t N> void put(VlWide<N> &port, const uint32_t *data)
{
    for (size_t i = 0; i < N; i++) port[i] = data[i];
}
void take(IData port, uint32_t *data) { data[0] = port; }
void take(QData port, uint32_t *data) { data[0] = uint32_t(port), data[1] = uint32_t(port >> 32); }
template <size_t N> void take(const VlWide<N> &port, uint32_t *data)
{
    for (size_t i = 0; i < N; i++) data[i] = port[i];
}

} // namespace

struct sim {
    VerilatedContext context;
    Vengine top{&context};
    void tick()
    {
        top.clk = 0, top.eval();
        top.clk = 1, top.eval();
    }
};

extern "C" {

sim *sim_new(void)
{
    sim *s = new sim;
    s->top.rst = 1, s->tick();
    s->top.rst = 0, s->tick();
    return s;
}

void sim_free(sim *s) { delete s; }

void sim_reset(sim *s)
{
    s->top.rst = 1, s->tick();
    s->top.rst = 0, s->tick();
}

void sim_write(sim *s, int select, int address, const uint32_t *data, int count)
{
    s->top.host_select = select, s->top.host_write = 1;
    for (int i = 0; i < count; i++, data += HOST_WORDS) {
        s->top.host_address = address + i;
        put(s->top.host_data, data);
        s->tick();
    }
    s->top.host_write = 0;
}

// What is read comes two cycles after its address.
void sim_read(sim *s, int select, int address, uint32_t *data, int count)
{
    s->top.host_select = select;
    for (int i = 0; i < count + 2; i++) {
        if (i >= 2) {
            s->top.eval();
            take(s->top.host_read, data);
            data += HOST_WORDS;
        }
        s->top.host_address = address + i;
        s->tick();
    }
}

// Cycles from the start signal to the end, or -1 if the program has not ended by then.
int64_t sim_run(sim *s, int entry, int label, int64_t limit)
{
    s->top.label = label, s->top.entry = entry, s->top.start = 1;
    s->tick();
    s->top.start = 0;
    int64_t cycles = 1;
    for (; s->top.busy && cycles < limit; cycles++) s->tick();
    return s->top.busy ? -1 : cycles;
}

// Ticks the clock of a program that sim_run left, or starts one and leaves it after so many cycles.
void sim_ticks(sim *s, int64_t count)
{
    while (count-- > 0) s->tick();
}

// A program run for each of many samples of `words` words; stops at one that does not end and returns how many did.
int sim_samples(sim *s, int entry, int address, int words, const uint32_t *samples, const uint8_t *labels, int count, int64_t limit,
                int64_t *cycles, uint8_t *fired, uint8_t *best)
{
    for (int i = 0; i < count; i++, samples += words * HOST_WORDS) {
        sim_write(s, 0, address, samples, words);
        cycles[i] = sim_run(s, entry, labels[i], limit);
        if (cycles[i] < 0) return i;
        fired[i] = s->top.fired, best[i] = s->top.best_class;
    }
    return count;
}

int sim_best(sim *s) { return s->top.best_class; }
int sim_fired(sim *s) { return s->top.fired; }
#ifdef LEARN
uint32_t sim_register(sim *s, int which) { return which ? s->top.register1 : s->top.register0; }
#else
uint32_t sim_register(sim *, int) { return 0; }
#endif
}
