"""Programs that nobody wrote: random small networks, frozen layers, rules and policies, by three executors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from benchmarks.attacks import Case, kind
from benchmarks.attacks.runs import workshop
from tests.backends.programs import program
from tests.backends.test_c import READY
from tests.backends.test_random import REFUSED, STEPS, network, policy
from tests.run.cases import OPTIONS, Twin, samples

from insitu.backends.c.host import self_test
from insitu.network.graph import Network
from insitu.passes.precision import make
from insitu.passes.quantize import quantize
from insitu.rules.protocol import emit_phases, make_rule
from insitu.run.program import Program
from insitu.run.samples import as_integers


def frozen(draw: Random, net: Network) -> Network:
    """The network with no, some or many of its parameters frozen."""
    share = draw.choice([0.0, 0.3, 0.8])
    return replace(net, frozen=frozenset(name for name in sorted(net.params) if draw.random() < share))


def drawn(draw: Random) -> Iterator[tuple[str, Twin, Program]]:
    """Programs that rule and policy take: name, torch beside the reference, and what becomes C."""
    while True:
        net, rule, chosen = frozen(draw, network(draw)), draw.choice(READY), policy(draw)
        batch, lr = draw.randint(1, 3), draw.choice([0.5, 0.1, 0.01])
        name = f"{rule}, {net.name}, {chosen}, batch {batch}, lr {lr}, frozen {sorted(net.frozen)}"
        try:
            _, made = program(rule, net, chosen, batch, lr)
            emitted = emit_phases(make_rule(rule, OPTIONS.get(rule)), net, batch)
        except REFUSED:
            continue
        found = make(chosen)
        assert found is not None
        yield name, Twin(net, [quantize(step, found, net.params) for step in emitted], batch), made


@kind("programs")
def programs(case: Case) -> str | None:
    """The reference, torch and C (under the sanitizers) train to the same bits."""
    workshop()  # its cache keeps the compiled kernels
    name, twin, made = next(drawn(Random(case.whole(2**32))))
    twin.advance(STEPS * len(made.steps), made.lr)
    if different := twin.unequal():
        return f"{name}: torch and the reference differ in {', '.join(different)}"
    batches = []
    for t in range(STEPS * len(made.steps)):
        step = made.steps[t % len(made.steps)]
        x, y = samples(twin.net, step.batch, t)
        batches.append((as_integers(step.inputs[0], x), y))
    told = self_test(replace(made, batches=tuple(batches)))
    return None if told == "self-test: all equal\n" else f"{name}: C: {told[-300:]}"
