"""A lowered forward pass as an ONNX graph of reals, each tensor an array of integers times its unit.

Units are mostly powers of two and sums stay below 2^24, so that float32 holds them exactly. A requantization is a
QuantizeLinear, which rounds ties to the even integer, while ours go up: a quarter of the sum's unit (by the factor,
where there is one) is added before, which moves ties and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

from insitu.numbers.rounding import Rounding
from insitu.run.integer_products import pool_geometry, read
from insitu.step.ir import Op, Step, Value

OPSET, IR = 19, 9
"""From version 21 on, which has words of 16 bits, onnxruntime 1.32 mixes up types when it moves quantizations."""
QONNX = "qonnx.custom_op.general"
TYPES = {False: np.uint8, True: np.int8}
"""Of quantized words, unsigned and signed."""

Array = npt.NDArray[Any]


class Writer:
    """Writes op after op.

    Args:
        step: the lowered forward pass.
        state: values of its residents.
        qonnx: Quant nodes in place of pairs of QuantizeLinear and DequantizeLinear.
    """

    def __init__(self, step: Step, state: Mapping[str, Array], *, qonnx: bool = False) -> None:
        self.step, self.state, self.qonnx = step, state, qonnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.names: dict[Value, str] = {}

    def model(self) -> ModelProto:
        """The graph, for any batch size."""
        (given,), (made,) = self.step.inputs, self.step.outputs
        self.names[given] = self._quantized("input", given, zero=given.zero)
        for op in self.step.ops:
            self.names[op.outputs[0]] = getattr(self, f"_{op.kind}")(op, op.outputs[0].name)
        self._node("Identity", [self.names[made]], "output")
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *value.shape[1:]])
            for name, value in (("input", given), ("output", made))
        ]
        graph = helper.make_graph(
            self.nodes, self.step.name, ends[:1], ends[1:], list(self.constants.values())
        )
        domains = [helper.make_opsetid("", OPSET)] + ([helper.make_opsetid(QONNX, 1)] if self.qonnx else [])
        return helper.make_model(graph, opset_imports=domains, ir_version=IR, producer_name="insitu")

    # Pieces

    def _node(self, kind: str, inputs: list[str], output: str, **attrs: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attrs))
        return output

    def _constant(self, name: str, array: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def _real(self, name: str, number: float) -> str:
        return self._constant(name, np.float32(number))

    def _in(self, op: Op, i: int = 0) -> str:
        return self.names[op.inputs[i]]

    def _quantized(self, name: str, value: Value, *, zero: int = 0) -> str:
        """Reals in the format of a value: rounded and saturated."""
        fmt, unit = value.format, _unit(value)
        low, high = fmt.least, fmt.greatest  # type: ignore[attr-defined]
        signed = low < 0
        if fmt.bits > 8 and not self.qonnx:
            return self._on_grid(name, low, high, unit)
        limits = np.iinfo(TYPES[signed])
        whole = (limits.min, limits.max) if not self.qonnx else _range(fmt.bits, signed)
        if (low, high) != whole:
            name = self._clipped(name, (low - zero) * unit, (high - zero) * unit)
        scale = self._real(f"{name}.scale", unit)
        if self.qonnx:
            return self._quant(name, scale, fmt.bits, signed, zero)
        at = self._constant(f"{name}.zero", TYPES[signed](zero))
        q = self._node("QuantizeLinear", [name, scale, at], f"{name}.q")
        return self._node("DequantizeLinear", [q, scale, at], f"{name}.dq")

    def _quant(self, name: str, scale: str, bits: int, signed: bool, zero: int) -> str:
        more = [self._real(f"{name}.zero", zero), self._real(f"{name}.bits", bits)]
        attrs = {"signed": int(signed), "narrow": 0, "rounding_mode": "ROUND", "domain": QONNX}
        return self._node("Quant", [name, scale, *more], f"{name}.dq", **attrs)

    def _clipped(self, name: str, low: float, high: float) -> str:
        ends = [self._real(f"{name}.low", low), self._real(f"{name}.high", high)]
        return self._node("Clip", [name, *ends], f"{name}.clip")

    def _on_grid(self, name: str, low: int, high: int, unit: float) -> str:
        """As :meth:`_quantized`, of words that no quantized type has."""
        scale = self._real(f"{name}.scale", unit)
        position = self._node("Div", [name, scale], f"{name}.position")
        whole = self._node("Round", [position], f"{name}.whole")
        return self._node("Mul", [self._clipped(whole, low, high), scale], f"{name}.dq")

    def _weights(self, name: str, integers: Array, unit: Any) -> str:
        """Integers times a unit, or one per output channel."""
        signed, size = integers.min() < 0, int(max(-integers.min() - 1, integers.max()))
        bits = max(size.bit_length() + int(signed), 1)
        axis = {} if np.ndim(unit) == 0 else {"axis": 0}
        if self.qonnx:
            shape = (-1, *[1] * (integers.ndim - 1)) if axis else ()
            scale = np.float32(unit).reshape(shape)
            real = self._constant(name, (integers * scale).astype(np.float32))
            return self._quant(real, self._constant(f"{name}.scale", scale), bits, bool(signed), 0)
        kind = TYPES[bool(signed)] if bits <= 8 else np.int32
        inputs = [
            self._constant(f"{name}.q", integers.astype(kind)),
            self._constant(f"{name}.scale", np.float32(unit)),
        ]
        inputs.append(self._constant(f"{name}.zero", np.zeros(np.shape(unit), kind)))
        return self._node("DequantizeLinear", inputs, name, **axis)

    def _requantized(self, name: str, how: Any, out: Value, unit: float) -> str:
        """A sum with its unit in the format of the result."""
        step = _unit(out)
        if how.shift > 0 or how.times != 1:
            tie = unit / (4 * how.times)
            ahead = tie if how.rounding == Rounding.HALF_UP else tie - step / 2
            name = self._node("Add", [name, self._real(f"{name}.ahead", ahead)], f"{name}.sum")
        return self._quantized(name, out)

    # Products

    def _product(self, op: Op, name: str, kind: str, **attrs: Any) -> str:
        a, out = op.attrs, op.outputs[0]
        end = a.epilogue
        unit = _unit(out) if end is None else _unit(out) * end.times * 2.0**-end.shift
        weight = op.inputs[1]
        integers = read(a.read, self.state[weight.name])
        scale: Any = unit / _unit(op.inputs[0])
        if a.read is not None and a.read.channels:
            left = np.array(a.read.channels)
            integers, scale = integers >> left.reshape(-1, *[1] * (integers.ndim - 1)), scale * 2.0**left
        inputs = [self._in(op), self._weights(f"{name}.weight", integers, scale)]
        if len(op.inputs) > 2:
            bias = read(a.read_bias, self.state[op.inputs[2].name]) << a.bias_shift
            inputs.append(self._bias(f"{name}.bias", bias, unit))
        made = self._node(kind, inputs, f"{name}.{kind.lower()}", **attrs)
        if a.limit:
            made = self._clipped(made, a.format.least * unit, a.format.greatest * unit)
        return made if end is None else self._requantized(made, end, out, unit)

    def _bias(self, name: str, integers: Array, unit: float) -> str:
        if self.qonnx:
            return self._constant(name, (integers * unit).astype(np.float32))
        inputs = [self._constant(f"{name}.q", integers.astype(np.int32)), self._real(f"{name}.scale", unit)]
        return self._node("DequantizeLinear", inputs, name)

    def _matmul(self, op: Op, name: str) -> str:
        return self._product(op, name, "Gemm", transB=1)

    def _conv2d(self, op: Op, name: str) -> str:
        a = op.attrs
        around = [*a.padding] * 2
        return self._product(
            op, name, "Conv", strides=a.stride, pads=around, dilations=a.dilation, group=a.groups
        )

    # Elements and windows

    def _requant(self, op: Op, name: str) -> str:
        return self._requantized(self._in(op), op.attrs, op.outputs[0], _unit(op.inputs[0]))

    def _activate(self, op: Op, name: str) -> str:
        if op.attrs.fn == "relu":
            return self._node("Relu", [self._in(op)], name)
        zero = self._real(f"{name}.zero", 0.0)
        positive = self._node("GreaterOrEqual", [self._in(op), zero], f"{name}.positive")
        ends = [
            self._real(f"{name}.one", _unit(op.outputs[0])),
            self._real(f"{name}.minus", -_unit(op.outputs[0])),
        ]
        return self._node("Where", [positive, *ends], name)

    def _leaky(self, op: Op, name: str) -> str:
        unit = _unit(op.inputs[0])
        less = self._node(
            "Mul", [self._in(op), self._real(f"{name}.slope", 2.0**-op.attrs.shift / unit)], f"{name}.less"
        )
        low = self._node("Floor", [less], f"{name}.floor")
        low = self._node("Mul", [low, self._real(f"{name}.unit", unit)], f"{name}.low")
        return self._node("Max", [self._in(op), low], name)

    def _lut(self, op: Op, name: str) -> str:
        x = op.inputs[0]
        position = self._node("Div", [self._in(op), self._real(f"{name}.unit", _unit(x))], f"{name}.position")
        least = self._real(f"{name}.least", -x.format.least)  # type: ignore[attr-defined]
        place = self._node("Add", [position, least], f"{name}.place")
        index = self._node("Cast", [place], f"{name}.index", to=TensorProto.INT32)
        table = np.array(op.attrs.table) * _unit(op.outputs[0])
        return self._node("Gather", [self._constant(f"{name}.table", table.astype(np.float32)), index], name)

    def _add(self, op: Op, name: str) -> str:
        return self._node("Add", [self._in(op, 0), self._in(op, 1)], name)

    def _offset(self, op: Op, _name: str) -> str:
        return self._in(op)  # the zero point of the input is taken off with it

    def _reshape(self, op: Op, name: str) -> str:
        shape = self._constant(f"{name}.shape", np.array([-1, *op.outputs[0].shape[1:]], np.int64))
        return self._node("Reshape", [self._in(op), shape], name)

    def _max_pool(self, op: Op, name: str) -> str:
        kernel, stride, padding = pool_geometry(op)
        around = [*padding] * 2
        return self._node("MaxPool", [self._in(op)], name, kernel_shape=kernel, strides=stride, pads=around)

    def _sum_pool(self, op: Op, name: str) -> str:
        a = op.attrs
        geometry = {"kernel_shape": a.kernel, "strides": a.stride, "pads": [*a.padding] * 2}
        return self._node("AveragePool", [self._in(op)], name, count_include_pad=1, **geometry)

    def _sum_unpool(self, op: Op, name: str) -> str:
        """Copies of rows and columns; a forward pass has no others."""
        scales = self._constant(f"{name}.scales", np.array([1, 1, *op.attrs.kernel], np.float32))
        places = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._node("Resize", [self._in(op), "", scales], name, mode="nearest", **places)


def _unit(value: Value) -> float:
    assert value.unit is not None, value.name
    return value.unit


def _range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
