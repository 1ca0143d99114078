// The engine as a TLM-2.0 module: a target on the bus, an initiator for DMA, an interrupt. Loosely timed.
#pragma once
#include "program.hpp"
#include <cstring>
#include <fstream>
#include <systemc>
#include <tlm>
#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>
#include <tlm_utils/tlm_quantumkeeper.h>

namespace insitu {

// How a module is made.
struct Settings {
    sc_core::sc_time period{40, sc_core::SC_NS}; // of the engine's clock
    unsigned port_bytes = 4;                     // that its port takes or gives in a cycle
    Capacity capacity;
};

class EngineTarget : public sc_core::sc_module {
  public:
    tlm_utils::simple_target_socket<EngineTarget> bus;
    tlm_utils::simple_initiator_socket_optional<EngineTarget> dma;
    sc_core::sc_out<bool> irq;
    std::function<void(bool)> on_irq; // beside the signal; may be empty

    // What the module tells an observer: a command begins, or has ended.
    std::function<void(uint32_t command, sc_core::sc_time begin, sc_core::sc_time end)> on_command;

    SC_HAS_PROCESS(EngineTarget);
    EngineTarget(sc_core::sc_module_name module_name, const Settings &settings = {})
        : sc_module(module_name), bus("bus"), dma("dma"), irq("irq"), settings_(settings),
          engine_(std::make_unique<Engine>(Build{}))
    {
        bus.register_b_transport(this, &EngineTarget::b_transport);
        bus.register_transport_dbg(this, &EngineTarget::transport_dbg);
        bus.register_get_direct_mem_ptr(this, &EngineTarget::get_direct_mem_ptr);
        SC_THREAD(work);
        SC_METHOD(drive);
        dont_initialize();
        sensitive << changed_;
    }

    // Puts a program into the engine, without a bus and in no time. Throws a Fault that names what does not fit.
    void load(const Program &program)
    {
        if (const std::string reason = program.refused(settings_.capacity); !reason.empty()) throw Fault(reason);
        program_ = std::make_unique<Program>(program);
        make(program_->loaded());
        value_[map::STEP / 4] = program.steps;
    }

    // Makes an engine without a program: for hosts that write microcode themselves.
    void configure(const Build &build)
    {
        program_.reset();
        make(std::make_unique<Engine>(build));
    }

    const std::string &failure() const { return failure_; } // of the last command; empty: none
    const Engine &engine() const { return *engine_; }
    const Program *program() const { return program_.get(); }
    bool busy() const { return busy_; }
    uint64_t dma_bytes() const { return dma_bytes_; }
    uint64_t total_cycles() const { return total_cycles_; }
    uint32_t triggered(uint32_t slot) const { return value_[map::TRIGGERS_0 / 4 + slot]; }

    void trace(sc_core::sc_trace_file *file) const { sc_core::sc_trace(file, busy_, std::string(name()) + ".busy"); }

  private:
    Settings settings_;
    std::unique_ptr<Engine> engine_;
    std::unique_ptr<Program> program_;
    uint32_t value_[sizeof(map::REGISTERS) / sizeof(map::REGISTERS[0])] = {};
    bool busy_ = false;
    uint32_t command_ = 0;
    uint64_t cycles_ = 0, total_cycles_ = 0, dma_bytes_ = 0;
    std::string failure_;
    sc_core::sc_event started_, changed_;
    tlm_utils::tlm_quantumkeeper keeper_;

    void make(std::unique_ptr<Engine> engine)
    {
        if (sc_core::sc_start_of_simulation_invoked()) bus->invalidate_direct_mem_ptr(0, map::SIZE - 1);
        engine_ = std::move(engine);
        for (const uint32_t own : {map::SHIFT, map::PHASE, map::STEP, map::CLASS, map::FLAGS}) value(own) = 0;
        for (uint32_t slot = 0; slot < isa::SLOTS; slot++) value(map::TRIGGERS_0 + 4 * slot) = 0;
    }

    // --- the bus --------------------------------------------------------------------------------------------------

