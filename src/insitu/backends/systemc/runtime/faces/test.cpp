// Builds every face against a stand-in of its platform, learns the same samples by each, and compares what comes back.
//
//     test PROGRAM SAMPLES
#include "../platform.hpp"
#include "secda.hpp"
#include "vcml.hpp"
#include "vpsim.hpp"
#include <cstdio>
#include <iterator>

using namespace insitu;
using namespace sc_core;

namespace {

constexpr uint64_t BASE = 0x40000000;
int running = 3; // drivers

void ended()
{
    if (--running == 0) sc_stop();
}

struct Found {
    std::vector<uint32_t> classes, cycles;
    std::vector<uint8_t> weights;
    bool operator==(const Found &o) const { return classes == o.classes && cycles == o.cycles && weights == o.weights; }
};

// VPSim's SystemCTarget as far as a model sees it: a socket, and a function for interrupts.
struct SystemCTarget : sc_module {
    tlm_utils::simple_initiator_socket<SystemCTarget> _out;
    std::function<void(int, int)> _int;
    explicit SystemCTarget(sc_module_name module_name) : sc_module(module_name), _out("_out") {}
};

// An initiator of any width that does what a driver would.
template <class Socket> struct Driver : sc_module {
    Socket &socket;
    uint64_t base;
    std::vector<uint8_t> samples;
    const EngineTarget *engine = nullptr;
    sc_event interrupt;
    bool level = false;
    Found found;

    SC_HAS_PROCESS(Driver);
    Driver(sc_module_name module_name, Socket &s, uint64_t at, const std::vector<uint8_t> &given)
        : sc_module(module_name), socket(s), base(at), samples(given)
    {
        SC_THREAD(run);
    }

    void irq(bool now)
    {
        level = now;
        interrupt.notify(SC_ZERO_TIME);
    }

    uint32_t access(bool reads, uint64_t at, uint32_t value)
    {
        uint8_t bytes[] = {uint8_t(value), uint8_t(value >> 8), uint8_t(value >> 16), uint8_t(value >> 24)};
        move(reads, at, bytes, 4);
        return uint32_t(bytes[0]) | uint32_t(bytes[1]) << 8 | uint32_t(bytes[2]) << 16 | uint32_t(bytes[3]) << 24;
    }

    void move(bool reads, uint64_t at, uint8_t *data, unsigned n)
    {
        tlm::tlm_generic_payload p;
        p.set_command(reads ? tlm::TLM_READ_COMMAND : tlm::TLM_WRITE_COMMAND);
        p.set_address(base + at);
        p.set_data_ptr(data);
        p.set_data_length(n);
        p.set_streaming_width(n);
        sc_time delay;
        socket->b_transport(p, delay);
        if (!p.is_response_ok()) SC_REPORT_FATAL("face", p.get_response_string().c_str());
        wait(delay);
    }

    void command(uint32_t what, uint32_t place, uint32_t sample)
    {
        const uint32_t bytes = engine->program()->sample_bytes;
        uint8_t *from = samples.data() + size_t(sample) * (bytes + 1);
        move(false, map::WINDOW_A + place, from, bytes);
        access(false, map::LABEL, from[bytes]);
        access(false, map::CTRL, what);
        while (!level) wait(interrupt);
        access(false, map::IRQ, map::PENDING | map::ENABLED);
        while (level) wait(interrupt);
    }

    void run()
    {
        access(false, map::IRQ, map::ENABLED);
        const uint32_t count = uint32_t(samples.size() / (engine->program()->sample_bytes + 1));
        for (uint32_t i = 0; i < count; i++) {
            command(map::DO_INFER, access(true, map::SAMPLE, 0), i);
            found.classes.push_back(access(true, map::CLASS, 0));
            const uint32_t forward = access(true, map::CYCLES, 0);
            command(map::DO_LEARN, access(true, map::SAMPLE_LEARN, 0), i);
            found.cycles.push_back(forward + access(true, map::CYCLES, 0));
        }
        found.weights = engine->engine().w;
        ended();
    }
};

struct Word {
    sc_dt::sc_uint<32> data;
    bool tlast;
    friend std::ostream &operator<<(std::ostream &os, const Word &w) { return os << w.data << ' ' << w.tlast; }
};

// What SECDA's driver does with the two streams.
struct Streams : sc_module {
    sc_fifo_out<Word> out;
    sc_fifo_in<Word> in;
    std::vector<uint8_t> samples;
    SecdaEngine<Word> *accelerator = nullptr;
    uint32_t bytes;
    Found found;
    bool marked = true;

