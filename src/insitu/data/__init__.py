"""Data sets as checked NumPy arrays: finding, loading, fetching, validating and augmenting them."""

from insitu.data.augment import Augment, flip, pad_crop
from insitu.data.dataset import Dataset, Split
from insitu.data.fetch import fetch
from insitu.data.registry import describe, load, names
from insitu.data.validate import check_dataset

__all__ = [
    "Augment",
    "Dataset",
    "Split",
    "check_dataset",
    "describe",
    "fetch",
    "flip",
    "load",
    "names",
    "pad_crop",
]
