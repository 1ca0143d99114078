// The engine as an accelerator of SECDA: a clock, a reset and two streams of 32-bit words, as AXI-Stream DMA brings them.
//
//     in:  command (INFER, LEARN or both, as the bus map says), label, then the sample, four bytes a word, low byte first
//     out: class, flags of triggers, cycles; the last word has tlast set
//
// DATA is the platform's own type of a word, with the members `data` and `tlast`. INFER and LEARN together learn after
// the forward pass. Not compiled with SECDA itself, which builds inside TensorFlow; the test has a DATA of the same shape.
#pragma once
#include "../program.hpp"
#include <systemc>

namespace insitu {

template <class DATA> class SecdaEngine : public sc_core::sc_module {
  public:
    sc_core::sc_in<bool> clock, reset;
    sc_core::sc_fifo_in<DATA> din1;
    sc_core::sc_fifo_out<DATA> dout1;

    SC_HAS_PROCESS(SecdaEngine);
    SecdaEngine(sc_core::sc_module_name module_name, const Program &program)
        : sc_module(module_name), clock("clock"), reset("reset"), din1("din1"), dout1("dout1"), program_(program),
          engine_(program.loaded())
    {
        SC_CTHREAD(work, clock.pos());
        reset_signal_is(reset, true);
    }

    const Engine &engine() const { return *engine_; }

  private:
    Program program_;
    std::unique_ptr<Engine> engine_;

    void work()
    {
        wait();
        for (;;) {
            const uint32_t command = take(), label = take();
            std::vector<uint8_t> sample;
            while (sample.size() < program_.sample_bytes) {
                const uint32_t word = take();
                for (unsigned i = 0; i < 4 && sample.size() < program_.sample_bytes; i++)
                    sample.push_back(uint8_t(word >> 8 * i));
            }
            uint64_t cycles = 0;
            if (command & map::DO_INFER) cycles += infer(sample);
            const uint32_t found = engine_->best_class();
            if (command & map::DO_LEARN) cycles += learn(sample, label);
            for (uint64_t i = 0; i < cycles; i++) wait();
            give(found, false);
            give(engine_->flags(), false);
            give(uint32_t(cycles), true);
        }
    }

    uint64_t infer(const std::vector<uint8_t> &sample)
    {
        std::copy(sample.begin(), sample.end(), engine_->a.begin() + program_.sample);
        return engine_->run(program_.infer, 0);
    }

    uint64_t learn(const std::vector<uint8_t> &sample, uint32_t label)
    {
        const Program::Phase &phase = program_.phases.at(0);
        std::copy(sample.begin(), sample.end(), engine_->a.begin() + phase.sample);
        for (uint32_t i = 0; i < isa::CLASSES && phase.one_hot != Program::NONE; i++)
            engine_->a[phase.one_hot + i] = i == label;
        return engine_->run(phase.entries.at(0), label);
    }

    uint32_t take() { return uint32_t(din1.read().data); }

    void give(uint32_t word, bool last)
    {
        DATA d;
        d.data = word;
        d.tlast = last;
        dout1.write(d);
    }
};

} // namespace insitu
