// A small system on chip: a processor that runs the control loop of the exported C, a memory, a bus, and engines that
// fetch samples by DMA (or are given them). Every sample is classified, then learned: accuracy before learning.
//
//     soc [OPTION VALUE]... PROGRAM SAMPLES [PROGRAM SAMPLES]...      an engine for each pair
//
//     --mode both|infer|learn (both)      what is done with a sample
//     --dma 0|1 (1)           samples come by DMA, or from the processor
//     --direct 0|1 (1)        the processor uses the direct memory interface
//     --chunk N (16)          samples of a command, with DMA
//     --samples N             how many of each; default: all
//     --quantum NS (1000)     by which the processor and DMA may run ahead
//     --clock NS (40)         period of the engines
//     --bus-clock NS          period of the bus; default: that of the engines
//     --width BYTES (4)       of the bus and the engines' ports
//     --latency NS (40)       of the memory
//     --shift N (0)           learning rate times 2**-N
//     --vcd FILE, --timeline FILE, --state FILE    signals; commands with begin and end; state of engine 0 at the end
#include "platform.hpp"
#include <cstdio>
#include <iterator>

using namespace insitu;
using namespace sc_core;

namespace {

uint32_t modes(const std::string &name)
{
    if (name == "both") return map::DO_INFER | map::DO_LEARN;
    if (name == "infer") return map::DO_INFER;
    if (name == "learn") return map::DO_LEARN;
    throw Fault("--mode is both, infer or learn, not '" + name + "'");
}

struct Options {
    bool dma = true, direct = true;
    uint32_t chunk = 16, samples = UINT32_MAX, width = 4, shift = 0;
    uint32_t mode = map::DO_INFER | map::DO_LEARN;
    double quantum = 1000, clock = 40, bus_clock = 0, latency = 40;
    std::string vcd, timeline, state;
    std::vector<std::string> files;

    Options(int argc, char **argv)
    {
        for (int i = 1; i < argc; i++) {
            const std::string word = argv[i];
            if (word.rfind("--", 0) != 0) {
                files.push_back(word);
            } else if (++i < argc) {
                set(word.substr(2), argv[i]);
            } else {
                throw Fault(word + " needs a value");
            }
        }
        if (files.empty() || files.size() % 2) throw Fault("pass a program and its samples for each engine");
        if (!chunk || !width || clock <= 0) throw Fault("--chunk, --width and --clock are 1 or more");
    }

  private:
    void set(const std::string &name, const std::string &value)
    {
        const std::map<std::string, std::function<void()>> known = {
            {"mode", [&] { mode = modes(value); }},
            {"dma", [&] { dma = value != "0"; }},
            {"direct", [&] { direct = value != "0"; }},
            {"chunk", [&] { chunk = uint32_t(std::stoul(value)); }},
            {"samples", [&] { samples = uint32_t(std::stoul(value)); }},
            {"width", [&] { width = uint32_t(std::stoul(value)); }},
            {"shift", [&] { shift = uint32_t(std::stoul(value)); }},
            {"quantum", [&] { quantum = std::stod(value); }},
            {"clock", [&] { clock = std::stod(value); }},
            {"bus-clock", [&] { bus_clock = std::stod(value); }},
            {"latency", [&] { latency = std::stod(value); }},
            {"vcd", [&] { vcd = value; }},
            {"timeline", [&] { timeline = value; }},
            {"state", [&] { state = value; }},
        };
        const auto found = known.find(name);
        if (found == known.end()) throw Fault("--" + name + " is no option");
        try {
            found->second();
        } catch (const std::logic_error &) {
            throw Fault("--" + name + " takes a number, not '" + value + "'");
        }
    }
};

std::vector<uint8_t> bytes_of(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file) throw Fault(path + " cannot be read");
    return std::vector<uint8_t>(std::istreambuf_iterator<char>(file), {});
}

// The work of one engine: the next sample, or chunk of samples, whenever its interrupt comes.
struct Task {
    uint64_t engine;                // its base on the bus
    uint32_t sample_bytes, samples; // and how many of them
    uint64_t stream, classes;       // where samples, and classes that were found, lie in memory
    const uint8_t *labels;          // the stream itself, for the processor that checks
    uint32_t begun = 0, done = 0, right = 0, right_of_second_half = 0;
    bool learning = false, ended = false;

    uint64_t record() const { return uint64_t(sample_bytes) + 1; }
    uint8_t label(uint32_t i) const { return labels[(i + 1) * record() - 1]; }

    void count(uint32_t i, uint8_t found)
    {
        right += found == label(i);
        right_of_second_half += i >= samples / 2 && found == label(i);
    }
};

