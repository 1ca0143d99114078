// The engine in VPSim (CEA-List): VPSim's SystemCTarget sends the accesses of its platform through `_out`, a stock
// loosely timed socket, and takes interrupts by the function `_int(line, value)`.
//
//     SystemCTarget target("engine", insitu::map::SIZE);
//     insitu::VpsimEngine engine("model", settings, target);      // binds _out, uses _int
//
// Not compiled with VPSim itself: its headers cannot be had from a package. The test builds it against a class of the
// same two members.
#pragma once
#include "wide.hpp"

namespace insitu {

struct VpsimEngine : WideEngine<32> {
    template <class SystemCTarget>
    VpsimEngine(sc_core::sc_module_name module_name, const Settings &settings, SystemCTarget &target, int line = 0,
                uint64_t base = 0)
        : WideEngine<32>(module_name, settings, [&target](int which, int level) { target._int(which, level); }, line, base)
    {
        target._out.bind(in);
    }
};

} // namespace insitu
