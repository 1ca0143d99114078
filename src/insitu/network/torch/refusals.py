"""What cannot be captured, and what to use instead; every refusal names the module, its place and a remedy."""

from __future__ import annotations

import re
from typing import NoReturn

from torch import Tensor, fx, nn

from insitu.errors import NetworkError
from insitu.network.torch.calls import Place, op_name, short_name

SUPPORTED = (
    "nn.Linear, nn.Conv2d, nn.BatchNorm1d or 2d, nn.RMSNorm, ReLU, LeakyReLU, Tanh, Sigmoid, Hardtanh, max "
    "and average pools, Dropout, Flatten, and sums of two values"
)

_GROUPS: dict[str, str] = {
    "Use nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid or nn.Hardtanh": (
        "GELU SiLU ELU SELU CELU Mish Hardswish Hardsigmoid PReLU RReLU Softplus Softsign LogSigmoid "
        "Threshold GLU Tanhshrink Hardshrink Softshrink gelu silu elu selu celu mish hardswish "
        "hardsigmoid prelu rrelu softplus log_sigmoid threshold glu exp sin abs clamp_min maximum"
    ),
    "Use nn.ReLU or nn.Hardtanh": "ReLU6 relu6",
    "Remove it: the losses work on logits": (
        "Softmax LogSoftmax Softmin Softmax2d softmax log_softmax _softmax _log_softmax"
    ),
    "Use nn.Conv2d with a height of 1": "Conv1d conv1d",
    "Use nn.Conv2d": "Conv3d conv3d LazyConv2d Bilinear bilinear",
    "Use a 2d pool with a height of 1": (
        "MaxPool1d AvgPool1d AdaptiveAvgPool1d AdaptiveMaxPool1d max_pool1d avg_pool1d "
        "adaptive_avg_pool1d adaptive_max_pool1d max_pool1d_with_indices"
    ),
    "Use a feed-forward network on a window of the sequence, such as nn.Conv2d over time": (
        "LSTM GRU RNN LSTMCell GRUCell RNNCell lstm gru rnn_tanh rnn_relu"
    ),
    "Use convolutions; attention is not served by the learning rules": (
        "MultiheadAttention scaled_dot_product_attention matmul bmm einsum"
    ),
    "Feed the numbers themselves, or one-hot codes to nn.Linear": "Embedding EmbeddingBag embedding",
    "Use nn.BatchNorm2d, or nn.RMSNorm over all features of a sample with elementwise_affine=False": (
        "LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d LocalResponseNorm BatchNorm3d "
        "SyncBatchNorm layer_norm group_norm instance_norm native_layer_norm"
    ),
    "Use nn.BatchNorm1d on (batch, features) or nn.BatchNorm2d on images": "batch_norm",
    "Use nn.Dropout": (
        "Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout feature_dropout alpha_dropout "
        "feature_alpha_dropout bernoulli rand_like native_dropout"
    ),
    "Use a network without up-sampling: there is no transposed convolution": (
        "ConvTranspose1d ConvTranspose2d Upsample UpsamplingNearest2d PixelShuffle conv_transpose1d "
        "conv_transpose2d upsample_nearest2d upsample_bilinear2d pixel_shuffle"
    ),
    "Use the padding of nn.Conv2d (zeros, the same on both sides)": (
        "ZeroPad2d ReflectionPad2d ReplicationPad2d CircularPad2d pad constant_pad_nd"
    ),
    "Remove the weight norm before capture": "_weight_norm _weight_norm_interface",
    "Use a sum of two values of the same shape": "cat concat concatenate stack",
    "Scale and shift the data instead, or let the weights of a layer do it": "mul div sub rsub neg pow sqrt",
    "Keep (batch, channels, height, width) or (batch, features), and flatten with x.flatten(1)": (
        "permute transpose t unsqueeze select slice unflatten Unflatten expand chunk"
    ),
    "Use x.mean((2, 3)) or nn.AdaptiveAvgPool2d(1)": "sum amax max std var",
    "Remove it: the learning rule decides where errors stop": "detach wrap_with_set_grad_enabled",
    "Remove the autocast: number formats are the precision's business": "wrap_with_autocast",
    "Remove the condition: the same layers must run for every input": "cond while_loop scan where",
}
"""Classes of ``torch.nn`` and aten ops that have no layer kind, by what to use instead."""

REMEDIES: dict[str, str] = {name: remedy for remedy, names in _GROUPS.items() for name in names.split()}

PLAIN = "Use nn.Linear, nn.Conv2d or nn.BatchNorm with plain parameters, without weight norm or the like"

_ONE_TENSOR = "its forward takes more than one input. Give it one tensor"
EXPORT_REMEDIES: dict[str, str] = {
    "DataDependent": (
        "its control flow depends on the values of the data. Remove the condition: the same layers must run "
        "for every input"
    ),
    "missing a required argument": _ONE_TENSOR,
    "required positional argument": _ONE_TENSOR,
}
"""Reasons and remedies by a word of the error's class or text."""


def refuse(node: fx.Node, reason: str, remedy: str) -> NoReturn:
    """Refuses one call."""
    raise NetworkError(f"cannot capture {Place.of(node).text(op_name(node))}: {reason}. {remedy}")


def refuse_kind(node: fx.Node) -> NoReturn:
    """No layer kind; the remedy is that of the innermost module that has one, or of the op."""
    place, op = Place.of(node), op_name(node)
    if any(k.startswith("torch.nn.utils.parametri") for k in place.kinds):
        remove = "torch.nn.utils.parametrize.remove_parametrizations"
        refuse(node, "a weight is computed from others", f"Remove that with {remove}")
    classes = [short_name(k) for k in place.kinds if k.startswith("torch.nn.")]
    known = next((name for name in [*classes, op] if name in REMEDIES), None)
    inner = place.builtin and known not in classes
    reason = f"its {op} has no layer kind" if inner else "it has no layer kind"
    refuse(node, reason, REMEDIES[known] if known else f"Use {SUPPORTED}")


def export_failure(module: nn.Module, example: Tensor, error: Exception) -> str:
    """Why the export failed, with a remedy if a known module or kind of error is behind it."""
    head = f"cannot capture {type(module).__name__}"
    for path, child in module.named_modules():
        trouble = _known_trouble(child)
        if trouble:
            return f"{head}: {path or 'the module itself'!r} (nn.{type(child).__name__}) {trouble}"
    for kind, remedy in EXPORT_REMEDIES.items():
        if kind in type(error).__name__ or kind in str(error):
            return f"{head}: {remedy}"
    return (
        f"{head}: it does not run on an input of shape {list(example.shape)}: {_first_line(error)}. Check "
        "the shape of the example input, and that the module takes one tensor"
    )


def _known_trouble(module: nn.Module) -> str:
    """Why a module by itself cannot be captured, and the remedy; else an empty text."""
    remedy = REMEDIES.get(type(module).__name__)
    if remedy:
        return f"has no layer kind. {remedy}"
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is None:
        return "averages plainly (momentum=None). Use a momentum such as 0.1"
    return ""


def _first_line(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    first = next(filter(None, lines), type(error).__name__)
    return re.sub(r"\bs\d+\b", "batch", first).rstrip(".")  # s77 is torch's symbol for the batch
