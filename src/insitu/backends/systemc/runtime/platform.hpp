// What an engine is put beside: a bus with contention, a memory, and a host that works on them.
#pragma once
#include "target.hpp"
#include <deque>

namespace insitu {

// A memory of bytes with a fixed latency.
class Memory : public sc_core::sc_module {
  public:
    tlm_utils::simple_target_socket<Memory> bus;
    std::vector<uint8_t> bytes;

    Memory(sc_core::sc_module_name module_name, size_t size, sc_core::sc_time latency)
        : sc_module(module_name), bus("bus"), bytes(size), latency_(latency)
    {
        bus.register_b_transport(this, &Memory::b_transport);
        bus.register_transport_dbg(this, &Memory::transport_dbg);
        bus.register_get_direct_mem_ptr(this, &Memory::get_direct_mem_ptr);
    }

  private:
    sc_core::sc_time latency_;

    void b_transport(tlm::tlm_generic_payload &p, sc_core::sc_time &delay)
    {
        if (p.get_byte_enable_ptr()) return p.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
        if (p.get_streaming_width() < p.get_data_length()) return p.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
        delay += latency_;
        p.set_dmi_allowed(true);
        p.set_response_status(transport_dbg(p) == p.get_data_length() ? tlm::TLM_OK_RESPONSE : tlm::TLM_ADDRESS_ERROR_RESPONSE);
    }

    unsigned transport_dbg(tlm::tlm_generic_payload &p)
    {
        const uint64_t at = p.get_address();
        const unsigned n = p.get_data_length();
        if (at > bytes.size() || n > bytes.size() - at) return 0;
        if (p.is_read()) std::memcpy(p.get_data_ptr(), bytes.data() + at, n);
        if (p.is_write()) std::memcpy(bytes.data() + at, p.get_data_ptr(), n);
        return n;
    }

    bool get_direct_mem_ptr(tlm::tlm_generic_payload &, tlm::tlm_dmi &dmi)
    {
        dmi.set_dmi_ptr(bytes.data());
        dmi.set_start_address(0);
        dmi.set_end_address(bytes.size() - 1);
        dmi.allow_read_write();
        return true;
    }
};

// A bus that carries one transfer at a time: an address cycle, then `width` bytes a cycle. Who comes while it is taken waits.
class Bus : public sc_core::sc_module {
  public:
    // Of everybody who asks: bytes, time on the bus, time waited for it.
    struct Load {
        uint64_t bytes = 0;
        sc_core::sc_time taken, waited;
    };

    // A target that answers to addresses from base on.
    struct Range {
        std::string name;
        uint64_t base, size;
    };

    Bus(sc_core::sc_module_name module_name, sc_core::sc_time period, unsigned width,
        const std::vector<std::string> &initiators, const std::vector<Range> &targets)
        : sc_module(module_name), period_(period), width_(width), ranges_(targets), loads_(initiators.size())
    {
        for (const std::string &who : initiators) {
            const int id = int(from.size());
            auto &socket = from.emplace_back(("from_" + who).c_str());
            socket.register_b_transport(this, &Bus::b_transport, id);
            socket.register_transport_dbg(this, &Bus::transport_dbg, id);
            socket.register_get_direct_mem_ptr(this, &Bus::get_direct_mem_ptr, id);
        }
        for (const Range &whom : targets) {
            const int id = int(to.size());
            to.emplace_back(("to_" + whom.name).c_str()).register_invalidate_direct_mem_ptr(this, &Bus::invalidate_direct_mem_ptr, id);
        }
    }

    std::deque<tlm_utils::simple_target_socket_tagged<Bus>> from; // of each initiator
    std::deque<tlm_utils::simple_initiator_socket_tagged<Bus>> to; // of each target

    const Load &load(size_t initiator) const { return loads_.at(initiator); }

    sc_core::sc_time taken() const
    {
        sc_core::sc_time sum;
        for (const Load &load : loads_) sum += load.taken;
        return sum;
    }

  private:
    sc_core::sc_time period_, free_;
    unsigned width_;
    std::vector<Range> ranges_;
    std::vector<Load> loads_;

    int target(uint64_t at, uint64_t n) const
    {
        for (size_t i = 0; i < ranges_.size(); i++)
            if (at >= ranges_[i].base && at - ranges_[i].base < ranges_[i].size && n <= ranges_[i].size - (at - ranges_[i].base))
                return int(i);
        return -1;
    }

