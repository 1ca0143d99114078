"""The engine on a bus: commands, DMA, direct access, hostile traffic, two engines, time."""

import itertools
import struct
from dataclasses import replace

import numpy as np
import pytest

from insitu.backends.engine import bus
from insitu.backends.engine.cycles import work
from insitu.backends.systemc.data import Data
from insitu.backends.systemc.device import Platform, Refused, missing
from insitu.errors import StepError
from insitu.numbers import lfsr, prng
from insitu.run.integer import run
from tests.backends.engine.pairs import made

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

STEPS = 12
ADDRESS_ERROR, BURST_ERROR, BYTE_ENABLE_ERROR, COMMAND_ERROR, GENERIC_ERROR = -2, -4, -5, -3, -1
STATE = Platform.MEMORY + 0x20_0000
CLASSES = Platform.MEMORY + 0x30_0000


def learner(rule="etch", network="mlp-64-32-10", lanes=8, seed=5):
    """A program with samples, as data for the model."""
    program, random = made(rule, network), np.random.default_rng(seed)
    x = random.integers(0, 256, (STEPS, *program.steps[0].inputs[0].shape))
    program = replace(program, batches=tuple(zip(x, random.integers(0, 10, (STEPS, 1)))))
    return Data.fitted(program, lanes)


@pytest.fixture(scope="module")
def data():
    return learner()


@pytest.fixture
def platform(data):
    found = Platform(engines=2)
    found.load(data.text)
    yield found
    found.close()


def reference(data, shift=0):
    """Residents after all samples, by the integer reference; and its cycles by the closed form."""
    program = data.image.program
    state = {name: np.array(a) for name, a in program.initial_state.items()}
    for t, (x, label) in enumerate(program.batches):
        context = program.context(t)
        run(
            program.steps[t % len(program.steps)], state, x, label, replace(context, lr=context.lr / 2**shift)
        )
    return state


def by_dma(platform, data, *commands, engine=0):
    """Gives all samples to an engine by DMA, as the commands say."""
    platform.write(platform.MEMORY, data.samples(data.image.program.batches))
    for name, value in {
        "DMA_SAMPLES": platform.MEMORY,
        "DMA_COUNT": STEPS,
        "DMA_CLASSES": CLASSES,
        "DMA_STATE": STATE,
    }.items():
        platform.set(name, value, engine)
    platform.command(*commands, "DMA", engine=engine)


def saved(platform, data, engine=0):
    """Residents by name, from the state that the engine writes to memory."""
    platform.set("DMA_STATE", STATE, engine)
    platform.command("SAVE", engine=engine)
    image, size = data.image, platform.get("STATE_BYTES", engine)
    raw = platform.read(STATE, size)
    states = struct.unpack("<2I", raw[:8])
    residents = image.residents
    a_bytes = max((p.end for p in residents.values() if not p.weights), default=0)
    a, w = np.frombuffer(raw[12 : 12 + a_bytes], np.uint8), np.frombuffer(raw[12 + a_bytes :], np.int8)
    w = w.reshape(-1, image.build.lanes)
    found = {
        name: p.form.unpack((w if p.weights else a)[p.start : p.end]).reshape(
            image.program.residents[name].shape
        )
        for name, p in residents.items()
    }
    return found | {lfsr.REGISTERS: np.array(states)}


def assert_equal(found, expected):
    wrong = [k for k in expected if not np.array_equal(np.ravel(found[k]), np.ravel(expected[k]))]
    assert wrong == []


@pytest.mark.parametrize(("rule", "network", "lanes"), [
    ("etch", "mlp-64-32-10", 8),
    ("drtp", "mlp-64-32-10", 16),  # takes its label one-hot
    ("bp-stash", "cnn-8-16", 8),
])  # fmt: skip
def test_samples_by_dma_teach_what_the_reference_learns(rule, network, lanes):
    data, platform = learner(rule, network, lanes), Platform()
    platform.load(data.text)
    by_dma(platform, data, "LEARN")
    assert platform.get("STEP") == STEPS
    expected = reference(data)
    firsts = [prng.key(data.image.program.seed, lfsr.REGISTERS, which) for which in (0, 1)]
    expected[lfsr.REGISTERS] = [int(s) or first for s, first in zip(expected[lfsr.REGISTERS], firsts)]
    assert_equal(saved(platform, data), expected)