    void b_transport(tlm::tlm_generic_payload &p, sc_core::sc_time &delay)
    {
        const unsigned n = p.get_data_length();
        p.set_dmi_allowed(false);
        p.set_response_status(answer(p, &delay));
        if (p.is_response_ok()) delay += settings_.period * double((n + settings_.port_bytes - 1) / settings_.port_bytes);
    }

    tlm::tlm_response_status answer(tlm::tlm_generic_payload &p, const sc_core::sc_time *delay)
    {
        const uint64_t at = p.get_address();
        const unsigned n = p.get_data_length();
        if (p.get_command() == tlm::TLM_IGNORE_COMMAND) return tlm::TLM_OK_RESPONSE;
        if (p.get_byte_enable_ptr()) return tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE;
        if (!p.get_data_ptr() || !n || p.get_streaming_width() < n) return tlm::TLM_BURST_ERROR_RESPONSE;
        if (at >= map::SIZE || n > map::SIZE - at) return tlm::TLM_ADDRESS_ERROR_RESPONSE;
        if (at >= map::WINDOW_A) return in_window(p, uint32_t(at), n);
        if (n != 4) return tlm::TLM_BURST_ERROR_RESPONSE;
        const map::Register *found = at % 4 || at / 4 >= sizeof(value_) / 4 ? nullptr : &map::REGISTERS[at / 4];
        if (!found) return tlm::TLM_ADDRESS_ERROR_RESPONSE;
        if (p.is_read() ? !found->reads : !found->writes) return tlm::TLM_COMMAND_ERROR_RESPONSE;
        if (busy_ && at > map::LANES && at != map::STATUS && at != map::IRQ) return tlm::TLM_GENERIC_ERROR_RESPONSE;
        uint8_t *data = p.get_data_ptr();
        if (p.is_read()) {
            const uint32_t value = get(uint32_t(at));
            for (unsigned i = 0; i < 4; i++) data[i] = uint8_t(value >> 8 * i);
            return tlm::TLM_OK_RESPONSE;
        }
        const uint32_t value = uint32_t(data[0]) | uint32_t(data[1]) << 8 | uint32_t(data[2]) << 16 | uint32_t(data[3]) << 24;
        return set(uint32_t(at), value, *delay);
    }

    // A memory: bytes from first on, if the window has so many.
    tlm::tlm_response_status in_window(tlm::tlm_generic_payload &p, uint32_t at, unsigned n)
    {
        if (busy_) return tlm::TLM_GENERIC_ERROR_RESPONSE;
        return transfer(p.is_read(), at, p.get_data_ptr(), n) ? (p.set_dmi_allowed(mapped(at) != nullptr), tlm::TLM_OK_RESPONSE)
                                                              : tlm::TLM_ADDRESS_ERROR_RESPONSE;
    }

    // A memory of bytes that has a place for an address, and where it begins.
    std::vector<uint8_t> *mapped(uint32_t at, uint32_t *begin = nullptr)
    {
        const bool is_w = at >= map::WINDOW_W;
        if (!is_w && at >= map::WINDOW_A + map::WINDOW_A_BYTES) return nullptr;
        const uint32_t first = is_w ? map::WINDOW_W : map::WINDOW_A;
        std::vector<uint8_t> &memory = is_w ? engine_->w : engine_->a;
        if (at - first >= memory.size()) return nullptr;
        if (begin) *begin = first;
        return &memory;
    }

    bool transfer(bool reads, uint32_t at, uint8_t *data, unsigned n)
    {
        uint32_t begin = 0;
        if (std::vector<uint8_t> *memory = mapped(at, &begin)) {
            if (n > memory->size() - (at - begin)) return false;
            uint8_t *there = memory->data() + (at - begin);
            if (reads) std::memcpy(data, there, n);
            else std::memcpy(there, data, n);
            return true;
        }
        if (at >= map::WINDOW_CODE) return words(engine_->code, reads, at - map::WINDOW_CODE, data, n);
        if (at >= map::WINDOW_TABLE) return words(engine_->table, reads, at - map::WINDOW_TABLE, data, n);
        return false;
    }