    void b_transport(int id, tlm::tlm_generic_payload &p, sc_core::sc_time &delay)
    {
        const unsigned n = p.get_data_length();
        const uint64_t at = p.get_address();
        const int which = target(at, n);
        if (which < 0) return p.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
        const sc_core::sc_time asked = sc_core::sc_time_stamp() + delay, begin = std::max(asked, free_);
        const sc_core::sc_time taken = period_ * double(1 + (n + width_ - 1) / width_);
        free_ = begin + taken;
        Load &load = loads_[size_t(id)];
        load.bytes += n;
        load.taken += taken;
        load.waited += begin - asked;
        delay = free_ - sc_core::sc_time_stamp();
        p.set_address(at - ranges_[size_t(which)].base);
        to[size_t(which)]->b_transport(p, delay);
        p.set_address(at);
    }

    unsigned transport_dbg(int, tlm::tlm_generic_payload &p)
    {
        const uint64_t at = p.get_address();
        const int which = target(at, p.get_data_length());
        if (which < 0) return 0;
        p.set_address(at - ranges_[size_t(which)].base);
        const unsigned n = to[size_t(which)]->transport_dbg(p);
        p.set_address(at);
        return n;
    }

    bool get_direct_mem_ptr(int, tlm::tlm_generic_payload &p, tlm::tlm_dmi &dmi)
    {
        const uint64_t at = p.get_address();
        const int which = target(at, 1);
        if (which < 0) return false;
        const uint64_t base = ranges_[size_t(which)].base;
        p.set_address(at - base);
        const bool granted = to[size_t(which)]->get_direct_mem_ptr(p, dmi);
        p.set_address(at);
        dmi.set_start_address(dmi.get_start_address() + base);
        dmi.set_end_address(dmi.get_end_address() + base);
        return granted;
    }

    void invalidate_direct_mem_ptr(int id, sc_dt::uint64 first, sc_dt::uint64 last)
    {
        const uint64_t base = ranges_[size_t(id)].base;
        for (auto &socket : from) socket->invalidate_direct_mem_ptr(first + base, last + base);
    }
};

// An initiator in the place of a processor: accesses the bus ahead of time, by at most the quantum.
class Host : public sc_core::sc_module {
  public:
    tlm_utils::simple_initiator_socket<Host> bus;
    bool direct = true; // uses DMI where it is granted

    explicit Host(sc_core::sc_module_name module_name) : sc_module(module_name), bus("bus")
    {
        bus.register_invalidate_direct_mem_ptr(this, &Host::invalidate);
    }

    tlm_utils::tlm_quantumkeeper keeper;
    uint64_t transfers = 0, direct_transfers = 0;

    // One transaction; what it was answered.
    tlm::tlm_response_status access(tlm::tlm_generic_payload &p)
    {
        transfers++;
        sc_core::sc_time local = keeper.get_local_time();
        p.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
        bus->b_transport(p, local);
        keeper.set(local);
        if (keeper.need_sync()) keeper.sync();
        return p.get_response_status();
    }

    tlm::tlm_response_status transfer(bool reads, uint64_t at, uint8_t *data, unsigned n)
    {
        if (direct && directly(reads, at, data, n)) return tlm::TLM_OK_RESPONSE;
        tlm::tlm_generic_payload p;
        p.set_command(reads ? tlm::TLM_READ_COMMAND : tlm::TLM_WRITE_COMMAND);
        p.set_address(at);
        p.set_data_ptr(data);
        p.set_data_length(n);
        p.set_streaming_width(n);
        const tlm::tlm_response_status status = access(p);
        if (direct && status == tlm::TLM_OK_RESPONSE && p.is_dmi_allowed()) {
            tlm::tlm_dmi dmi;
            if (bus->get_direct_mem_ptr(p, dmi)) granted_.push_back(dmi);
        }
        return status;
    }

    uint32_t get(uint64_t at)
    {
        uint8_t bytes[4];
        checked(transfer(true, at, bytes, 4), at);
        return uint32_t(bytes[0]) | uint32_t(bytes[1]) << 8 | uint32_t(bytes[2]) << 16 | uint32_t(bytes[3]) << 24;
    }