def test_each_value_of_shift_halves_the_learning_rate(data):
    for shift in range(len(data.bases)):
        platform = Platform()
        platform.load(data.text)
        platform.set("SHIFT", shift)
        by_dma(platform, data, "LEARN")
        found, expected = saved(platform, data), reference(data, shift)
        assert_equal(
            {k: found[k] for k in data.image.residents}, {k: expected[k] for k in data.image.residents}
        )
    assert len(data.bases) == platform.get("SHIFTS") > 3


def test_inference_by_dma_writes_classes_and_leaves_the_state(platform, data):
    before = saved(platform, data)
    by_dma(platform, data, "INFER")
    program = data.image.program
    for (x, _), found in zip(program.batches, platform.read(CLASSES, STEPS)):
        (scores,) = run(program.inference, dict(program.initial_state), x, None, program.context(0))
        assert found == scores.argmax()
    assert_equal(saved(platform, data), before)
    assert platform.get("CLASS") == platform.read(CLASSES, STEPS)[-1]


def test_infer_and_learn_together_are_one_after_the_other_for_each_sample(platform, data):
    by_dma(platform, data, "INFER", "LEARN")
    image, cycles = data.image, platform.get("CYCLES")
    fired = [platform.get(f"TRIGGERS_{slot}") for slot in range(2)]
    closed = {
        flags: work(image.code.words, image.entries[0].start, image.build, flags).cycles for flags in range(4)
    }
    infer = work(image.code.words, image.entries[-1].start, image.build).cycles
    assert fired == [STEPS, STEPS]  # random labels: every margin is violated
    assert cycles == STEPS * (infer + closed[3])
    assert_equal(
        {k: saved(platform, data)[k] for k in image.residents},
        {k: reference(data)[k] for k in image.residents},
    )


def test_a_saved_state_goes_on_in_another_engine(platform, data):
    platform.load(data.text, engine=1)
    by_dma(platform, data, "LEARN")
    by_dma(platform, data, "LEARN")
    twice = saved(platform, data)
    by_dma(platform, data, "LEARN", engine=1)
    saved(platform, data, engine=1)  # lies at STATE now
    platform.load(data.text)
    platform.set("DMA_STATE", STATE)
    platform.command("LOAD")
    assert platform.get("STEP") == STEPS
    by_dma(platform, data, "LEARN")
    assert_equal(saved(platform, data), twice)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("quantum", [1, 1_000, 100_000])
def test_quantum_and_direct_access_change_no_bit_and_no_cycle(data, quantum, direct):
    found = {}
    for name, (q, d) in {"asked": (quantum, direct), "plain": (1, False)}.items():
        platform = Platform(quantum=q, direct=d)
        platform.load(data.text)
        by_dma(platform, data, "INFER", "LEARN")
        found[name] = platform.get("CYCLES"), saved(platform, data), platform.picoseconds
        platform.close()
    (cycles, state, time), (plain, expected, strict) = found["asked"], found["plain"]
    assert cycles == plain
    assert_equal(state, expected)
    commands = 2  # the host waits for each, and may be ahead by a quantum when it asks
    assert abs(time - strict) <= 1_000 * (commands * quantum + 4_000 * (not direct) + 40_000 * direct)


