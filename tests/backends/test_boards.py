"""Programs on the emulated boards: what they print and return, what they count, what is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from insitu.backends.c import cache, emulator
from insitu.backends.c.boards import BOARDS, Board, Elf, build, find, sizes, stack_of
from insitu.backends.c.emulator import OTHER, count, measure, run
from insitu.backends.c.toolchain import ARM, RISCV
from insitu.errors import ConfigError, InsituWarning

MISSING = {a: [x for x in (a.gcc, a.emulator, "gcc") if shutil.which(x) is None] for a in (ARM, RISCV)}


def needs(missing: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        bool(missing), reason=f"needs {', '.join(missing)}: run scripts/setup-system.sh"
    )


emulated = needs(MISSING[ARM])
each = pytest.mark.parametrize(
    "board", [pytest.param(b, id=n, marks=needs(MISSING[b.architecture])) for n, b in BOARDS.items()]
)
HERE = [board for board in BOARDS.values() if not MISSING[board.architecture]]

TURNS = 1000
PROGRAM = """
#include "semihost.h"

int32_t squares[4] = {1, 4, 9, 16};
int32_t room[25];
volatile float third = 1.0f / 3, much = 1e10f;
volatile int64_t wide = -1234567890123;

/* 1 + 3n + 2 instructions on every core. */
__attribute__((naked, noinline)) int32_t known(int32_t n);
int32_t known(int32_t n) {
#ifdef __riscv
    __asm__("li a1, 0\\n"
            "0: add a1, a1, a0\\n"
            "addi a0, a0, -1\\n"
            "bnez a0, 0b\\n"
            "mv a0, a1\\n"
            "ret");
#else
    __asm__("movs r1, #0\\n"
            "0: adds r1, r1, r0\\n"
            "subs r0, r0, #1\\n"
            "bne 0b\\n"
            "mov r0, r1\\n"
            "bx lr");
#endif
    (void)n;
}

__attribute__((noinline)) int32_t larger(const int32_t *of, int32_t n) {
    int32_t most = of[0];
    for (int32_t i = 1; i < n; i++)
        if (of[i] > most) most = of[i]; /* an IT block where there is one */
    return most;
}

int main(void) {
    volatile uint8_t frame[96];
    union { float real; uint32_t word; } bits = {third * much / 7 + third};
    frame[0] = 3;
    room[3] += squares[3] + frame[0];
    print("sum ");
    print_number(known(TURNS));
    print(" ");
    print_number(-2147483647 - 1);
    print(" ");
    print_hex(0xdeadbeef);
    print("\\n");
    print_hex(bits.word);
    print(" ");
    print_number((int32_t)(wide / squares[2]));
    print(" ");
    print_number(larger(squares, 4) + room[3]);
#ifdef INSITU_DSP
    {
        int32_t dot;
        __asm__("smlad %0, %1, %2, %3" : "=r"(dot) : "r"(0x00020003), "r"(0x00040005), "r"(100));
        print(dot == 123 ? " dsp" : " wrong");
    }
#endif
    print("\\n");
    return 7;
}
"""
# Cleared and copied memory is told from memory that was never written by starting twice.
TWICE = """
#include "semihost.h"
extern uint32_t insitu_stack_limit[];
void insitu_start(void);
uint32_t copied[3] = {1, 2, 3};
uint32_t cleared[3];
uint8_t odd = 5;

int main(void) {
    if (cleared[0] || cleared[1] || cleared[2]) return 2;
    if (copied[0] != 1 || copied[1] != 2 || copied[2] != 3 || odd != 5) return 3;
    if (*insitu_stack_limit == 0x600dcafe) return 0;
    *insitu_stack_limit = 0x600dcafe;
    for (uint32_t i = 0; i < 3; i++) copied[i] = cleared[i] = 0xffffffff;
    odd = 77;
    insitu_start();
    return 4;
}
"""


def made(folder: Path, text: str, board: Board | str, **options: object) -> Elf:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "main.c"
    source.write_text(text)
    return build([source], [], board, folder / "out", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def elf_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Elf]:
    folder = tmp_path_factory.mktemp("boards")
    return {b.name: made(folder / b.name, PROGRAM, b, defines=[f"TURNS={TURNS}"]) for b in HERE}


def log_of(elf: Elf, board: Board, log: Path) -> Counter[int]:
    """Executions per address, from QEMU's own log of single steps."""
    machine = [
        board.architecture.emulator,
        "-M",
        board.machine,
        "-nographic",
        "-monitor",
        "none",
        "-serial",
        "none",
    ]
    options = ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf.path)]
    logging = ["-singlestep", "-d", "nochain,exec", "-D", str(log)]
    subprocess.run([*machine, *options, *logging], capture_output=True, timeout=60, check=False)
    return Counter(
        int(x, 16) for x in re.findall(r"^Trace .*?\[[0-9a-f]+/([0-9a-f]+)/", log.read_text(), re.M)
    )


