// A program as data: what `insitu export systemc` writes as program.txt, and what an engine must have to run it.
#pragma once
#include "engine.hpp"
#include "map.hpp"
#include <functional>
#include <istream>
#include <map>
#include <memory>
#include <sstream>

namespace insitu {

// What there is of an engine: a program that asks for more is refused.
struct Capacity {
    unsigned lanes = 32;
    uint32_t a_bytes = 1u << isa::MOST_ADDRESS_BITS, w_words = 1u << isa::MOST_ADDRESS_BITS;
    uint32_t code_words = isa::MOST_INSTRUCTIONS;
    bool softmax = true;
};

class Program {
  public:
    static constexpr uint32_t NONE = 0xFFFFFFFF;

    // A training step.
    struct Phase {
        uint32_t sample = 0;               // where a sample lies in A
        uint32_t one_hot = NONE;           // where a label lies in A as 16 bytes; NONE: nowhere
        std::vector<uint32_t> entries;     // of its microcode, by SHIFT
        std::vector<std::string> triggers; // names of the flags
    };

    std::string name;
    Build build;
    bool softmax = false;
    uint32_t sample_bytes = 0;
    uint32_t infer = 0, sample = 0;         // the forward pass, and where its sample lies
    uint32_t scores = 0, classes = 0;       // where its scores lie
    std::vector<Phase> phases;
    uint32_t state_a = 0, state_w = 0;      // bytes and words of the residents, from 0 on
    uint32_t states[2] = {0, 0}, steps = 0; // of the random registers; training steps done before

    uint32_t rates() const { return phases.empty() ? 0 : uint32_t(phases[0].entries.size()); }

    Program() = default;

    // Reads a program, line by line: a word that says what, and numbers.
    explicit Program(std::istream &in)
    {
        std::string line, what;
        for (unsigned number = 1; std::getline(in, line); number++) {
            std::istringstream words(line);
            if (!(words >> what)) continue;
            try {
                read(what, words);
            } catch (const Fault &fault) {
                throw Fault("line " + std::to_string(number) + " of the program: " + fault.what());
            }
        }
        check();
    }

    // Why an engine cannot run it; empty: it can.
    std::string refused(const Capacity &there) const
    {
        std::ostringstream said;
        auto most = [&](const char *what, uint32_t needed, uint32_t has) {
            if (needed > has && said.str().empty())
                said << "program " << name << " needs " << needed << ' ' << what << "; the engine has " << has;
        };
        most("lanes", build.lanes, there.lanes);
        most("bytes of activations", build.a_bytes, there.a_bytes);
        most("words of weights", build.w_words, there.w_words);
        most("instructions", build.code_words, there.code_words);
        most("unit for errors of a softmax", softmax, there.softmax);
        return said.str();
    }

    // An engine with the program in its memories.
    std::unique_ptr<Engine> loaded() const
    {
        auto engine = std::make_unique<Engine>(build);
        for (const auto &[address, bytes] : a_) std::copy(bytes.begin(), bytes.end(), engine->a.begin() + address);
        for (const auto &[word, bytes] : w_)
            std::copy(bytes.begin(), bytes.end(), engine->w.begin() + size_t(word) * build.lanes);
        std::copy(code_.begin(), code_.end(), engine->code.begin());
        std::copy(table_.begin(), table_.end(), engine->table.begin());
        std::copy_n(states, 2, engine->random);
        return engine;
    }

    // Bytes of a state: two random registers, steps done, residents of A and of W.
    uint32_t state_bytes() const { return 12 + state_a + state_w * build.lanes; }

  private:
    std::vector<std::pair<uint32_t, std::vector<uint8_t>>> a_, w_; // address, bytes
    std::vector<uint64_t> code_;
    std::vector<uint16_t> table_;
    bool begun_ = false;

