"""Reads ONNX graphs: ``load(path).network`` is what the graph computes, with its weights.

Needs the package ``onnx`` (``pip install 'insitu[onnx]'``), and no torch.
"""

from insitu.network.onnx.reader import Imported, load

__all__ = ["Imported", "load"]