    template <class Word>
    static bool words(std::vector<Word> &memory, bool reads, uint32_t at, uint8_t *data, unsigned n)
    {
        constexpr unsigned bytes = sizeof(Word);
        if (at >= memory.size() * bytes || n > memory.size() * bytes - at) return false;
        for (unsigned i = 0; i < n; i++) {
            Word &word = memory[(at + i) / bytes];
            const unsigned shift = 8 * ((at + i) % bytes);
            if (reads) data[i] = uint8_t(word >> shift);
            else word = Word((word & ~(Word(255) << shift)) | Word(Word(data[i]) << shift));
        }
        return true;
    }

    // A debugger looks at everything and changes memories, at any time and in none.
    unsigned transport_dbg(tlm::tlm_generic_payload &p)
    {
        const uint64_t at = p.get_address();
        const unsigned n = p.get_data_length();
        if (at >= map::SIZE || n > map::SIZE - at || !p.get_data_ptr()) return 0;
        if (at >= map::WINDOW_A) return transfer(p.is_read(), uint32_t(at), p.get_data_ptr(), n) ? n : 0;
        if (!p.is_read() || at % 4 || n != 4 || at / 4 >= sizeof(value_) / 4 || !map::REGISTERS[at / 4].reads) return 0;
        const uint32_t value = get(uint32_t(at));
        for (unsigned i = 0; i < 4; i++) p.get_data_ptr()[i] = uint8_t(value >> 8 * i);
        return 4;
    }

    bool get_direct_mem_ptr(tlm::tlm_generic_payload &p, tlm::tlm_dmi &dmi)
    {
        uint32_t begin = 0;
        std::vector<uint8_t> *memory = busy_ || p.get_address() >= map::SIZE ? nullptr : mapped(uint32_t(p.get_address()), &begin);
        if (!memory || p.get_address() < map::WINDOW_A) {
            dmi.set_start_address(p.get_address());
            dmi.set_end_address(p.get_address());
            return false;
        }
        dmi.set_dmi_ptr(memory->data());
        dmi.set_start_address(begin);
        dmi.set_end_address(begin + memory->size() - 1);
        dmi.allow_read_write();
        dmi.set_read_latency(settings_.period / double(settings_.port_bytes));
        dmi.set_write_latency(settings_.period / double(settings_.port_bytes));
        return true;
    }

    // --- registers ------------------------------------------------------------------------------------------------

    uint32_t &value(uint32_t address) { return value_[address / 4]; }

    uint32_t get(uint32_t at)
    {
        static const Program none;
        const Program &p = program_ ? *program_ : none;
        switch (at) {
        case map::ID: return map::IDENTITY;
        case map::VERSION: return map::VERSION_NOW;
        case map::LANES: return engine_->build().lanes;
        case map::STATUS: return (busy_ ? map::BUSY : 0) | (failure_.empty() ? 0 : map::FAILED);
        case map::SHIFTS: return p.rates();
        case map::RANDOM_LANES: return engine_->random[0];
        case map::RANDOM_SCALARS: return engine_->random[1];
        case map::CYCLES: return uint32_t(cycles_);
        case map::CYCLES_HIGH: return uint32_t(cycles_ >> 32);
        case map::SAMPLE: return p.sample;
        case map::SAMPLE_LEARN: return value(map::PHASE) < p.phases.size() ? p.phases[value(map::PHASE)].sample : 0;
        case map::SAMPLE_BYTES: return p.sample_bytes;
        case map::SCORES: return p.scores;
        case map::CLASSES: return p.classes;
        case map::STATE_BYTES: return p.state_bytes();
        default: return value(at);
        }
    }

    tlm::tlm_response_status set(uint32_t at, uint32_t given, const sc_core::sc_time &delay)
    {
        switch (at) {
        case map::CTRL: start(given, delay); break;
        case map::IRQ:
            value(at) = (given & map::ENABLED) | (value(at) & map::PENDING & ~given);
            changed_.notify(delay);
            break;
        case map::SEED:
            for (uint32_t which = 0; which < 2; which++) engine_->random[which] = key(given, which);
            value(at) = given;
            break;
        case map::RANDOM_LANES: engine_->random[0] = given; break;
        case map::RANDOM_SCALARS: engine_->random[1] = given; break;
        default: value(at) = at >= map::TRIGGERS_0 && at <= map::TRIGGERS_7 ? 0 : given; break;
        }
        return tlm::TLM_OK_RESPONSE;
    }

