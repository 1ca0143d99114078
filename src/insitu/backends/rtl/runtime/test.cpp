// Replays a golden trace on the simulated engine: 0 if every run takes its cycles and every word read is as expected.
#include "sim.cpp"
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

// Words of the host port, hexadecimal.
std::vector<uint32_t> words_of(std::istringstream &line, int count)
{
    std::vector<uint32_t> words(size_t(count) * HOST_WORDS);
    std::string text;
    for (int i = 0; i < count && line >> text; i++) {
        for (size_t part = 0, end = text.size(); end > 0 && part < HOST_WORDS; part++) {
            size_t first = end > 8 ? end - 8 : 0;
            words[size_t(i) * HOST_WORDS + part] = uint32_t(std::stoul(text.substr(first, end - first), nullptr, 16));
            end = first;
        }
    }
    return words;
}

} // namespace

int main(int argc, char **argv)
{
    std::ifstream file(argc > 1 ? argv[1] : "trace.txt");
    sim *engine = sim_new();
    int number = 0, runs = 0;
    for (std::string text; std::getline(file, text);) {
        std::istringstream line(text);
        std::string what;
        int memory, address, count;
        line >> what >> memory >> address >> count;
        number++;
        if (what == "run") {
            int64_t cycles = sim_run(engine, memory, address, int64_t(count) + 1);
            runs++;
            if (cycles != count) return std::printf("line %d: a run does not take %d cycles\n", number, count), 1;
            continue;
        }
        std::vector<uint32_t> words = words_of(line, count);
        if (what == "write") {
            sim_write(engine, memory, address, words.data(), count);
            continue;
        }
        std::vector<uint32_t> found(words.size());
        sim_read(engine, memory, address, found.data(), count);
        if (found != words) return std::printf("line %d: memory %d from %d on differs\n", number, memory, address), 1;
    }
    std::printf("%d lines, %d runs: equal\n", number, runs);
    return runs ? 0 : 1;
}
