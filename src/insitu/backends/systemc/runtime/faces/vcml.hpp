// The engine in VCML (MachineWare): its sockets are TLM-2.0 sockets of 64 bits, to which the face's sockets bind.
//
//     insitu::VcmlEngine engine("engine", settings, [&](bool level) { irq = level; });    // irq: a gpio_initiator_socket
//     bus.bind(engine.in, {base, base + insitu::map::SIZE - 1});
//
// Not compiled with VCML itself: its headers cannot be had from a package. The test binds the same sockets to initiators
// and targets of 64 bits.
#pragma once
#include "wide.hpp"

namespace insitu {

struct VcmlEngine : WideEngine<64> {
    VcmlEngine(sc_core::sc_module_name module_name, const Settings &settings, std::function<void(bool)> irq)
        : WideEngine<64>(module_name, settings, [irq](int, int level) { irq(level != 0); })
    {
    }
};

} // namespace insitu
