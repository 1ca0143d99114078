"""The engine on a bus: one map of registers and memories, from which headers, models, the bridge and docs are written.

Registers have 32 bits and are accessed whole. Memories are windows: A and W byte by byte (a word of W is P bytes, a
weight each), an instruction is 8 bytes and an exponential of the table 2, both with the low byte first.
"""

from __future__ import annotations

from dataclasses import dataclass

IDENTITY = 0x4C534E49
"""``INSL``, low byte first."""
VERSION = 1
"""Of this map and of the instruction set."""


@dataclass(frozen=True)
class Register:
    """A register of the bus.

    Attributes:
        address: bytes from the engine's base.
        doc: what it holds.
        reads, writes: it may be read, written.
        hardware: the bridge of the RTL has it too; the others are of the model, which knows what a program is.
    """

    name: str
    address: int
    doc: str
    reads: bool = True
    writes: bool = True
    hardware: bool = False


IN_HARDWARE = frozenset(
    ("ID", "VERSION", "LANES", "CTRL", "STATUS", "IRQ", "LABEL", "ENTRY", "CYCLES", "CLASS", "FLAGS")
) | {"RANDOM_LANES", "RANDOM_SCALARS"}
"""What the bridge has: of the commands, RUN; random registers are read there, and loaded by microcode."""


def _registers() -> tuple[Register, ...]:
    found: list[Register] = []

    def add(name: str, doc: str, access: str = "rw") -> None:
        found.append(Register(name, 4 * len(found), doc, "r" in access, "w" in access, name in IN_HARDWARE))

    add("ID", "INSL in ASCII, low byte first", "r")
    add("VERSION", "of this map and the instruction set", "r")
    add("LANES", "products of a cycle, P", "r")
    add("CTRL", "starts a command: see the bits of a command")
    add("STATUS", "bit 0 busy, bit 1 the last command failed; the text of a failure is in the report", "r")
    add("IRQ", "bit 0 the interrupt is pending, bit 1 it is enabled; writing a 1 to bit 0 clears it")
    add("LABEL", "the class of the sample that is learned; DMA brings its own")
    add("SHIFT", "the learning rate is that of the program times 2**-SHIFT")
    add("SHIFTS", "how many rates the program has: SHIFT is less", "r")
    add("PHASE", "the training step that LEARN runs, of a rule with several phases")
    add("SEED", "writing it starts both random registers as a run of that seed does")
    add("RANDOM_LANES", "state of the lanes' random register")
    add("RANDOM_SCALARS", "state of the scalars' random register")
    add("STEP", "training steps that were done")
    add("CYCLES", "of the last command, of the engine alone", "r")
    add("CYCLES_HIGH", "its high word", "r")
    add("CLASS", "of the largest score, of the last inference", "r")
    add("FLAGS", "triggers that fired in the last training step, bit by bit", "r")
    for slot in range(8):
        add(f"TRIGGERS_{slot}", "training steps in which this trigger fired; writing clears it")
    add("ENTRY", "the microcode that RUN starts")
    add("SAMPLE", "address in A of a sample for INFER", "r")
    add("SAMPLE_LEARN", "the same for LEARN, in this PHASE", "r")
    add("SAMPLE_BYTES", "of a sample, as it lies in A", "r")
    add("SCORES", "address in A of the scores of an inference, two planes of bytes", "r")
    add("CLASSES", "scores", "r")
    add("DMA_SAMPLES", "address on the bus of samples, each followed by a byte of its label")
    add("DMA_COUNT", "samples of a command")
    add("DMA_CLASSES", "address on the bus to which a byte is written for each inference; all ones: none")
    add("DMA_STATE", "address on the bus of a state, for SAVE and LOAD")
    add("DMA_PROGRAM", "address on the bus of a program file, for PROGRAM")
    add("DMA_PROGRAM_BYTES", "of that file")
    add("STATE_BYTES", "of a state: random registers, residents of A and of W", "r")
    return tuple(found)


REGISTERS = _registers()
BY_NAME = {r.name: r for r in REGISTERS}

COMMANDS = {
    "INFER": (1, "a forward pass"),
    "LEARN": (2, "a training step; with INFER and DMA: after a forward pass of the same sample"),
    "DMA": (
        4,
        "with INFER, LEARN or both: DMA_COUNT samples from DMA_SAMPLES, else the sample that lies in A",
    ),
    "SAVE": (8, "writes the state to DMA_STATE"),
    "LOAD": (16, "reads the state from DMA_STATE"),
    "RUN": (32, "the microcode at ENTRY, with the sample and label that lie there"),
    "PROGRAM": (64, "reads a program file from DMA_PROGRAM: networks, precisions, lanes and rules are data"),
}
"""Bits of ``CTRL``, and what each asks for."""

WINDOWS = {
    "A": (0x01_0000, 0x8000, "activations"),
    "TABLE": (0x02_0000, 0x800, "exponentials of a softmax"),
    "CODE": (0x08_0000, 0x8_0000, "microcode"),
    "W": (0x10_0000, 0x10_0000, "weights"),
}
"""Address, most bytes and content of each memory."""

SIZE = 0x20_0000
"""Bytes of the whole."""
NOWHERE = 0xFFFFFFFF


def constants() -> dict[str, int]:
    """Names and numbers of the map."""
    found = {"IDENTITY": IDENTITY, "VERSION_NOW": VERSION, "SIZE": SIZE, "NOWHERE": NOWHERE}
    found |= {r.name: r.address for r in REGISTERS}
    found |= {f"DO_{name}": bit for name, (bit, _) in COMMANDS.items()}
    found |= {"BUSY": 1, "FAILED": 2, "PENDING": 1, "ENABLED": 2}
    for name, (address, size, _) in WINDOWS.items():
        found |= {f"WINDOW_{name}": address, f"WINDOW_{name}_BYTES": size}
    return found