    // The start state of a random register in a run of a seed: two rounds of the 32-bit mixer lowbias32.
    static uint32_t key(uint32_t seed, uint32_t which) { return mix(mix(seed ^ isa::SEED_STREAM) + which * 0x9E3779B9u); }

    static uint32_t mix(uint32_t x)
    {
        x = (x ^ x >> 16) * 0x7FEB352Du;
        x = (x ^ x >> 15) * 0x846CA68Bu;
        return x ^ x >> 16;
    }

    // --- commands -------------------------------------------------------------------------------------------------

    void start(uint32_t command, const sc_core::sc_time &delay)
    {
        command_ = value(map::CTRL) = command;
        busy_ = true;
        failure_.clear();
        bus->invalidate_direct_mem_ptr(0, map::SIZE - 1);
        started_.notify(delay);
    }

    void work()
    {
        for (;;) {
            wait(started_);
            const sc_core::sc_time begin = sc_core::sc_time_stamp();
            keeper_.reset();
            cycles_ = 0;
            try {
                execute(command_);
            } catch (const Fault &fault) {
                failure_ = fault.what();
            }
            keeper_.sync();
            total_cycles_ += cycles_;
            busy_ = false;
            value(map::IRQ) |= map::PENDING;
            if (on_command) on_command(command_, begin, sc_core::sc_time_stamp());
            changed_.notify(sc_core::SC_ZERO_TIME);
        }
    }

    // The interrupt's line follows the register.
    void drive()
    {
        const bool level = value(map::IRQ) == (map::PENDING | map::ENABLED);
        irq.write(level);
        if (on_irq) on_irq(level);
    }

    void execute(uint32_t command)
    {
        if (command == map::DO_RUN) {
            spend(engine_->run(value(map::ENTRY), value(map::LABEL)));
            value(map::CLASS) = engine_->best_class();
            value(map::FLAGS) = engine_->flags();
            return;
        }
        if (command == map::DO_PROGRAM) return load_from_bus();
        if (!program_) throw Fault("no program is loaded: load one, or use RUN");
        if (command == map::DO_SAVE || command == map::DO_LOAD) return state(command == map::DO_SAVE);
        const uint32_t asked = command & ~map::DO_DMA;
        const bool both = asked == (map::DO_INFER | map::DO_LEARN);
        if (both ? command == asked : asked != map::DO_INFER && asked != map::DO_LEARN)
            throw Fault("command " + std::to_string(command) +
                        " does not go together; without DMA, INFER and LEARN are two commands with a sample each");
        if (command & map::DO_LEARN && (value(map::SHIFT) >= program_->rates() || value(map::PHASE) >= program_->phases.size()))
            throw Fault("the program " + program_->name + " has no such SHIFT or PHASE");
        if (!(command & map::DO_DMA)) return sample(command, value(map::LABEL));
        for (uint32_t i = 0; i < value(map::DMA_COUNT); i++) from_bus(command, i);
    }

    // A sample of those that lie on the bus, each followed by its label. A forward pass may write over the sample's
    // place in A, so that LEARN after INFER fetches it again.
    void from_bus(uint32_t command, uint32_t i)
    {
        const uint64_t record = uint64_t(program_->sample_bytes) + 1, address = value(map::DMA_SAMPLES) + i * record;
        std::vector<uint8_t> bytes(record);
        for (const uint32_t one : {command & map::DO_INFER, command & map::DO_LEARN}) {
            if (!one) continue;
            access(true, address, bytes.data(), bytes.size());
            const uint32_t place = one == map::DO_INFER ? program_->sample : program_->phases[value(map::PHASE)].sample;
            std::copy(bytes.begin(), bytes.end() - 1, engine_->a.begin() + place);
            sample(one, bytes.back());
            uint8_t found = uint8_t(value(map::CLASS));
            if (one == map::DO_INFER && value(map::DMA_CLASSES) != map::NOWHERE)
                access(false, uint64_t(value(map::DMA_CLASSES)) + i, &found, 1);
        }
    }

