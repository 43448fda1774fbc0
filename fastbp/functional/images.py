"""What the functions of images share."""

from fastbp._checks import Array
from fastbp.kernels.windows import IMAGES


def check_axes(name: str, axes: int, key: str, x: Array) -> None:
    """Refuse what is no batch of images with so many ``axes``."""
    if x.ndim != 2 + axes:
        raise ValueError(f"{name}: {key} must be images {IMAGES[axes]}, got the shape {x.shape}")
