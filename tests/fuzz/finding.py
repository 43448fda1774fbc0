"""Findings, and the checks that lead to them."""

import resource
from contextlib import contextmanager

import numpy as np

REFUSALS = (TypeError, ValueError, MemoryError)


class Finding(Exception):
    """Something that must not happen, of a kind that the table counts."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


def require(holds, text, kind="wrong result"):
    if not holds:
        raise Finding(kind, text)


def check_message(error):
    """An error must say in one line what was wrong."""
    text = str(error)
    require(text.strip(), f"{type(error).__name__} without a message", "message")
    require("\n" not in text, f"{type(error).__name__} of several lines: {text!r}", "message")


def attempt(call, *arguments, refusals=REFUSALS, what="", **numbers):
    """The result of a call that may refuse its arguments, and whether it did; any other exception is a finding."""
    try:
        return call(*arguments, **numbers), False
    except refusals as error:
        check_message(error)
        return None, True
    except Finding:
        raise
    except Exception as error:
        name = what or getattr(call, "__name__", "call")
        raise Finding("exception", f"{name}: {type(error).__name__}: {error}") from error


def check_close(actual, expected, bound, what):
    """|actual - expected| <= bound, element by element; what is not finite is the same."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    require(actual.shape == expected.shape, f"{what} has the shape {actual.shape}, not {expected.shape}")
    bound = np.broadcast_to(bound, expected.shape)
    finite = np.isfinite(expected)
    with np.errstate(invalid="ignore"):
        near = np.abs(actual - expected) <= bound
    wrong = ~np.where(finite, near, (actual == expected) | (np.isnan(actual) & np.isnan(expected)))
    if wrong.any():
        i = tuple(map(int, np.argwhere(wrong)[0]))
        got = f"{actual[i]!r}, must be {expected[i]!r} within {bound[i]:.3g}"
        raise Finding("wrong result", f"{what}{list(i)} is {got}; {int(wrong.sum())} of {wrong.size} are wrong")


def check_same(actual, expected, what):
    """The same bits."""
    same = actual.dtype == expected.dtype and actual.shape == expected.shape
    require(same and actual.tobytes() == expected.tobytes(), f"{what} is not bitwise what it must be")


class Unchanged:
    """Arrays that a call must leave as they are."""

    def __init__(self, *values):
        self._arrays = [value for value in values if isinstance(value, np.ndarray)]
        self._bytes = [array.tobytes() for array in self._arrays]

    def check(self, what):
        for array, before in zip(self._arrays, self._bytes, strict=True):
            require(array.tobytes() == before, f"{what} has changed an input of the shape {array.shape}")


def peak():
    """Bytes of memory that this process has used at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def memory_within(megabytes, what):
    """The body must not take more memory than that."""
    before = peak()
    yield
    grown = (peak() - before) // 2**20
    require(grown <= megabytes, f"{what}: took {grown} MB of memory", "memory")
