"""Where the windows of a convolution or a pooling lie on an image of one, two or three dimensions.

For each axis, with H elements, a window of K elements ``dilation`` apart, and P elements of padding before and behind:

    reach = dilation (K - 1) + 1            elements that a window spans
    windows = floor((H + before + behind - reach) / stride) + 1
    element k of window o lies at o stride - before + k dilation

"same" pads so that there are ceil(H / stride) windows, with the odd element behind, as ONNX's SAME_UPPER does; "valid"
does not pad. All cases are drawn in Dumoulin and Visin, A guide to convolution arithmetic for deep learning
(arXiv 1603.07285).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import index
from typing import Any

import numpy as np

from fastbp.kernels._arrays import check_flag, shown

MOST = 2**31 - 1  # of every number: products of two of them are integers of 64 bits
AXES = 3  # compiled code sees every image as (N, C, D, H, W)
IMAGE, SIZE, STRIDE, DILATION, BEFORE, OUTPUT = range(6)  # columns of `Windows.table`
IMAGES = {1: "(N, C, W)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}

Size = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Windows:
    """Windows on an image; one number per axis everywhere."""

    image: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]
    output: tuple[int, ...]
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # tables are looked up by it in every call
        numbers = self.image, self.size, self.stride, self.dilation, self.before, self.behind, self.output
        object.__setattr__(self, "_hash", hash(numbers))

    def __hash__(self) -> int:
        return self._hash

    def describe(self) -> str:
        """One line for error messages."""
        return (
            f"image {_text(self.image)}, size {_text(self.size)}, stride {_text(self.stride)}, "
            f"padding {_text(list(zip(self.before, self.behind, strict=True)))}, dilation {_text(self.dilation)}"
        )

    def table(self) -> np.ndarray:
        """The numbers (image, size, stride, dilation, before, output) of `AXES` axes; those in front have length 1."""
        table = np.array([[1, 1, 1, 1, 0, 1]] * AXES)
        columns = self.image, self.size, self.stride, self.dilation, self.before, self.output
        table[AXES - len(self.image) :] = np.transpose(columns)
        return table

    def spans(self, axis: int = -1, elements: np.ndarray | None = None) -> np.ndarray:
        """Rows (first, stop, offset) for the ``elements`` of a window on an axis, by default for all of them.

        For windows o from first to stop - 1 an element is on the image, at o stride + offset.
        """
        image, stride, count = self.image[axis], self.stride[axis], self.output[axis]
        k = np.arange(self.size[axis]) if elements is None else elements
        offset = k * self.dilation[axis] - self.before[axis]
        first = np.clip((stride - 1 - offset) // stride, 0, count)
        stop = np.maximum(first, np.minimum(count, (image - 1 - offset) // stride + 1))
        return np.stack([first, stop, offset], axis=1)


def windows(
    name: str,
    image: tuple[int, ...],
    size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    *,
    ceil: bool = False,
) -> Windows:
    """Windows of ``size`` on an ``image``; ``name`` is that of the operation, for its errors.

    Parameters
    ----------
    image : tuple of int
        Sizes of the axes behind (N, C).
    size, stride, dilation : int or one int per axis
    padding : int, one int or one pair (before, behind) per axis, "same" or "valid"
    ceil : bool
        Keep a last window that reaches over the edge, if it starts on the image or on the padding before it.

    Raises
    ------
    ValueError
        When a number is not positive (padding: negative), there are not as many as axes, or no window fits.
    TypeError
        When something is no integer.

    Examples
    --------
    >>> from fastbp.kernels.windows import windows
    >>> windows("conv2d", (5, 5), 3, stride=2, padding=1).output
    (3, 3)
    """
    check_flag(name, ceil=ceil)
    find = _windows_known if all(map(_is_plain, (size, stride, padding, dilation))) else _windows
    return find(name, tuple(image), size, stride, padding, dilation, ceil)


def _is_plain(numbers: Any) -> bool:
    """Whether ``numbers`` are integers or text, of which no two are equal without being the same."""
    if type(numbers) is tuple:
        return all([type(number) is int for number in numbers])
    return type(numbers) is int or type(numbers) is str


def _windows(name, image, size, stride, padding, dilation, ceil):
    """`windows`, worked out."""
    axes = len(image)
    sizes = _per_axis(name, "size", size, axes, 1)
    strides = _per_axis(name, "stride", stride, axes, 1)
    dilations = _per_axis(name, "dilation", dilation, axes, 1)
    reach = [d * (k - 1) + 1 for k, d in zip(sizes, dilations, strict=True)]
    sides = _sides(name, padding, image, strides, reach)
    output = []
    for axis, (before, behind) in enumerate(sides):
        room = image[axis] + before + behind - reach[axis]
        if room < 0:
            raise ValueError(
                f"{name}: a window that spans {_text(reach)} does not fit into an image of {_text(image)}"
                f" with padding {_text(sides)}"
            )
        count = room // strides[axis] + 1
        if ceil and room % strides[axis] and count * strides[axis] < image[axis] + before:
            count += 1
        output.append(count)
    # where there is one window, the stride leads nowhere
    strides = tuple(1 if count == 1 else s for count, s in zip(output, strides, strict=True))
    all_before, all_behind = (tuple(side[i] for side in sides) for i in (0, 1))
    return Windows(image, sizes, strides, dilations, all_before, all_behind, tuple(output))


_windows_known = lru_cache(maxsize=1024)(_windows)


def _sides(
    name: str, padding: Padding, image: tuple[int, ...], stride: tuple[int, ...], reach: list[int]
) -> list[tuple[int, int]]:
    """Padding (before, behind) of every axis."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f'{name}: padding must be integers, "same" or "valid", got {shown(padding)}')
        if padding == "valid":
            return [(0, 0)] * len(image)
        total = [max(0, (-(-n // s) - 1) * s + r - n) for n, s, r in zip(image, stride, reach, strict=True)]
        return [(n // 2, n - n // 2) for n in total]
    if isinstance(padding, Sequence) and any(isinstance(side, Sequence) for side in padding):
        if len(padding) != len(image):
            raise ValueError(f"{name}: padding must have {len(image)} pairs, got {shown(padding)}")
        pairs = (_per_axis(name, "padding", side, 2, 0) for side in padding)
        return [(before, behind) for before, behind in pairs]
    return [(n, n) for n in _per_axis(name, "padding", padding, len(image), 0)]


def _per_axis(name: str, key: str, value: Any, axes: int, least: int) -> tuple[int, ...]:
    """``value`` as one integer per axis, each at least ``least``."""
    wanted = f"one integer or {axes} integers" if axes > 1 else "an integer"
    values = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else (value,) * axes
    try:
        numbers = tuple(map(index, values))
    except TypeError:
        numbers = None
    if numbers is None or any(isinstance(number, bool) for number in values):
        raise TypeError(f"{name}: {key} must be {wanted}, got {shown(value)}")
    if len(numbers) != axes:
        raise ValueError(f"{name}: {key} must be {wanted}, got {shown(value)}")
    if any(number > MOST for number in numbers):
        raise ValueError(f"{name}: {key} must be at most {MOST}, got {shown(value)}")
    if any(number < least for number in numbers):
        raise ValueError(f"{name}: {key} must be {'positive' if least else 'at least 0'}, got {shown(value)}")
    return numbers


def _text(numbers: Sequence[object]) -> str:
    return " x ".join(map(str, numbers))


def check_images(name: str, key: str, x: np.ndarray) -> None:
    """Refuse what is no array (N, C, W), (N, C, H, W) or (N, C, D, H, W)."""
    if not isinstance(x, np.ndarray) or not 3 <= x.ndim <= 2 + AXES:
        got = f"the shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"{name}: {key} must be an array {IMAGES[1]}, {IMAGES[2]} or {IMAGES[3]}, got {got}")