struct Cpu : Host {
    Options options;
    std::deque<Task> tasks;
    Platform *platform = nullptr;
    std::string failure;
    sc_time end;

    SC_HAS_PROCESS(Cpu);
    Cpu(sc_module_name module_name, const Options &given) : Host(module_name), options(given)
    {
        direct = given.direct;
        SC_THREAD(run);
    }

    void run()
    {
        try {
            keeper.reset();
            for (Task &task : tasks) begin(task);
            while (next_interrupt()) {
            }
            keeper.sync();
            end = sc_time_stamp();
            if (!options.state.empty()) save();
        } catch (const Fault &fault) {
            failure = fault.what();
        }
        sc_stop();
    }

    void begin(Task &task)
    {
        set(task.engine + map::IRQ, map::PENDING | map::ENABLED);
        set(task.engine + map::SHIFT, options.shift);
        task.ended = task.samples == 0;
        task.learning = options.mode == map::DO_LEARN;
        if (!task.ended) advance(task);
    }

    // Waits for any engine and gives it more to do; false: all have ended.
    bool next_interrupt()
    {
        sc_event_or_list any;
        bool waits = false;
        for (size_t i = 0; i < tasks.size(); i++) {
            if (tasks[i].ended) continue;
            if (platform->irq[i].read()) return handle(i), true;
            any |= platform->irq[i].posedge_event();
            waits = true;
        }
        if (!waits) return false;
        keeper.sync();
        for (size_t i = 0; i < tasks.size(); i++)
            if (!tasks[i].ended && platform->irq[i].read()) return true;
        wait(any);
        keeper.reset();
        return true;
    }

    void handle(size_t i)
    {
        Task &task = tasks[i];
        until(platform->irq[i], task.engine);
        if (get(task.engine + map::STATUS) & map::FAILED) throw Fault(platform->engines[i].failure());
        options.dma ? collect(task) : taken(task);
        if (task.done == task.samples) task.ended = true;
        else advance(task);
    }

    // --- with DMA: a chunk is one command -------------------------------------------------------------------------

    void collect(Task &task)
    {
        if (!(options.mode & map::DO_INFER)) {
            task.done = task.begun;
            return;
        }
        std::vector<uint8_t> found(task.begun - task.done);
        if (transfer(true, task.classes + task.done, found.data(), unsigned(found.size())) != tlm::TLM_OK_RESPONSE)
            throw Fault("the memory does not answer");
        for (uint8_t one : found) task.count(task.done++, one);
    }

    void advance(Task &task)
    {
        if (!options.dma) return give(task);
        const uint32_t count = std::min(options.chunk, task.samples - task.begun);
        set(task.engine + map::DMA_SAMPLES, uint32_t(task.stream + task.begun * task.record()));
        set(task.engine + map::DMA_CLASSES, uint32_t(task.classes + task.begun));
        set(task.engine + map::DMA_COUNT, count);
        task.begun += count;
        set(task.engine + map::CTRL, options.mode | map::DO_DMA);
    }

    // --- without: the processor writes every sample, for the forward pass and for the training step ---------------

    void give(Task &task)
    {
        const uint32_t place = get(task.engine + (task.learning ? map::SAMPLE_LEARN : map::SAMPLE));
        put(task.engine + map::WINDOW_A + place, task.labels + task.done * task.record(), task.sample_bytes);
        if (task.learning) set(task.engine + map::LABEL, task.label(task.done));
        set(task.engine + map::CTRL, task.learning ? map::DO_LEARN : map::DO_INFER);
    }

    void taken(Task &task)
    {
        if (!task.learning) task.count(task.done, uint8_t(get(task.engine + map::CLASS)));
        const bool both = options.mode == (map::DO_INFER | map::DO_LEARN);
        if (task.learning || !both) task.done++;
        if (both) task.learning = !task.learning;
    }

    void save()
    {
        const uint64_t engine = tasks[0].engine, at = MEMORY_BASE + MEMORY_BYTES / 2;
        std::vector<uint8_t> bytes(get(engine + map::STATE_BYTES));
        set(engine + map::DMA_STATE, uint32_t(at));
        set(engine + map::CTRL, map::DO_SAVE);
        until(platform->irq[0], engine);
        if (transfer(true, at, bytes.data(), unsigned(bytes.size())) != tlm::TLM_OK_RESPONSE) throw Fault("no state");
        std::ofstream(options.state, std::ios::binary).write(reinterpret_cast<const char *>(bytes.data()), std::streamsize(bytes.size()));
    }
};

const std::vector<std::string> NO_NAMES;

double share(double part, double whole) { return whole ? 100 * part / whole : 0; }

