"""A folder of images as a data set; see `classes` for how they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from insitu.data import classes
from insitu.data.dataset import Dataset
from insitu.data.request import Request
from insitu.errors import DataError
from insitu.inputs import bounds
from insitu.inputs.arrays import DAMAGE

OPTIONS = ("mode", "size", *classes.OPTIONS)
KIND = classes.Kind(
    "images", (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
)
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")


def load_images(root: Path, request: Request) -> Dataset:
    """x float32 (N, C, H, W) in [0, 1], y int64 (N,).

    Grey when every image that is read is grey, else RGB; option `mode` ("grey" or "rgb") decides otherwise.
    All images must have one size, or option `size` (pixels) makes them size x size.
    """
    request.allow_options(OPTIONS)
    mode = request.choice("mode", "auto", ("auto", "grey", "rgb"))
    size = request.whole("size", None, 1, bounds.PIXELS.value)
    plan = classes.plan(root, KIND, request)
    images = [_read(path, mode, size) for path, _ in plan.files]
    return plan.dataset(root, _stack([path for path, _ in plan.files], images))


def _read(path: Path, mode: str, size: int | None) -> np.ndarray:
    """One image as uint8 (H, W) when grey, (H, W, 3) when in colour; turned as its EXIF orientation says."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if max(opened.size) > bounds.PIXELS.value:
                raise ValueError(
                    f"{opened.width}x{opened.height} pixels, more than {bounds.PIXELS.value} a side"
                )
            image = ImageOps.exif_transpose(opened)  # as a viewer shows it
            if image.mode not in (*_GREY, *_COLOUR):
                raise ValueError(f"pixel type {image.mode}, not 8 bit")
            grey = mode == "grey" or (mode == "auto" and image.mode in _GREY)
            plain = image.convert("RGBA") if image.mode in ("P", "PA") and not grey else image
            plain = plain.convert("L" if grey else "RGB")
            if size is not None and plain.size != (size, size):
                plain = plain.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(plain)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: cannot be read as an image ({error}). Repair, convert or remove it."
        ) from error


def _stack(paths: list[Path], images: list[np.ndarray]) -> np.ndarray:
    """float32 (N, C, H, W) in [0, 1]; grey images are repeated to RGB when any image has colour."""
    rows, columns = images[0].shape[:2]
    channels = 3 if any(image.ndim == 3 for image in images) else 1
    x_NCHW = np.empty((len(images), channels, rows, columns), dtype=np.float32)
    for k, image in enumerate(images):
        if image.shape[:2] != (rows, columns):
            raise DataError(
                f"{paths[k]}: {image.shape[1]}x{image.shape[0]} pixels, but {paths[0]} has {columns}x{rows}. "
                "Make all images one size, or add --set data_options.size=32 (pixels a side)."
            )
        x_NCHW[k] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    x_NCHW /= np.float32(255.0)
    return x_NCHW
