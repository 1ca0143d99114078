// A platform whose host does what comes by the standard input: how insitu's --engine systemc and the tests drive it.
//
//     pipe [ENGINES [QUANTUM_NS]]
//
// A request is 14 bytes: what, flags, and three numbers of 32 bits, low byte first: address, length, more. Answers begin
// with a byte: what TLM answered (1 is OK), or 0 and a text with its length.
#include "platform.hpp"
#include <cstdio>

using namespace insitu;

namespace {

enum Flags : uint8_t { BYTE_ENABLES = 1, STREAMING = 2, IGNORED = 4, DEBUG = 8 };

struct Pipe : Host {
    Platform *platform = nullptr;

    SC_HAS_PROCESS(Pipe);
    explicit Pipe(sc_core::sc_module_name module_name) : Host(module_name) { SC_THREAD(serve); }

    uint8_t request[14];
    uint32_t number(unsigned i) const
    {
        const uint8_t *at = request + 2 + 4 * i;
        return uint32_t(at[0]) | uint32_t(at[1]) << 8 | uint32_t(at[2]) << 16 | uint32_t(at[3]) << 24;
    }

    void serve()
    {
        keeper.reset();
        while (std::fread(request, sizeof request, 1, stdin) == 1) {
            const char what = char(request[0]);
            std::vector<uint8_t> data(number(1));
            if (what != 'r' && !data.empty() && std::fread(data.data(), data.size(), 1, stdin) != 1) break;
            try {
                if (what == 'r' || what == 'w') bytes(what == 'r', data);
                else if (what == 'i') interrupt(number(0));
                else if (what == 'g') go_on(number(0));
                else if (what == 'n') say(uint64_t((sc_core::sc_time_stamp() + keeper.get_local_time()) / sc_core::sc_time(1, sc_core::SC_PS)));
                else command(what, data);
            } catch (const std::exception &reason) {
                const std::string text = reason.what();
                std::fputc(0, stdout);
                const uint32_t n = uint32_t(text.size());
                std::fwrite(&n, 4, 1, stdout);
                std::fwrite(text.data(), n, 1, stdout);
            }
            std::fflush(stdout);
        }
        sc_core::sc_stop();
    }

    // A read or a write, as odd as its flags ask for.
    void bytes(bool reads, std::vector<uint8_t> &data)
    {
        const uint8_t flags = request[1];
        const uint64_t at = number(0);
        uint8_t enables[] = {255, 0};
        tlm::tlm_response_status status;
        if (flags) {
            tlm::tlm_generic_payload p;
            p.set_command(flags & IGNORED ? tlm::TLM_IGNORE_COMMAND : reads ? tlm::TLM_READ_COMMAND : tlm::TLM_WRITE_COMMAND);
            p.set_address(at);
            p.set_data_ptr(data.data());
            p.set_data_length(unsigned(data.size()));
            p.set_streaming_width(unsigned(flags & STREAMING ? data.size() / 2 : data.size()));
            if (flags & BYTE_ENABLES) p.set_byte_enable_ptr(enables), p.set_byte_enable_length(2);
            if (flags & DEBUG) status = bus->transport_dbg(p) == data.size() ? tlm::TLM_OK_RESPONSE : tlm::TLM_ADDRESS_ERROR_RESPONSE;
            else status = access(p);
        } else {
            status = transfer(reads, at, data.data(), unsigned(data.size()));
        }
        std::fputc(uint8_t(int8_t(status)), stdout);
        if (reads && !data.empty()) std::fwrite(data.data(), data.size(), 1, stdout);
    }

    void interrupt(uint32_t which)
    {
        until(platform->irq.at(which), engine_at(which));
        std::fputc(1, stdout);
    }

    // Lets so many nanoseconds pass; the level of the first engine's interrupt.
    void go_on(uint32_t nanoseconds)
    {
        keeper.sync();
        wait(sc_core::sc_time(nanoseconds, sc_core::SC_NS));
        keeper.reset();
        std::fputc(1, stdout);
        std::fputc(platform->irq.at(0).read(), stdout);
    }

    void say(uint64_t value)
    {
        std::fputc(1, stdout);
        std::fwrite(&value, 8, 1, stdout);
    }

    void command(char what, const std::vector<uint8_t> &data)
    {
        EngineTarget &engine = platform->engines.at(what == 'd' ? 0 : number(0));
        if (what == 'c') {
            Build b;
            uint32_t *fields[] = {&b.lanes, &b.fraction, &b.address_bits, &b.operand_bits, &b.weight_bits, &b.a_bytes, &b.w_words, &b.code_words};
            if (data.size() != sizeof fields / sizeof fields[0] * 4) throw Fault("a build has eight numbers");
            for (size_t i = 0; i < data.size() / 4; i++) std::memcpy(fields[i], &data[4 * i], 4);
            engine.configure(b);
        } else if (what == 'l') {
            std::istringstream in(std::string(data.begin(), data.end()));
            engine.load(Program(in));
        } else if (what == 'f') {
            throw Fault(engine.failure());
        } else if (what == 'd') {
            direct = number(0) != 0;
        } else {
            throw Fault("an unknown request");
        }
        std::fputc(1, stdout);
    }
};

} // namespace

int sc_main(int argc, char **argv)
{
    // The standard output belongs to the answers.
    sc_core::sc_report_handler::set_handler([](const sc_core::sc_report &report, const sc_core::sc_actions &actions) {
        std::fprintf(stderr, "%s\n", sc_core::sc_report_compose_message(report).c_str());
        sc_core::sc_report_handler::default_handler(report, actions & ~sc_core::SC_DISPLAY);
    });
    const size_t engines = argc > 1 ? std::stoul(argv[1]) : 1;
    tlm::tlm_global_quantum::instance().set(sc_core::sc_time(argc > 2 ? std::stod(argv[2]) : 10000, sc_core::SC_NS));
    Pipe host("host");
    const sc_core::sc_time period(40, sc_core::SC_NS);
    Platform platform(engines, Settings{}, period, 4, period, host);
    host.platform = &platform;
    sc_core::sc_start();
    return 0;
}
