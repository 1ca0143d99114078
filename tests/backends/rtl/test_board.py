"""The serial line of a board, bit by bit, in Amaranth's own simulator: commands, answers, and a program run by them."""

import pytest

pytest.importorskip("amaranth", reason="the extra 'fpga' is not installed")

from amaranth.sim import Simulator

from insitu.backends.engine import cycles, isa
from insitu.backends.rtl.board import Board
from insitu.backends.rtl.parameters import Parameters

DIVISOR = 4
SMALL = {"lanes": 4, "a_words": 16, "w_words": 16, "code_words": 64, "softmax": False, "positions": False}
PARTS = {"dot": False, "pool": False, "pad": False, "generator": "register"}


async def send(ctx, board, data):
    """Bytes as frames on the line: a start bit, 8 bits, a stop bit."""
    for byte in data:
        for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
            ctx.set(board.rx, bit)
            await ctx.tick().repeat(DIVISOR)


async def answer(ctx, board, count):
    """So many bytes from the line, sampled in the middle of their bits."""
    found = []
    for _ in range(count):
        await ctx.tick().until(~board.tx)
        await ctx.tick().repeat(DIVISOR // 2 - 1)
        bits = []
        for _ in range(9):
            await ctx.tick().repeat(DIVISOR)
            bits.append(ctx.get(board.tx))
        assert bits[-1] == 1  # the stop bit
        found.append(sum(bit << i for i, bit in enumerate(bits[:8])))
    return bytes(found)


def test_words_go_there_and_back_and_a_program_runs():
    board, seen = Board(Parameters(**SMALL, **PARTS), DIVISOR), []

    async def host(ctx):
        await ctx.tick().repeat(4)
        words = {1: b"\x01\x82\x03\x84", 5: b"\xfe\x00\x7f\x80"}
        for address, word in words.items():
            await send(ctx, board, b"W\x00" + address.to_bytes(2, "little") + word + b"\0")
        await send(ctx, board, b"?abc")  # no command: passed over with its arguments
        for address, word in words.items():
            await send(ctx, board, b"R\x00" + address.to_bytes(2, "little"))
            assert await answer(ctx, board, 4) == word
        program = [isa.encode("SHIFT", lanes=1), isa.encode("SHIFT", scalars=1), isa.encode("END")]
        for address, word in enumerate(program, 2):
            await send(ctx, board, b"W\x02" + address.to_bytes(2, "little") + word.to_bytes(5, "little"))
        before = [ctx.get(state) for state in board.engine.random.states]
        await send(ctx, board, b"S")
        assert await answer(ctx, board, 8) == b"".join(s.to_bytes(4, "little") for s in before)
        await send(ctx, board, b"X\x02\x00\x07")
        found = await answer(ctx, board, 6)
        seen.append(
            (int.from_bytes(found[:4], "little"), ctx.get(board.engine.random.states[0]) != before[0])
        )

    simulator = Simulator(board)
    simulator.add_clock(1e-6)
    simulator.add_testbench(host)
    simulator.run()
    assert seen == [(cycles.TIMING.start + 3 * cycles.TIMING.instruction, True)]