    void read(const std::string &what, std::istringstream &in)
    {
        const std::map<std::string, std::function<void()>> known = {
            {"insitu-engine", [&] { version(number(in)); }},
            {"name", [&] { std::getline(in >> std::ws, name); }},
            {"build", [&] { numbers(in, {&build.lanes, &build.fraction, &build.address_bits, &build.operand_bits,
                                         &build.weight_bits}); }},
            {"sizes", [&] { numbers(in, {&build.a_bytes, &build.w_words, &build.code_words}); }},
            {"softmax", [&] { softmax = number(in) != 0; }},
            {"sample", [&] { sample_bytes = number(in); }},
            {"infer", [&] { numbers(in, {&infer, &sample}); }},
            {"scores", [&] { numbers(in, {&scores, &classes}); }},
            {"phase", [&] { phase(in); }},
            {"triggers", [&] { triggers(in); }},
            {"state", [&] { numbers(in, {&state_a, &state_w, &steps, &states[0], &states[1]}); }},
            {"code", [&] { code_ = hexadecimal<uint64_t>(in, isa::MOST_INSTRUCTIONS); }},
            {"table", [&] { table_ = hexadecimal<uint16_t>(in, isa::TABLE); }},
            {"a", [&] { bytes(in, a_); }},
            {"w", [&] { bytes(in, w_); }},
        };
        const auto found = known.find(what);
        if (found == known.end()) throw Fault("'" + what + "' is no word of a program");
        if (!begun_ && what != "insitu-engine") throw Fault("this is no program of an engine");
        begun_ = true;
        found->second();
    }

    static void version(uint32_t given)
    {
        if (given != map::VERSION_NOW)
            throw Fault("it is of version " + std::to_string(given) + "; this model reads version " +
                        std::to_string(map::VERSION_NOW) + ": export it again");
    }

    static uint32_t number(std::istringstream &in)
    {
        int64_t value = -1;
        if (!(in >> value) || value < 0 || value > UINT32_MAX) throw Fault("a number is missing or out of range");
        return uint32_t(value);
    }

    static void numbers(std::istringstream &in, std::initializer_list<uint32_t *> targets)
    {
        for (uint32_t *target : targets) *target = number(in);
    }

    void phase(std::istringstream &in)
    {
        Phase found;
        uint32_t rates = 0;
        numbers(in, {&found.sample, &found.one_hot, &rates});
        if (!rates || rates > isa::MOST_INSTRUCTIONS) throw Fault("a phase has no entries, or too many");
        for (uint32_t i = 0; i < rates; i++) found.entries.push_back(number(in));
        phases.push_back(found);
    }

    void triggers(std::istringstream &in)
    {
        if (phases.empty()) throw Fault("triggers of no phase");
        for (std::string word; in >> word;) phases.back().triggers.push_back(word);
    }

    template <class Word> static std::vector<Word> hexadecimal(std::istringstream &in, size_t most)
    {
        std::vector<Word> found;
        for (uint64_t value; in >> std::hex >> value;) {
            if (value >> (8 * sizeof(Word) - 1) >> 1 || found.size() == most) throw Fault("too large or too many words");
            found.push_back(Word(value));
        }
        if (!in.eof()) throw Fault("a word is not hexadecimal");
        return found;
    }

    void bytes(std::istringstream &in, std::vector<std::pair<uint32_t, std::vector<uint8_t>>> &memory)
    {
        const uint32_t address = number(in);
        memory.emplace_back(address, hexadecimal<uint8_t>(in, map::SIZE));
    }

    // What the loader relies on.
    void check() const
    {
        auto no = [](const char *what) { throw Fault(std::string("the program is damaged: ") + what); };
        if (!begun_) no("it is empty");
        if (const std::string reason = build.refused(); !reason.empty()) no(reason.c_str());
        for (const auto &[address, bytes] : a_)
            if (address + bytes.size() > build.a_bytes) no("bytes behind the end of A");
        for (const auto &[word, bytes] : w_)
            if (uint64_t(word) * build.lanes + bytes.size() > uint64_t(build.w_words) * build.lanes)
                no("weights behind the end of W");
        if (code_.empty() || code_.size() > build.code_words) no("its instructions do not fit");
        auto inside = [&](uint32_t address, uint32_t bytes) { return uint64_t(address) + bytes <= build.a_bytes; };
        if (!inside(sample, sample_bytes)) no("samples behind the end of A");
        for (const Phase &p : phases) {
            if (!inside(p.sample, sample_bytes)) no("samples behind the end of A");
            if (p.one_hot != NONE && !inside(p.one_hot, isa::CLASSES)) no("labels behind the end of A");
            if (p.entries.size() != rates()) no("its phases have different rates");
        }
        if (state_a > build.a_bytes || state_w > build.w_words) no("a state behind the end of a memory");
    }
};

} // namespace insitu
