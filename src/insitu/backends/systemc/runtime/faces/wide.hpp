// The engine for platforms whose sockets have another width, such as the 64 bits of VPSim and VCML, and that take an
// interrupt as a function. Addresses may be absolute: the face takes off its base.
#pragma once
#include "../target.hpp"

namespace insitu {

template <unsigned BUSWIDTH = 64> class WideEngine : public sc_core::sc_module {
  public:
    tlm_utils::simple_target_socket<WideEngine, BUSWIDTH> in;
    tlm_utils::simple_initiator_socket_optional<WideEngine, BUSWIDTH> out; // DMA
    EngineTarget engine;

    // interrupt: called with a line's number and its level.
    WideEngine(sc_core::sc_module_name module_name, const Settings &settings, std::function<void(int, int)> interrupt,
               int line = 0, uint64_t base = 0)
        : sc_module(module_name), in("in"), out("out"), engine("engine", settings), base_(base), forward_("forward"),
          back_("back"), irq_("irq")
    {
        in.register_b_transport(this, &WideEngine::b_transport);
        in.register_transport_dbg(this, &WideEngine::transport_dbg);
        in.register_get_direct_mem_ptr(this, &WideEngine::get_direct_mem_ptr);
        forward_.register_invalidate_direct_mem_ptr(this, &WideEngine::invalidate);
        back_.register_b_transport(this, &WideEngine::dma);
        forward_.bind(engine.bus);
        engine.dma.bind(back_);
        engine.irq(irq_);
        engine.on_irq = [interrupt, line](bool level) { interrupt(line, level); };
    }

  private:
    uint64_t base_;
    tlm_utils::simple_initiator_socket<WideEngine> forward_;
    tlm_utils::simple_target_socket<WideEngine> back_;
    sc_core::sc_signal<bool> irq_;

    // Does something with a payload whose address is the engine's own.
    template <class Do> auto at_base(tlm::tlm_generic_payload &p, Do act)
    {
        const uint64_t address = p.get_address();
        p.set_address(address - base_);
        const auto found = act();
        p.set_address(address);
        return found;
    }

    void b_transport(tlm::tlm_generic_payload &p, sc_core::sc_time &delay)
    {
        at_base(p, [&] { return forward_->b_transport(p, delay), 0; });
    }

    unsigned transport_dbg(tlm::tlm_generic_payload &p)
    {
        return at_base(p, [&] { return forward_->transport_dbg(p); });
    }

    bool get_direct_mem_ptr(tlm::tlm_generic_payload &p, tlm::tlm_dmi &dmi)
    {
        const bool granted = at_base(p, [&] { return forward_->get_direct_mem_ptr(p, dmi); });
        dmi.set_start_address(dmi.get_start_address() + base_);
        dmi.set_end_address(dmi.get_end_address() + base_);
        return granted;
    }

    void invalidate(sc_dt::uint64 first, sc_dt::uint64 last) { in->invalidate_direct_mem_ptr(first + base_, last + base_); }

    void dma(tlm::tlm_generic_payload &p, sc_core::sc_time &delay)
    {
        if (out.size()) out->b_transport(p, delay);
        else p.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
    }
};

} // namespace insitu
