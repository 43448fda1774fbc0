"""The digits that come with the package; README.md beside this file names their source and licence."""

from importlib import resources

import numpy as np
import numpy.typing as npt


def load_digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Images of handwritten digits and the digits they show.

    Returns
    -------
    x : ndarray, float32, shape (1797, 64)
        8 x 8 pixels in row-major order, from 0 (white) to 1 (black). For a convolutional network:
        ``x.reshape(-1, 1, 8, 8)``.
    y : ndarray, int64, shape (1797,)
        0 to 9.

    Source: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, E. Alpaydin and C. Kaynak,
    1998, licence CC BY 4.0.

    Examples
    --------
    >>> import fastbp as fb
    >>> x, y = fb.datasets.load_digits()
    >>> x.shape, y[:10]
    ((1797, 64), array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
    """
    with resources.files("fastbp.datasets").joinpath("digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        return archive["x"].astype(np.float32) / np.float32(16), archive["y"].astype(np.int64)