def range_of(elf: Elf, name: str) -> range:
    lines = subprocess.run(
        [f"{elf.board.architecture.prefix}nm", "-S", str(elf.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    start, size = next(x.split()[:2] for x in lines.stdout.splitlines() if x.split()[-1] == name)
    return range(int(start, 16) & ~1, (int(start, 16) & ~1) + int(size, 16))


# --- what a program does ---------------------------------------------------------------------------------------


@emulated
@each
def test_it_prints_and_returns(elf_of: dict[str, Elf], board: Board) -> None:
    elf = elf_of[board.name]
    result = run(elf, board)
    assert elf.warnings == ""
    assert result.exit_code == 7
    dsp = " dsp" if board.dsp else ""
    bits = "4de310b9"  # of float32 (1/3 * 1e10) / 7 + 1/3, rounded after every operation, as numpy has it
    wide = -(1234567890123 // 9)
    low = (wide + (1 << 31)) % (1 << 32) - (1 << 31)
    assert result.output == f"sum {TURNS * (TURNS + 1) // 2} -2147483648 deadbeef\n{bits} {low} 35{dsp}\n"


@emulated
@each
def test_data_are_copied_and_bss_is_cleared(tmp_path: Path, board: Board) -> None:
    assert run(made(tmp_path, TWICE, board), board).exit_code == 0


@emulated
@pytest.mark.parametrize("status, seen", [(0, 0), (1, 1), (254, 254), (255, 255), (256, 255), (-1, 255)])
def test_a_status_that_does_not_fit_never_arrives_as_success(tmp_path: Path, status: int, seen: int) -> None:
    assert run(made(tmp_path, f"int main(void) {{ return {status}; }}", "m4"), "m4").exit_code == seen


@emulated
@each
def test_all_of_the_data_memory_is_there(tmp_path: Path, board: Board) -> None:
    words = (board.data.size - board.stack) // 4
    text = f"""
    #include "semihost.h"
    volatile uint32_t room[{words}];
    int main(void) {{
        for (uint32_t i = 0; i < {words}; i += 251) room[i] = i + 1;
        room[{words - 1}] = 77;
        for (uint32_t i = 0; i < {words - 1}; i += 251) if (room[i] != i + 1) return 1;
        return room[{words - 1}] != 77;
    }}"""
    elf = made(tmp_path, text, board)
    assert sizes(elf).bss + sizes(elf).stack == board.data.size
    assert run(elf, board).exit_code == 0


@emulated
def test_memory_functions_that_gcc_calls(tmp_path: Path) -> None:
    text = """
    #include <stddef.h>
    void *memset(void *, int, size_t);
    void *memcpy(void *, const void *, size_t);
    void *memmove(void *, const void *, size_t);
    int memcmp(const void *, const void *, size_t);
    static unsigned char a[16], b[16];
    int main(void) {
        for (unsigned i = 0; i < 16; i++) a[i] = (unsigned char)(i + 1);
        memcpy(b, a, 13);
        if (memcmp(a, b, 13) != 0 || b[13] != 0 || memcmp(a, b, 14) <= 0) return 1;
        memcpy(b + 1, a, 9);
        if (b[0] != 1 || b[1] != 1 || b[9] != 9 || b[10] != 11) return 2;
        memset(b + 3, 200, 7);
        if (b[2] != 2 || b[3] != 200 || b[9] != 200 || b[10] != 11) return 3;
        memmove(a + 2, a, 10);
        if (a[1] != 2 || a[2] != 1 || a[11] != 10 || a[12] != 13) return 4;
        memmove(a, a + 2, 10);
        return a[0] != 1 || a[9] != 10 ? 5 : 0;
    }"""
    elf = made(tmp_path, text, "m0", optimize="-O1 -fno-builtin")
    assert run(elf, "m0").exit_code == 0


# --- counts and sizes --------------------------------------------------------------------------------------------


@emulated
@each
def test_counts_are_those_of_single_steps(tmp_path: Path, elf_of: dict[str, Elf], board: Board) -> None:
    elf = elf_of[board.name]
    result, counts = measure(elf, board)
    steps = log_of(elf, board, tmp_path / "log")
    assert result == run(elf, board)
    assert counts["known"] == 3 * TURNS + 3
    assert counts["total"] == sum(steps.values()) == sum(counts.values()) - counts["total"]
    for name in ("known", "larger", "main", "insitu_start", "print_number", "insitu_exit"):
        assert counts[name] == sum(steps[x] for x in range_of(elf, name)), name
    assert OTHER not in counts
    assert count(elf, board) == counts


@emulated
@each
def test_sizes(elf_of: dict[str, Elf], board: Board) -> None:
    got = sizes(elf_of[board.name])
    assert got.data == 16 + 4 + 4 + 8
    assert got.bss == 100
    assert got.stack == board.stack
    assert got.functions["known"] == 12
    assert list(got.functions.values()) == sorted(got.functions.values(), reverse=True)
    assert 0.95 * got.text < sum(got.functions.values()) <= got.text
    assert got.frames["known"] == 0
    main = got.frames["main"]
    assert main is not None and 96 <= main <= 160
    assert "vectors" not in got.functions and "memset" not in got.frames


@emulated
def test_a_frame_that_is_not_bounded_is_unknown(tmp_path: Path) -> None:
    text = "int main(void) { volatile int n = 3; volatile char x[n]; x[1] = 0; return x[1]; }"
    assert sizes(made(tmp_path, text, "m3")).frames["main"] is None


NESTED = """
#include "semihost.h"
volatile int64_t wide = 7;
__attribute__((noinline)) static int32_t inner(int32_t n) {
    volatile int32_t room[40];
    room[n] = n;
    return room[n] + (int32_t)(wide / (n + 1));
}
__attribute__((noinline)) int32_t outer(int32_t n) {
    volatile int32_t room[10];
    room[n] = inner(n);
    return room[n] + 1;
}
__attribute__((noinline)) int32_t small(int32_t n) { volatile int32_t room[2] = {n, n}; return room[0]; }
int main(void) { return outer(3) + small(0) > 100; }
"""


@emulated
@each
def test_stack_is_counted_over_all_calls(tmp_path: Path, board: Board) -> None:
    """So much is enough; a little less is not, since this program takes its longest way."""
    elf = made(tmp_path / "a", NESTED, board)
    frames = sizes(elf).frames
    deepest, outer = stack_of(elf, ["insitu_start"]), stack_of(elf, ["outer"])
    assert deepest is not None and outer is not None
    assert (
        outer >= 200 + (frames["outer"] or 0) - 40
    )  # with the division of libgcc, where there is no instruction
    small = stack_of(elf, ["small"])
    assert small is not None and small >= (frames["small"] or 0) and small < outer < deepest
    assert stack_of(elf, ["absent"]) is None
    enough = replace(board, stack=-(-deepest // 8) * 8)
    assert run(made(tmp_path / "b", NESTED, enough), board).exit_code == 0
    with pytest.raises(ConfigError, match="stack overflow"):
        run(made(tmp_path / "c", NESTED, replace(board, stack=enough.stack - 64)), board)


@emulated
@pytest.mark.parametrize(
    "text",
    [
        "int deep(int n) { volatile int room[4]; room[n & 3] = n; return n ? deep(n - 1) + room[n & 3] : 0; }\n"
        "int main(void) { return deep(9); }",
        "int (*volatile way)(int); int main(void) { return way(3) + 1; }",
        "int main(void) { volatile int n = 3; volatile char x[n]; x[1] = 0; return x[1]; }",
    ],
    ids=["recursion", "pointer", "frame"],
)
def test_stack_that_is_not_bounded_is_unknown(tmp_path: Path, text: str) -> None:
    assert stack_of(made(tmp_path, text, "m4"), ["main"]) is None


@emulated
def test_floats_have_the_same_bits_on_all(elf_of: dict[str, Elf]) -> None:
    assert len({run(elf, elf.board).output.splitlines()[1].split()[0] for elf in elf_of.values()}) == 1


# --- what is refused ---------------------------------------------------------------------------------------------


def test_names() -> None:
    for board in BOARDS.values():
        assert find(board.name) is find(board.machine) is find(board.core.upper()) is board
    with pytest.raises(
        ConfigError, match=r"board 'mps2-an368' is not known; did you mean 'mps2-an38\d'\? Use m0, m3"
    ):
        find("mps2-an368")
    with pytest.raises(
        ConfigError, match=r"board 'zx80' is not known; use m0, m3, m4, m7, m33, m55, rv32imc"
    ):
        find("zx80")


@emulated
def test_too_little_data_memory(tmp_path: Path) -> None:
    text = "char big[15000], small[1000]; int main(void) { return big[3] + small[3]; }"
    need = r"needs 18,048 bytes of data memory \(stack 2,048 of it\) where it has 16,384; "
    need += r"the largest: big 15,000, small 1,000\."
    with pytest.raises(ConfigError, match=r"board m0 \(microbit\): the program " + need):
        made(tmp_path, text, "m0")
    assert run(made(tmp_path, text, "m3"), "m3").exit_code == 0


@emulated
def test_too_little_code_memory(tmp_path: Path) -> None:
    text = "const char table[300000] = {1}; int main(void) { volatile int i = 3; return table[i]; }"
    with pytest.raises(
        ConfigError, match=r"needs 30\d,\d\d\d bytes of code memory where it has 262,144; the largest: table"
    ):
        made(tmp_path, text, "microbit")


@emulated
@each
def test_a_program_without_end(tmp_path: Path, board: Board) -> None:
    text = '#include "semihost.h"\nint main(void) { print("well\\nso far\\n"); for (;;) {} }'
    elf = made(tmp_path, text, board)
    with pytest.raises(
        ConfigError, match=r"did not end within 2 s; the last it printed: well \| so far\. Give"
    ):
        run(elf, board, timeout=2)


@emulated
@each
def test_a_fault(tmp_path: Path, board: Board) -> None:
    text = '#include "semihost.h"\nint main(void) { print("here\\n"); __asm__ volatile(FAULT); return 0; }'
    fault = "unimp" if board.architecture is RISCV else "udf #0"
    elf = made(tmp_path, text.replace("FAULT", f'"{fault}"'), board)
    with pytest.raises(
        ConfigError, match=r"faulted: at pc 0x\w{8}, lr 0x\w{8} in main; the last it printed: here\."
    ):
        run(elf, board)


@emulated
@each
def test_a_stack_that_overflows(tmp_path: Path, board: Board) -> None:
    text = """
    static int deep(int n) { volatile int room[20]; room[n & 3] = n; return n ? deep(n - 1) + room[n & 3] : 0; }
    int main(void) { return deep(100) != 5050; }"""
    small, large = replace(board, stack=1024), replace(board, stack=14336)
    with pytest.raises(
        ConfigError, match=r"faulted: stack overflow; .* It has 1,024 bytes; give the board more"
    ):
        run(made(tmp_path, text, small), board)
    assert run(made(tmp_path, text, large), board).exit_code == 0


@emulated
def test_sources_that_do_not_compile_or_link(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"board m4: the program cannot be built: .*main\.c:1:25: error: 'x' undecl"
    ):
        made(tmp_path, "int main(void) { return x; }", "m4")
    with pytest.raises(ConfigError, match="undefined reference to `sinf'"):
        made(
            tmp_path,
            "float sinf(float x); int main(void) { volatile float x = 1; return (int)sinf(x); }",
            "m4",
        )


@emulated
def test_warnings_are_kept(tmp_path: Path) -> None:
    assert "unused variable" in made(tmp_path, "int main(void) { int x; return 0; }", "m4").warnings


@emulated
def test_an_elf_of_another_memory_map_is_refused(elf_of: dict[str, Elf]) -> None:
    with pytest.raises(
        ConfigError, match=r"board m4: program\.elf did not run: .* See that it is made for the board"
    ):
        run(elf_of["m33"], "m4", timeout=5)


@pytest.mark.parametrize(
    "board, tool, package",
    [
        ("m4", "arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        ("m4", "qemu-system-arm", "qemu-system-arm"),
        ("rv32imc", "riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
        ("rv32imc", "qemu-system-riscv32", "qemu-system-misc"),
    ],
)
def test_a_missing_tool_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str, tool: str, package: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(
        ConfigError, match=f"{tool} was not found.*Install the Debian package {package}, or run"
    ):
        if "qemu" in tool:
            run(Elf(tmp_path / "x.elf", BOARDS[board], ()), board)
        else:
            made(tmp_path, "int main(void) { return 0; }", board)


@emulated
def test_counts_need_qemu_7(monkeypatch: pytest.MonkeyPatch, elf_of: dict[str, Elf]) -> None:
    monkeypatch.setattr(emulator, "checked", lambda *_: "QEMU emulator version 9.1.0 (Debian)\n")
    with pytest.raises(
        ConfigError, match=r"counted with QEMU 7 only.*this is 'QEMU emulator version 9\.1\.0"
    ):
        count(elf_of["m4"], "m4")


@emulated
def test_the_plugin_does_without_a_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elf_of: dict[str, Elf]
) -> None:
    expected = count(elf_of["m4"], "m4")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INSITU_CACHE", str(tmp_path / "a,folder"))  # a comma parts QEMU's options
    assert count(elf_of["m4"], "m4") == expected
    cache._note.cache_clear()
    monkeypatch.setenv("INSITU_CACHE", str(tmp_path / "file"))
    with pytest.warns(InsituWarning, match="every process makes its own"):
        assert count(elf_of["m4"], "m4") == expected
