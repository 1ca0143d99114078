"""What to use in place of an operator that has no layer. A remedy names only operators that are read."""

from __future__ import annotations

from collections.abc import Iterable

FAMILIES: dict[str, tuple[str, ...]] = {
    "Use Conv over time in place of recurrent layers": ("GRU", "LSTM", "RNN"),
    "Use Conv in place of attention": (
        "Attention",
        "GroupQueryAttention",
        "MatMulNBits",
        "MultiHeadAttention",
        "RotaryEmbedding",
    ),
    "Quantize it in the QDQ form: quantize_static(..., quant_format=QuantFormat.QDQ)": (
        "ConvInteger",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QGemm",
        "QLinearAdd",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearMatMul",
    ),
    "Use BatchNormalization, which needs no statistics of the sample": (
        "GroupNorm",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "LRN",
        "LpNormalization",
        "MeanVarianceNormalization",
        "RMSNormalization",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
    ),
    "Use LeakyRelu, whose one slope is a constant": (
        "Celu",
        "Elu",
        "PRelu",
        "Selu",
        "ThresholdedRelu",
    ),
    "Use Relu, HardSwish or Gelu": ("Mish", "Softplus", "Softsign", "Swish"),
    "Use Add of two maps of the same shape": ("Concat", "Max", "Mean", "Min", "Sum"),
    "Use Resize by a whole factor (nearest), then Conv": ("ConvTranspose", "DepthToSpace", "MaxUnpool"),
    "Use MaxPool, AveragePool, GlobalMaxPool or GlobalAveragePool": (
        "GlobalLpPool",
        "LpPool",
        "MaxRoiPool",
        "ReduceMax",
        "ReduceSum",
        "SpaceToDepth",
    ),
    "Use Conv or Gemm on all channels, with weights of 0 where there is nothing to read": ("Slice", "Split"),
    "Feed one-hot codes to Gemm": ("Gather", "OneHot"),
    "Export it for one path, without conditions or loops": ("If", "Loop", "Scan", "Where"),
}
"""Remedies, and the operators that each is for; those of other domains by the last part of their name."""

WITHOUT = {op: remedy for remedy, ops in FAMILIES.items() for op in ops}


def remedy(op: str, known: Iterable[str]) -> str:
    """What to use in place of an operator, or what there is."""
    return WITHOUT.get(op.rpartition(".")[2]) or f"Use {', '.join(sorted(known))}"