def test_a_program_may_come_over_the_bus(platform, data):
    text = data.text.encode()
    platform.configure(data.image.build)  # nothing is loaded
    with pytest.raises(StepError, match="no program is loaded"):
        platform.command("LEARN")
    platform.write(platform.MEMORY + 0x100_0000, text)
    platform.set("DMA_PROGRAM", platform.MEMORY + 0x100_0000)
    platform.set("DMA_PROGRAM_BYTES", len(text))
    platform.command("PROGRAM")
    by_dma(platform, data, "LEARN")
    assert_equal(
        {k: saved(platform, data)[k] for k in data.image.residents},
        {k: reference(data)[k] for k in data.image.residents},
    )


DAMAGED = {
    "another version": (lambda t: t.replace("engine 1", "engine 9", 1), "of version 9; this model reads version 1"),
    "an odd word": (lambda t: t.replace("softmax", "softmux"), "'softmux' is no word of a program"),
    "empty": (lambda t: "", "it is empty"),
    "no program": (lambda t: "hello", "no word of a program"),
    "5 lanes": (lambda t: t.replace("build 8", "build 5"), "lanes is 5, not 4, 8, 16 or 32"),
    "too much memory": (lambda t: t.replace("sizes ", "sizes 9"), "a_bytes is"),
    "a sample behind the end": (lambda t: t.replace("sample 64", "sample 640000"), "samples behind the end of A"),
    "no hexadecimal": (lambda t: t.replace("code ", "code zz "), "line .* a word is not hexadecimal"),
    "a missing number": (lambda t: t.replace("sample 64", "sample"), "line 6 .* a number is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_program_is_refused_and_the_one_before_stays(platform, data, damage, said):
    with pytest.raises(Refused, match=said):
        platform.load(damage(data.text))
    by_dma(platform, data, "LEARN")
    assert platform.get("STEP") == STEPS


def test_what_a_bus_must_not_do_is_answered_by_name_and_nothing_is_lost(platform, data):
    p, before = platform, saved(platform, data)
    engine, flags = p.register("ID"), p.BYTE_ENABLES
    status, a, w = p.register("STATUS"), p.window("A"), p.window("W")
    image = data.image
    a_bytes = image.build.a_words * image.build.lanes
    cases = [
        (lambda: p.read(engine + 1, 4), ADDRESS_ERROR),  # misaligned
        (lambda: p.read(engine, 2), BURST_ERROR),  # not a register's width
        (lambda: p.read(engine, 8), BURST_ERROR),
        (lambda: p.write(engine, b"\1\0\0\0"), COMMAND_ERROR),  # read alone
        (lambda: p.read(p.register("STATE_BYTES") + 4, 4), ADDRESS_ERROR),  # no register
        (lambda: p.read(a + a_bytes, 1), ADDRESS_ERROR),
        (lambda: p.read(a + a_bytes - 1, 2), ADDRESS_ERROR),  # over the end
        (lambda: p.write(w + image.build.w_words * 8 - 4, bytes(8)), ADDRESS_ERROR),
        (lambda: p.read(p.ENGINES + 2 * bus.SIZE, 4), ADDRESS_ERROR),  # behind the last engine
        (lambda: p.read(0, 4), ADDRESS_ERROR),  # nobody
        (lambda: p.read(p.ENGINES + bus.SIZE - 2, 4), ADDRESS_ERROR),  # over the border of two engines
        (lambda: p.write(a, bytes(4), flags), BYTE_ENABLE_ERROR),
        (lambda: p.write(status, bytes(4), flags), BYTE_ENABLE_ERROR),
        (lambda: p.write(a, bytes(8), p.STREAMING), BURST_ERROR),
    ]
    for n, (access, expected) in enumerate(cases):
        with pytest.raises(Refused) as refused:
            access()
        assert refused.value.status == expected, n
    p.read(a, 4, p.IGNORED)
    assert p.get("ID").to_bytes(4, "little") == b"INSL" and p.get("VERSION") == bus.VERSION
    assert_equal(saved(p, data), before)


def test_while_it_is_busy_an_engine_answers_for_its_status_alone(platform, data):
    p = platform
    p.write(p.MEMORY, data.samples(data.image.program.batches))
    p.set("DMA_SAMPLES", p.MEMORY)
    p.set("DMA_COUNT", STEPS)
    p.set("IRQ", 2)
    p.set("CTRL", bus.COMMANDS["LEARN"][0] | bus.COMMANDS["DMA"][0])
    assert p.get("STATUS") == 1 and p.get("ID") == bus.IDENTITY
    refused = [
        lambda: p.read(p.window("A"), 4),
        lambda: p.write(p.window("W"), bytes(8)),
        lambda: p.write(p.window("CODE"), bytes(8)),
        lambda: p.set("CTRL", 2),
        lambda: p.set("LABEL", 3),
        lambda: p.set("SEED", 1),
        lambda: p.get("CYCLES"),
    ]
    for access in refused:
        with pytest.raises(Refused) as answer:
            access()
        assert answer.value.status == GENERIC_ERROR
    assert len(p.read(p.window("A"), 4, p.DEBUG)) == 4  # a debugger may look
    p.get("ID", engine=1)  # the other engine is not busy
    p.wait()
    assert p.get("STATUS") == 0 and p.get("STEP") == STEPS
    assert_equal(
        {k: saved(p, data)[k] for k in data.image.residents},
        {k: reference(data)[k] for k in data.image.residents},
    )


def test_commands_that_do_not_go_together_fail_and_say_why(platform, data):
    for names, said in {
        ("INFER", "LEARN"): "without DMA, INFER and LEARN are two commands",
        ("DMA",): "does not go together",
        ("SAVE", "LOAD"): "does not go together",
        ("INFER", "SAVE"): "does not go together",
    }.items():
        with pytest.raises(StepError, match=said):
            platform.command(*names)
    platform.set("SHIFT", 99)
    with pytest.raises(StepError, match="has no such SHIFT or PHASE"):
        platform.command("LEARN")
    platform.set("SHIFT", 0)
    platform.set("DMA_SAMPLES", 0)
    platform.set("DMA_COUNT", 1)
    with pytest.raises(StepError, match="DMA of 65 bytes at 0: TLM_ADDRESS_ERROR_RESPONSE"):
        platform.command("LEARN", "DMA")
    platform.command("INFER")
    assert platform.get("STATUS") == 0


def test_a_seed_starts_the_random_registers_as_a_run_does(platform):
    for seed in (0, 1, 12345, 2**32 - 1):
        platform.set("SEED", seed)
        states = platform.get("RANDOM_LANES"), platform.get("RANDOM_SCALARS")
        assert states == tuple(prng.key(seed, lfsr.REGISTERS, which) for which in (0, 1))


def test_two_engines_learn_two_things_at_once(data):
    other, platform = learner("bp-stash", "cnn-8-16", 16, seed=9), Platform(engines=2)
    both = (data, other)
    at = [platform.MEMORY, platform.MEMORY + 0x10_0000]
    for n, each in enumerate(both):
        platform.load(each.text, n)
        platform.write(at[n], each.samples(each.image.program.batches))
        platform.set("DMA_SAMPLES", at[n], n)
        platform.set("DMA_COUNT", STEPS, n)
        platform.set("IRQ", 2, n)
    for n in range(2):
        platform.set("CTRL", bus.COMMANDS["LEARN"][0] | bus.COMMANDS["DMA"][0], n)
    for n, each in enumerate(both):
        platform.wait(n)
        found, expected = saved(platform, each, n), reference(each)
        assert_equal(
            {k: found[k] for k in each.image.residents}, {k: expected[k] for k in each.image.residents}
        )


def test_every_register_has_a_place_of_its_own_below_the_memories():
    addresses = [r.address for r in bus.REGISTERS]
    assert addresses == [4 * n for n in range(len(addresses))]
    ends = [(start, start + size) for start, size, _ in bus.WINDOWS.values()]
    assert addresses[-1] < ends[0][0] and ends == sorted(ends) and ends[-1][1] <= bus.SIZE
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