    // A forward pass or a training step, of the sample that lies in A.
    void sample(uint32_t command, uint32_t label)
    {
        if (command == map::DO_INFER) {
            spend(engine_->run(program_->infer, 0));
            value(map::CLASS) = engine_->best_class();
            return;
        }
        const Program::Phase &phase = program_->phases[value(map::PHASE)];
        for (uint32_t i = 0; i < isa::CLASSES && phase.one_hot != Program::NONE; i++)
            engine_->a[phase.one_hot + i] = i == label;
        spend(engine_->run(phase.entries[value(map::SHIFT)], label));
        value(map::FLAGS) = engine_->flags();
        for (uint32_t slot = 0; slot < isa::SLOTS; slot++)
            value(map::TRIGGERS_0 + 4 * slot) += engine_->flags() >> slot & 1;
        value(map::STEP)++;
    }

    void spend(uint64_t cycles)
    {
        cycles_ += cycles;
        keeper_.inc(settings_.period * double(cycles));
        if (keeper_.need_sync()) keeper_.sync();
    }

    // --- DMA ------------------------------------------------------------------------------------------------------

    void access(bool reads, uint64_t address, uint8_t *data, size_t n)
    {
        if (!dma.size()) throw Fault("the DMA socket is bound to nothing");
        tlm::tlm_generic_payload p;
        p.set_command(reads ? tlm::TLM_READ_COMMAND : tlm::TLM_WRITE_COMMAND);
        p.set_address(address);
        p.set_data_ptr(data);
        p.set_data_length(unsigned(n));
        p.set_streaming_width(unsigned(n));
        p.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
        sc_core::sc_time local = keeper_.get_local_time();
        dma->b_transport(p, local);
        if (!p.is_response_ok())
            throw Fault("DMA of " + std::to_string(n) + " bytes at " + std::to_string(address) + ": " +
                        p.get_response_string());
        dma_bytes_ += n;
        keeper_.set(local + settings_.period * double((n + settings_.port_bytes - 1) / settings_.port_bytes));
        if (keeper_.need_sync()) keeper_.sync();
    }

    void load_from_bus()
    {
        if (value(map::DMA_PROGRAM_BYTES) > MOST_PROGRAM_BYTES) throw Fault("a program of so many bytes is none");
        std::string text(value(map::DMA_PROGRAM_BYTES), ' ');
        if (!text.empty()) access(true, value(map::DMA_PROGRAM), reinterpret_cast<uint8_t *>(&text[0]), text.size());
        std::istringstream in(text);
        load(Program(in));
    }

    static constexpr uint32_t MOST_PROGRAM_BYTES = 1u << 24;

    // Random registers, steps done and residents, to the bus or from it.
    void state(bool saves)
    {
        std::vector<uint8_t> bytes(program_->state_bytes());
        uint32_t *numbers[] = {&engine_->random[0], &engine_->random[1], &value(map::STEP)};
        const auto a = engine_->a.begin(), w = engine_->w.begin();
        const size_t of_w = size_t(program_->state_w) * program_->build.lanes;
        if (saves) {
            for (unsigned i = 0; i < 12; i++) bytes[i] = uint8_t(*numbers[i / 4] >> 8 * (i % 4));
            std::copy_n(a, program_->state_a, bytes.begin() + 12);
            std::copy_n(w, of_w, bytes.begin() + 12 + program_->state_a);
        }
        access(!saves, value(map::DMA_STATE), bytes.data(), bytes.size());
        if (saves) return;
        for (unsigned i = 0; i < 3; i++)
            *numbers[i] = uint32_t(bytes[4 * i]) | uint32_t(bytes[4 * i + 1]) << 8 | uint32_t(bytes[4 * i + 2]) << 16 |
                          uint32_t(bytes[4 * i + 3]) << 24;
        std::copy_n(bytes.begin() + 12, program_->state_a, a);
        std::copy_n(bytes.begin() + 12 + program_->state_a, of_w, w);
    }
};

} // namespace insitu