    void set(uint64_t at, uint32_t value)
    {
        uint8_t bytes[] = {uint8_t(value), uint8_t(value >> 8), uint8_t(value >> 16), uint8_t(value >> 24)};
        checked(transfer(false, at, bytes, 4), at);
    }

    void put(uint64_t at, const uint8_t *data, size_t n)
    {
        checked(transfer(false, at, const_cast<uint8_t *>(data), unsigned(n)), at);
    }

    // Waits for the interrupt of an engine and clears it.
    void until(const sc_core::sc_signal<bool> &irq, uint64_t engine)
    {
        keeper.sync();
        if (!irq.read()) wait(irq.posedge_event());
        keeper.reset();
        set(engine + map::IRQ, map::PENDING | map::ENABLED);
        keeper.sync();
        while (irq.read()) wait(irq.negedge_event());
        keeper.reset();
    }

  private:
    std::vector<tlm::tlm_dmi> granted_;

    bool directly(bool reads, uint64_t at, uint8_t *data, unsigned n)
    {
        for (tlm::tlm_dmi &dmi : granted_) {
            if (at < dmi.get_start_address() || at > dmi.get_end_address() || n - 1 > dmi.get_end_address() - at) continue;
            uint8_t *there = dmi.get_dmi_ptr() + (at - dmi.get_start_address());
            if (reads) std::memcpy(data, there, n);
            else std::memcpy(there, data, n);
            keeper.inc((reads ? dmi.get_read_latency() : dmi.get_write_latency()) * double(n));
            if (keeper.need_sync()) keeper.sync();
            direct_transfers++;
            return true;
        }
        return false;
    }

    void invalidate(sc_dt::uint64 first, sc_dt::uint64 last)
    {
        auto gone = [&](const tlm::tlm_dmi &d) { return d.get_start_address() <= last && first <= d.get_end_address(); };
        granted_.erase(std::remove_if(granted_.begin(), granted_.end(), gone), granted_.end());
    }

    static void checked(tlm::tlm_response_status status, uint64_t at)
    {
        if (status == tlm::TLM_OK_RESPONSE) return;
        tlm::tlm_generic_payload p;
        p.set_response_status(status);
        throw Fault("the bus answers " + p.get_response_string() + " at address " + std::to_string(at));
    }
};

// Where everything lies on the bus of the platforms here.
constexpr uint64_t MEMORY_BASE = 0x10000000, MEMORY_BYTES = 0x4000000, ENGINE_BASE = 0x20000000;
constexpr uint64_t engine_at(size_t i) { return ENGINE_BASE + i * map::SIZE; }

// Engines, a memory and a bus between them and a host.
struct Platform {
    Bus bus;
    Memory memory;
    std::deque<EngineTarget> engines;
    std::deque<sc_core::sc_signal<bool>> irq;

    Platform(size_t count, const Settings &settings, sc_core::sc_time period, unsigned width, sc_core::sc_time latency,
             Host &host)
        : bus("bus", period, width, initiators(count), targets(count)), memory("memory", MEMORY_BYTES, latency)
    {
        sc_core::sc_report_handler::set_actions("/OSCI/SystemC", sc_core::SC_DO_NOTHING); // "stopped by user"
        host.bus.bind(bus.from[0]);
        bus.to[0].bind(memory.bus);
        for (size_t i = 0; i < count; i++) {
            EngineTarget &engine = engines.emplace_back(("engine" + std::to_string(i)).c_str(), settings);
            engine.irq(irq.emplace_back(("irq" + std::to_string(i)).c_str()));
            engine.dma.bind(bus.from[i + 1]);
            bus.to[i + 1].bind(engine.bus);
        }
    }

  private:
    static std::vector<std::string> initiators(size_t count)
    {
        std::vector<std::string> found{"host"};
        for (size_t i = 0; i < count; i++) found.push_back("engine" + std::to_string(i));
        return found;
    }

    static std::vector<Bus::Range> targets(size_t count)
    {
        std::vector<Bus::Range> found{{"memory", MEMORY_BASE, MEMORY_BYTES}};
        for (size_t i = 0; i < count; i++) found.push_back({"engine" + std::to_string(i), engine_at(i), map::SIZE});
        return found;
    }
};

} // namespace insitu
