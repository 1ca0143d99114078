// Replays a golden trace on an engine over a bus: 0 if every run takes its cycles and every word read is as expected.
//
//     replay PROGRAM TRACE [QUANTUM_NS [DIRECT]]      DIRECT 0: no direct memory interface
#include "platform.hpp"
#include <cstdio>

using namespace insitu;

namespace {

struct Replay : Host {
    std::ifstream trace;
    const sc_core::sc_signal<bool> *irq = nullptr;
    unsigned lanes = 8, line_number = 0, runs = 0;
    bool equal = true;

    SC_HAS_PROCESS(Replay);
    Replay(sc_core::sc_module_name module_name, const char *path) : Host(module_name), trace(path) { SC_THREAD(play); }

    // A word of the trace's memories (0 A, 1 W, 2 microcode, 3 the table): where it lies, and its bytes.
    uint64_t address(unsigned memory, uint64_t word) const
    {
        const uint32_t base[] = {map::WINDOW_A, map::WINDOW_W, map::WINDOW_CODE, map::WINDOW_TABLE};
        return engine_at(0) + base[memory % 4] + word * bytes_of(memory);
    }
    unsigned bytes_of(unsigned memory) const { return memory < 2 ? lanes : memory == 2 ? 8 : 2; }

    void play()
    {
        try {
            keeper.reset();
            lanes = get(engine_at(0) + map::LANES);
            set(engine_at(0) + map::IRQ, map::ENABLED);
            for (std::string text; equal && std::getline(trace, text);) {
                line_number++;
                std::istringstream in(text);
                step(in);
            }
            keeper.sync();
        } catch (const Fault &fault) {
            fail(fault.what());
        }
        sc_core::sc_stop();
    }

    void step(std::istringstream &in)
    {
        std::string what, text;
        unsigned memory = 0;
        uint64_t first = 0, count = 0;
        in >> what >> memory >> first >> count;
        if (what == "run") return run(memory, uint32_t(first), count);
        std::vector<uint8_t> words;
        while (in >> text) {
            const unsigned n = bytes_of(memory);
            std::string padded = text.size() < 2 * n ? std::string(2 * n - text.size(), '0') + text : text;
            for (unsigned i = 0; i < n; i++)
                words.push_back(uint8_t(std::stoul(padded.substr(padded.size() - 2 * (i + 1), 2), nullptr, 16)));
        }
        if (what == "write") return put(address(memory, first), words.data(), words.size());
        std::vector<uint8_t> found(words.size());
        if (transfer(true, address(memory, first), found.data(), unsigned(found.size())) != tlm::TLM_OK_RESPONSE || found != words)
            fail("the memory is another one");
    }

    void run(uint32_t entry, uint32_t label, uint64_t cycles)
    {
        const uint64_t engine = engine_at(0);
        set(engine + map::ENTRY, entry);
        set(engine + map::LABEL, label);
        set(engine + map::CTRL, map::DO_RUN);
        until(*irq, engine);
        runs++;
        if (get(engine + map::STATUS) & map::FAILED) fail("the run failed");
        const uint64_t taken = get(engine + map::CYCLES);
        if (taken != cycles) fail(("a run takes " + std::to_string(taken) + " cycles").c_str());
    }

    void fail(const char *why)
    {
        std::printf("line %u of the trace: %s\n", line_number, why);
        equal = false;
    }
};

} // namespace

int sc_main(int argc, char **argv)
{
    if (argc < 3) return std::printf("replay PROGRAM TRACE [QUANTUM_NS [DIRECT]]\n"), 2;
    tlm::tlm_global_quantum::instance().set(sc_core::sc_time(argc > 3 ? std::stod(argv[3]) : 1000, sc_core::SC_NS));
    Replay host("host", argv[2]);
    host.direct = argc < 5 || std::string(argv[4]) != "0";
    const sc_core::sc_time period(40, sc_core::SC_NS);
    Platform platform(1, Settings{}, period, 4, period, host);
    host.irq = &platform.irq[0];
    try {
        std::ifstream file(argv[1]);
        platform.engines[0].configure(Program(file).build); // the trace brings all the rest
    } catch (const Fault &fault) {
        return std::printf("%s: %s\n", argv[1], fault.what()), 1;
    }
    sc_core::sc_start();
    if (!host.equal || !host.runs) return 1;
    std::printf("%u lines, %u runs: equal\n", host.line_number, host.runs);
    return 0;
}