void report(const Cpu &cpu, const Platform &platform)
{
    for (size_t i = 0; i < cpu.tasks.size(); i++) {
        const Task &task = cpu.tasks[i];
        const EngineTarget &engine = platform.engines[i];
        std::printf("engine%zu %s: %u samples, ", i, engine.program()->name.c_str(), task.samples);
        if (cpu.options.mode & map::DO_INFER)
            std::printf("right%s %.2f %%, of the second half %.2f %%, ", cpu.options.mode & map::DO_LEARN ? " before learning" : "",
                        share(task.right, task.samples), share(task.right_of_second_half, task.samples - task.samples / 2));
        std::printf("%llu cycles\n", static_cast<unsigned long long>(engine.total_cycles()));
        const std::vector<std::string> &names = engine.program()->phases.empty() ? NO_NAMES : engine.program()->phases[0].triggers;
        for (size_t slot = 0; slot < names.size(); slot++)
            std::printf("%s%s %.1f %%%s", slot ? ", " : "  triggers: ", names[slot].c_str(),
                        share(engine.triggered(uint32_t(slot)), task.samples), slot + 1 == names.size() ? "\n" : "");
    }
    const double all = cpu.end.to_seconds();
    std::printf("time %.6f ms; bus taken %.2f %% of it", 1e3 * all, share(platform.bus.taken().to_seconds(), all));
    for (size_t i = 0; i <= cpu.tasks.size(); i++) {
        const Bus::Load &load = platform.bus.load(i);
        const std::string who = i ? "engine" + std::to_string(i - 1) : "processor";
        std::printf("; %s %llu bytes, waited %.3f %%", who.c_str(), static_cast<unsigned long long>(load.bytes),
                    share(load.waited.to_seconds(), all));
    }
    std::printf("\nprocessor: %llu accesses by the bus, %llu direct\n", static_cast<unsigned long long>(cpu.transfers),
                static_cast<unsigned long long>(cpu.direct_transfers));
}

int simulate(int argc, char **argv)
{
    const Options options(argc, argv);
    const size_t count = options.files.size() / 2;
    tlm::tlm_global_quantum::instance().set(sc_time(options.quantum, SC_NS));
    Cpu cpu("cpu", options);
    Settings settings;
    settings.period = sc_time(options.clock, SC_NS);
    settings.port_bytes = options.width;
    const sc_time bus_period(options.bus_clock > 0 ? options.bus_clock : options.clock, SC_NS);
    Platform platform(count, settings, bus_period, options.width, sc_time(options.latency, SC_NS), cpu);
    cpu.platform = &platform;
    std::vector<std::vector<uint8_t>> streams;
    streams.reserve(count);
    std::ofstream timeline;
    if (!options.timeline.empty()) timeline.open(options.timeline);
    uint64_t free = 0;
    for (size_t i = 0; i < count; i++) {
        std::ifstream file(options.files[2 * i]);
        EngineTarget &engine = platform.engines[i];
        engine.load(Program(file));
        streams.push_back(bytes_of(options.files[2 * i + 1]));
        const std::vector<uint8_t> &stream = streams.back();
        const uint32_t record = engine.program()->sample_bytes + 1;
        const uint32_t samples = std::min(options.samples, uint32_t(stream.size() / record));
        if (options.mode & map::DO_LEARN && engine.program()->phases.empty()) throw Fault(options.files[2 * i] + " has no training step");
        if (free + stream.size() + samples > MEMORY_BYTES / 2) throw Fault("the samples do not fit the memory");
        std::copy(stream.begin(), stream.end(), platform.memory.bytes.begin() + std::ptrdiff_t(free));
        cpu.tasks.push_back({engine_at(i), record - 1, samples, MEMORY_BASE + free, MEMORY_BASE + free + stream.size(), stream.data()});
        free += stream.size() + samples;
        if (timeline.is_open())
            engine.on_command = [&timeline, i](uint32_t, sc_time begin, sc_time end) {
                timeline << "engine" << i << ',' << begin.to_seconds() << ',' << end.to_seconds() << '\n';
            };
    }
    sc_trace_file *vcd = options.vcd.empty() ? nullptr : sc_create_vcd_trace_file(options.vcd.c_str());
    for (size_t i = 0; vcd && i < count; i++) sc_trace(vcd, platform.irq[i], platform.irq[i].name());
    for (size_t i = 0; vcd && i < count; i++) platform.engines[i].trace(vcd);
    sc_start();
    if (vcd) sc_close_vcd_trace_file(vcd);
    if (!cpu.failure.empty()) throw Fault(cpu.failure);
    report(cpu, platform);
    return 0;
}

} // namespace

int sc_main(int argc, char **argv)
{
    try {
        return simulate(argc, argv);
    } catch (const Fault &fault) {
        std::printf("soc: %s\n", fault.what());
        return 2;
    }
}
