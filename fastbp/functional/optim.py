"""Updates of parameters."""

import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import Array, check_number, common_real


def sgd_update(g: npt.ArrayLike, w: npt.ArrayLike, lr: float, l2: float = 0.0) -> Array:
    """w - lr (g + 2 l2 w) as a new array.

    Examples
    --------
    >>> from fastbp import functional as F
    >>> F.sgd_update([3.0], [3.0], 0.5)
    array([1.5])
    """
    gradient, weight = common_real(g, w, names=["g", "w"])
    result = weight.copy(order="K")
    kernels.sgd_update(gradient, result, check_number(lr, "lr"), check_number(l2, "l2"))
    return result
