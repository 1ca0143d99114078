"""C++ headers that are written from tables: the instruction set, its timing and the map of the bus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from zlib import crc32

from insitu.backends.engine import bus, isa
from insitu.backends.engine.build import BYTE_BITS, WIDE_FRACTION
from insitu.backends.engine.cycles import PROLOGUE, TIMING
from insitu.backends.engine.isa import Field, Register
from insitu.numbers import prng
from insitu.numbers.lfsr import REGISTERS

ENUMS: dict[str, type[IntEnum]] = {"first": isa.A, "second": isa.B, "to": isa.To, "prologue": isa.Prologue}

EXTENDED = """\
constexpr int32_t extended(uint32_t raw, unsigned bits)
{
    return int32_t(raw << (32 - bits)) >> (32 - bits);
}"""


def instruction_set() -> str:
    """``isa.hpp``: numbers and fields of registers, what fields say, sizes and cycles."""
    constants = {
        "WORD_BITS": isa.WORD_BITS,
        "DATA_BITS": isa.DATA_BITS,
        "DATA_MASK": (1 << isa.DATA_BITS) - 1,
        "REGISTERS": 1 << isa.WORD_BITS - isa.DATA_BITS,
        "LEVELS": isa.LEVELS,
        "SLOTS": isa.SLOTS,
        "CLASSES": isa.CLASSES,
        "TABLE": isa.TABLE,
        "MOST_ADDRESS_BITS": isa.MOST_ADDRESS_BITS,
        "MOST_INSTRUCTIONS": 1 << isa.BY_NAME["BRZ"].fields[0].bits,
        "WIDE_FRACTION": WIDE_FRACTION,
        "BYTE_BITS": BYTE_BITS,
        "SEED_STREAM": prng.mix(crc32(REGISTERS.encode())),
        "START_CYCLES": TIMING.start,
        "INSTRUCTION_CYCLES": TIMING.instruction,
        "TAKEN_CYCLES": TIMING.taken,
        "GO_CYCLES": TIMING.go,
        "DRAIN_CYCLES": TIMING.drain,
        "SERIAL_CYCLES": TIMING.serial,
        "RELOAD_CYCLES": TIMING.reload,
        "SOFTMAX_CYCLES": TIMING.softmax,
        "SOFTMAX_SCORE_CYCLES": TIMING.softmax_score,
    }
    states = ", ".join(f"{state:#x}" for state in isa.RESET_STATES)
    numbers = "\n".join(_number(r) for r in isa.REGISTERS)
    return _header(
        "The instruction set of the learning engine, from insitu.backends.engine.isa.",
        "isa",
        [
            *(f"constexpr uint32_t {name} = {value};" for name, value in constants.items()),
            f"constexpr uint32_t RESET_STATES[] = {{{states}}};",
            f"constexpr uint32_t PROLOGUE_CYCLES[] = {{{', '.join(map(str, _prologues()))}}};",
            "",
            f"enum Number : uint32_t {{\n{numbers}\n}};",
            *(_enum(name, values) for name, values in ENUMS.items()),
            "",
            EXTENDED,
            "",
            *(_struct(r) for r in isa.REGISTERS if r.fields),
        ],
    )


def map_of_the_bus() -> str:
    """``map.hpp``: registers and windows of :mod:`insitu.backends.engine.bus`, in C++."""
    lines = [f"constexpr uint32_t {name} = {value:#x};" for name, value in bus.constants().items()]
    registers = ",\n".join(
        f'    {{"{r.name}", {r.address:#x}, {str(r.reads).lower()}, {str(r.writes).lower()}}}'
        for r in bus.REGISTERS
    )
    struct = "struct Register {\n    const char *name;\n    uint32_t address;\n    bool reads, writes;\n};"
    table = f"constexpr Register REGISTERS[] = {{\n{registers},\n}};"
    title = "The engine on its bus, from insitu.backends.engine.bus: byte addresses, registers of 32 bits."
    return _header(title, "map", [*lines, "", struct, table])


def c_header() -> str:
    """``insitu_engine.h``: the same for a driver in C."""
    lines = ["/* The learning engine on its bus: byte offsets, registers of 32 bits. Written by insitu. */"]
    lines += ["#ifndef INSITU_ENGINE_H", "#define INSITU_ENGINE_H", ""]
    for r in bus.REGISTERS:
        kind = "read and written" if r.reads and r.writes else "read" if r.reads else "written"
        lines.append(f"#define INSITU_ENGINE_{r.name} {r.address:#x}u /* {kind}: {r.doc} */")
    known = {r.name for r in bus.REGISTERS}
    lines.append("")
    lines += [
        f"#define INSITU_ENGINE_{name} {value:#x}u"
        for name, value in bus.constants().items()
        if name not in known
    ]
    return "\n".join([*lines, "", "#endif", ""])


def _header(title: str, namespace: str, lines: Iterable[str]) -> str:
    begin = f"// {title}\n#pragma once\n#include <cstdint>\n\nnamespace insitu::{namespace} {{\n"
    return "\n".join([begin, *lines, "", f"}} // namespace insitu::{namespace}", ""])


def _prologues() -> Iterator[int]:
    """Cycles of a prologue by its number; of numbers that are none, 0."""
    bits = next(f.bits for f in isa.BY_NAME["CTL"].fields if f.name == "prologue")
    known = {int(kind): cycles for kind, cycles in PROLOGUE.items()}
    return (known.get(n, 0) for n in range(1 << bits))


def _number(register: Register) -> str:
    return f"    {register.name} = {register.code}, // {register.doc}"


def _enum(name: str, values: type[IntEnum]) -> str:
    inside = ", ".join(f"{v.name} = {int(v)}" for v in values)
    return f"namespace {name} {{\nenum : uint32_t {{ {inside} }};\n}}"


def _struct(register: Register) -> str:
    """The fields of a register, taken from its data."""
    name = register.name.capitalize()
    name = f"{name}Fields" if name == register.name else name
    fields = "\n".join(
        f"    {'int32_t' if f.signed else 'uint32_t'} {f.name}; // {f.doc}" for f in register.fields
    )
    taken = ", ".join(f"{f.name}({_take(f)})" for f in register.fields)
    return f"struct {name} {{\n{fields}\n    explicit {name}(uint32_t data) : {taken} {{}}\n}};"


def _take(field: Field) -> str:
    raw = f"data >> {field.at} & {(1 << field.bits) - 1:#x}"
    return f"extended({raw}, {field.bits})" if field.signed else raw
