"""The escape: any torch function as an op, so that a rule can start with any statistics.

It trains, and is costed by the counts that it declares; what it holds inside is not seen by the memory plan. Nothing
else than torch can run it: a backend refuses it by its name and line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from insitu.ops.common import Run, TorchContext, error_attrs
from insitu.step.attrs import Attrs, Range, attributes
from insitu.step.builder import Builder
from insitu.step.ir import Counts, Inferred, Op, OpRecord, Trait, Value, over_batch, register

if TYPE_CHECKING:
    from torch import Tensor


@attributes
class Call(Attrs):
    """
    Attributes:
        fn: tensors in, a tensor or a tuple of tensors out.
        vjp: (cotangents, inputs) to the error at each input; PyTorch's own derivative where none.
        macs: multiply-accumulates that it is costed by.
        other: simple operations that it is costed by.
        shapes: of the results.
    """

    fn: Callable[..., Any]
    vjp: Callable[..., Any] | None = None
    macs: Annotated[int, Range(0)]
    other: Annotated[int, Range(0)]
    shapes: tuple[tuple[int, ...], ...]


@attributes
class CallDx(Call):
    """
    Attributes:
        given: results that have a cotangent.
        needs: inputs whose errors are wanted.
    """

    given: tuple[int, ...]
    needs: tuple[int, ...]


def _infer(inputs: Sequence[Value], attrs: Call) -> Inferred:
    return [(shape, inputs[0].format) for shape in attrs.shapes]


def _counts(op: Op[Call]) -> Counts:
    return Counts(macs={op.phase: op.attrs.macs}, other={op.phase: op.attrs.other})


def _adjoint(
    b: Builder, op: Op[Call], cotangents: Sequence[Value | None], needs: Sequence[int]
) -> dict[int, Value]:
    given = [(i, d) for i, d in enumerate(cotangents) if d is not None]
    found = b.emit(
        "call_dx",
        *(d for _, d in given),
        *op.inputs,
        **op.attrs.explicit() | {"shapes": tuple(op.inputs[i].shape for i in needs)},
        given=tuple(i for i, _ in given),
        needs=tuple(needs),
        **error_attrs(),
    )
    return dict(zip(needs, found))


register(
    OpRecord(
        kind="call",
        doc="outputs = fn(inputs), any torch function; costed by the counts that it declares",
        attrs=Call,
        infer=_infer,
        torch=lambda op, _rt: op.attrs.fn,
        counts=_counts,
        adjoint=_adjoint,
        traits=(Trait.TORCH_ONLY,),
        mixes_samples=over_batch,
    )
)


def _dx_torch(op: Op[CallDx], _rt: TorchContext) -> Run:
    """PyTorch's own derivative of the function, or the one that was given."""
    fn, vjp, given, needs = op.attrs.fn, op.attrs.vjp, op.attrs.given, op.attrs.needs
    count = len(given)

    def dx(*tensors: Tensor) -> Any:
        import torch

        cotangents, inputs = tensors[:count], tensors[count:]
        if vjp is not None:
            errors = vjp(*cotangents, *inputs)
            errors = errors if isinstance(errors, tuple) else (errors,)
            return tuple(errors[i] for i in needs) if len(needs) > 1 else errors[needs[0]]
        with torch.enable_grad():
            inputs = tuple(
                x.detach().requires_grad_(i in needs) if x.is_floating_point() else x
                for i, x in enumerate(inputs)
            )
            outputs = fn(*inputs)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            wanted = [inputs[i] for i in needs]
            found = torch.autograd.grad([outputs[i] for i in given], wanted, list(cotangents))
        return found[0] if len(found) == 1 else found

    return dx


register(
    OpRecord(
        kind="call_dx",
        doc="the errors below a call: its own vjp(cotangents, inputs), or PyTorch's derivative; counted as two calls",
        attrs=CallDx,
        infer=_infer,
        torch=_dx_torch,
        counts=lambda op: Counts(macs={op.phase: 2 * op.attrs.macs}, other={op.phase: 2 * op.attrs.other}),
        traits=(Trait.TORCH_ONLY,),
        mixes_samples=over_batch,
    )
)
