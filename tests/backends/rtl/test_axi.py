"""The engine behind its AXI4-Lite port, in Amaranth's own simulator: the map of the bus, a program, what is refused."""

import pytest

pytest.importorskip("amaranth", reason="the extra 'fpga' is not installed")

from amaranth.sim import Simulator

from insitu.backends.engine import bus, cycles, isa
from insitu.backends.rtl.axi import OKAY, SLVERR, Axi
from insitu.backends.rtl.parameters import Parameters

SMALL = {"a_words": 16, "w_words": 16, "code_words": 64, "positions": False, "generator": "register"}
PARTS = {"dot": False, "pool": False, "pad": False}


class Master:
    """Accesses, one at a time."""

    def __init__(self, ctx, port):
        self.ctx, self.port = ctx, port

    async def write(self, address, value, strobe=15):
        ctx, p = self.ctx, self.port
        for signal, given in (
            (p.awaddr, address),
            (p.wdata, value),
            (p.wstrb, strobe),
            (p.awvalid, 1),
            (p.wvalid, 1),
        ):
            ctx.set(signal, given)
        await ctx.tick().until(p.awready & p.wready)
        ctx.set(p.awvalid, 0)
        ctx.set(p.wvalid, 0)
        ctx.set(p.bready, 1)
        (answer,) = await ctx.tick().sample(p.bresp).until(p.bvalid)
        ctx.set(p.bready, 0)
        return answer

    async def read(self, address):
        ctx, p = self.ctx, self.port
        ctx.set(p.araddr, address)
        ctx.set(p.arvalid, 1)
        await ctx.tick().until(p.arready)
        ctx.set(p.arvalid, 0)
        ctx.set(p.rready, 1)
        answer, data = await ctx.tick().sample(p.rresp, p.rdata).until(p.rvalid)
        ctx.set(p.rready, 0)
        return answer, data

    async def set(self, name, value):
        return await self.write(bus.BY_NAME[name].address, value)

    async def get(self, name):
        return await self.read(bus.BY_NAME[name].address)

    async def words(self, window, words, size):
        """Words of a memory from its begin on, part by part."""
        for n, word in enumerate(words):
            for at in range(0, size, 4):
                assert await self.write(window + n * size + at, word >> 8 * at & 0xFFFFFFFF) == OKAY


def simulated(host, watch=None, **build):
    port = Axi(Parameters(**SMALL | PARTS | build))

    async def testbench(ctx):
        await host(ctx, port, Master(ctx, port))

    simulator = Simulator(port)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    if watch is not None:

        async def process(ctx):
            await watch(ctx, port)

        simulator.add_process(process)
    simulator.run()


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_memories_are_where_the_map_says_and_a_program_runs(lanes):
    async def host(ctx, port, master):
        assert await master.get("ID") == (OKAY, bus.IDENTITY)
        assert await master.get("VERSION") == (OKAY, bus.VERSION) and await master.get("LANES") == (
            OKAY,
            lanes,
        )
        a, w, code = (bus.WINDOWS[name][0] for name in ("A", "W", "CODE"))
        first = [int.from_bytes(bytes(range(n, n + lanes)), "little") for n in (1, 101)]
        await master.words(a, first, lanes)
        await master.words(w, first[::-1], lanes)
        for part in range(lanes // 4):
            expected = first[1] >> 32 * part & 0xFFFFFFFF
            assert await master.read(a + lanes + 4 * part) == (OKAY, expected)
            assert await master.read(w + 4 * part) == (OKAY, expected)
        program = [isa.encode("SHIFT", lanes=1), isa.encode("SHIFT", scalars=1), isa.encode("END")]
        await master.words(code + 16, program, 8)
        before = [ctx.get(state) for state in port.engine.random.states]
        assert [await master.get(f"RANDOM_{name}") for name in ("LANES", "SCALARS")] == [
            (OKAY, s) for s in before
        ]
        for name, value in {"ENTRY": 2, "LABEL": 7, "IRQ": 2, "CTRL": bus.COMMANDS["RUN"][0]}.items():
            assert await master.set(name, value) == OKAY
        await ctx.tick().until(port.irq)
        assert await master.get("CYCLES") == (OKAY, cycles.TIMING.start + 3 * cycles.TIMING.instruction)
        assert await master.get("IRQ") == (OKAY, 3) and ctx.get(port.engine.random.states[0]) != before[0]
        assert await master.set("IRQ", 3) == OKAY and await master.get("IRQ") == (OKAY, 2)
        assert not ctx.get(port.irq)

    simulated(host, lanes=lanes, softmax=False)


def test_a_table_is_written_two_entries_at_a_time():
    written = []

    async def host(ctx, port, master):
        assert await master.write(bus.WINDOWS["TABLE"][0] + 8, 5 << 16 | 3) == OKAY

    async def watch(ctx, port):
        unit = port.engine.control.softmax
        async for _, _, load, address, data in ctx.tick().sample(unit.load, unit.address, unit.data):
            if load:
                written.append((address, data))

    simulated(host, watch, lanes=4, softmax=True)
    assert written == [(4, 3), (5, 5)]


def test_what_the_map_has_not_is_an_error_and_so_is_a_memory_of_a_running_engine():
    async def host(ctx, port, master):
        a, code = bus.WINDOWS["A"][0], bus.WINDOWS["CODE"][0]
        known = {r.address for r in bus.REGISTERS if r.hardware}
        for address in (
            *(r.address for r in bus.REGISTERS if r.address not in known),
            0xFFC,
            a + 16 * 8,
            0x3_0000,
        ):
            assert (await master.read(address))[0] == SLVERR
        for address in (bus.BY_NAME["ID"].address, bus.BY_NAME["CYCLES"].address, a + 16 * 8, a + 1, a + 2):
            assert await master.write(address, 1) == SLVERR
        assert await master.write(a, 1, strobe=3) == SLVERR
        assert (await master.read(code))[0] == SLVERR  # instructions cannot be read
        assert (
            await master.set("CTRL", bus.COMMANDS["LEARN"][0]) == SLVERR
        )  # what a program is, only the model knows
        await master.words(code, [*[isa.encode("SHIFT")] * 60, isa.encode("END")], 8)
        assert await master.set("CTRL", bus.COMMANDS["RUN"][0]) == OKAY
        assert await master.get("STATUS") == (OKAY, 1) and (await master.get("ID"))[0] == OKAY
        assert (await master.read(a))[0] == SLVERR and await master.write(a, 1) == SLVERR
        assert await master.set("LABEL", 1) == SLVERR and (await master.get("CYCLES"))[0] == SLVERR
        await ctx.tick().until(~port.engine.control.busy)
        await ctx.tick().repeat(2)
        assert await master.get("STATUS") == (OKAY, 0)
        assert await master.get("CYCLES") == (OKAY, cycles.TIMING.start + 61 * cycles.TIMING.instruction)

    simulated(host, lanes=8, softmax=False)