    SC_HAS_PROCESS(Streams);
    Streams(sc_module_name module_name, const std::vector<uint8_t> &given, uint32_t sample_bytes)
        : sc_module(module_name), out("out"), in("in"), samples(given), bytes(sample_bytes)
    {
        SC_THREAD(run);
    }

    void run()
    {
        for (size_t at = 0; at + bytes < samples.size(); at += bytes + 1) {
            out.write({map::DO_INFER | map::DO_LEARN, false});
            out.write({samples[at + bytes], false});
            for (uint32_t i = 0; i < bytes; i += 4) {
                uint32_t word = 0;
                for (uint32_t k = 0; k < 4 && i + k < bytes; k++) word |= uint32_t(samples[at + i + k]) << 8 * k;
                out.write({word, i + 4 >= bytes});
            }
            found.classes.push_back(uint32_t(in.read().data));
            in.read();
            const Word last = in.read();
            found.cycles.push_back(uint32_t(last.data));
            marked = marked && last.tlast;
        }
        found.weights = accelerator->engine().w;
        ended();
    }
};

} // namespace

int sc_main(int argc, char **argv)
{
    if (argc < 3) return std::printf("test PROGRAM SAMPLES\n"), 2;
    sc_report_handler::set_actions("/OSCI/SystemC", SC_DO_NOTHING);
    sc_report_handler::set_actions("/IEEE_Std_1666/deprecated", SC_DO_NOTHING); // FIFOs in a SC_CTHREAD, as SECDA has them
    std::ifstream text(argv[1]), file(argv[2], std::ios::binary);
    const Program program(text);
    std::vector<uint8_t> samples(std::istreambuf_iterator<char>(file), {});
    samples.resize(std::min<size_t>(samples.size(), size_t(16) * (program.sample_bytes + 1)));

    SystemCTarget target("target");
    Driver<decltype(target._out)> vpsim("vpsim", target._out, BASE, samples);
    target._int = [&](int line, int level) { vpsim.irq(line == 3 && level); };
    VpsimEngine of_vpsim("of_vpsim", Settings{}, target, 3, BASE);
    of_vpsim.engine.load(program);
    vpsim.engine = &of_vpsim.engine;

    struct Wide : sc_module {
        tlm_utils::simple_initiator_socket<Wide, 64> out;
        explicit Wide(sc_module_name n) : sc_module(n), out("out") {}
    } wide("wide");
    Driver<decltype(wide.out)> vcml("vcml", wide.out, 0, samples);
    VcmlEngine of_vcml("of_vcml", Settings{}, [&](bool level) { vcml.irq(level); });
    wide.out.bind(of_vcml.in);
    of_vcml.engine.load(program);
    vcml.engine = &of_vcml.engine;

    sc_clock clock("clock", 40, SC_NS);
    sc_signal<bool> reset("reset");
    sc_fifo<Word> there("there", 16), back("back", 16);
    SecdaEngine<Word> secda("secda", program);
    Streams streams("streams", samples, program.sample_bytes);
    secda.clock(clock);
    secda.reset(reset);
    secda.din1(there);
    secda.dout1(back);
    streams.out(there);
    streams.in(back);
    streams.accelerator = &secda;

    sc_start();
    const bool equal = vpsim.found == vcml.found && vcml.found == streams.found && streams.marked;
    std::printf("VPSim, VCML and SECDA faces, %zu samples: %s\n", streams.found.classes.size(), equal ? "equal" : "DIFFERENT");
    return equal && !streams.found.classes.empty() ? 0 : 1;
}
