"""From a step to microcode: a function for each kind of op."""

from __future__ import annotations

from collections.abc import Callable

from insitu.backends.engine.actions import PROJECTIONS, Action
from insitu.backends.engine.emit.convolutions import (
    conv2d,
    conv2d_dw_update,
    conv2d_dx,
    gated_conv2d_dw_update,
    gated_sum_to_channels_update,
)
from insitu.backends.engine.emit.dense import matmul, matmul_dw_update, projection, sum_to_channels_update
from insitu.backends.engine.emit.elements import gate, stash
from insitu.backends.engine.emit.emitter import Emitter
from insitu.backends.engine.emit.losses import softmax_error, violated
from insitu.backends.engine.emit.pools import max_pool, max_unpool, sum_pool, unpool
from insitu.errors import ConfigError
from insitu.step.ir import Op, Step
from insitu.step.triggers import jumps


def emit(em: Emitter, step: Step) -> None:
    """The microcode of a step, END included; what only triggers need is passed over where none fires.

    Raises:
        ConfigError: an op, its attributes or a format has no microcode; names op, layer and remedy.
    """
    waits = jumps(step)
    groups: list[tuple[int, list[Action]]] = []
    for action in em.layout.actions:
        flags = sum(1 << em.slots[op] for op in waits.get(action.first, ()))
        if not groups or groups[-1][0] != flags:
            groups.append((flags, []))
        groups[-1][1].append(action)
    for flags, group in groups:
        with em.code.unless_silent(flags):
            for action in group:
                _emit(em, action)
    em.code.act("END")


def refuse_kinds(step: Step) -> None:
    """Refuses a step with an op that has no microcode at all, before memory is planned for it."""
    pooled = {v for op in step.ops if op.kind == "sum_pool" for v in op.outputs}
    for op in step.ops:
        ends_a_pool = op.kind == "requant" and op.inputs[0] in pooled
        if not (op.kind in EMIT or op.record.alias or ends_a_pool):
            raise ConfigError(
                f"{op.kind} at {op.where} has no microcode; use a ReLU network and a rule that the engine runs "
                "(docs/fpga.md)"
            )


def _emit(em: Emitter, action: Action) -> None:
    op = action.first
    _plain_weights(op)
    start = len(em.code.words)
    EMIT[op.kind](em, action)
    em.code.owners |= dict.fromkeys(range(start, len(em.code.words)), op)


def _plain_weights(op: Op) -> None:
    """Refuses weights that are not read as they are stored."""
    read = getattr(op.attrs, "read", None)
    if getattr(op.attrs, "view", None) is not None or (
        read is not None and (read.shift or read.unit is not None or read.channels)
    ):
        raise ConfigError(
            f"{op.kind} at {op.where} reads its weights through a view (signs, dropped bits or reals); the engine "
            "reads what is stored: use another rule and --precision edge-latent-free-8"
        )


EMIT: dict[str, Callable[[Emitter, Action], None]] = {
    "matmul": matmul,
    **dict.fromkeys(PROJECTIONS, projection),
    "matmul_dw_update": matmul_dw_update,
    "sum_to_channels_update": sum_to_channels_update,
    "violated": violated,
    "softmax_error": softmax_error,
    "gate": gate,
    "stash": stash,
    "conv2d": conv2d,
    "conv2d_dx": conv2d_dx,
    "conv2d_dw_update": conv2d_dw_update,
    "gated_conv2d_dw_update": gated_conv2d_dw_update,
    "gated_sum_to_channels_update": gated_sum_to_channels_update,
    "sum_pool": sum_pool,
    "max_pool": max_pool,
    "max_unpool": max_unpool,
    "sum_unpool": unpool,
    "unpool_gate": unpool,
}
"""The function of every kind of op that the engine runs."""
