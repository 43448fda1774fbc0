"""What a person sees while `fit` runs, on standard error.

A line per epoch, or where there are many about fifty, and one every ten seconds; on a terminal a bar of the batches.
"""

import contextlib
import sys
import time
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

_LINES = 50
_LONGEST = 10  # seconds without a line


class Progress:
    """Context manager around the epochs of one `fit`."""

    def __init__(self, epochs: int, batches: int, *, show: bool) -> None:
        self._epochs, self._show = epochs, show and sys.stderr is not None
        self._every, self._written = -(-epochs // _LINES), time.monotonic()
        self._bar: Any = None
        if show and sys.stderr is not None and sys.stderr.isatty():
            self._bar = tqdm(total=epochs * batches, unit=" batches", file=sys.stderr, dynamic_ncols=True, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()

    def batch(self) -> None:
        """One more batch is done."""
        if self._bar is not None:
            with contextlib.suppress(OSError):  # whoever read it has gone: the training goes on
                self._bar.update()

    def epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Epoch number ``epoch`` (from 1) is done, with these values."""
        if not self._show or not self._is_due(epoch):
            return
        self._written = time.monotonic()
        text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        line = f"epoch {epoch:{len(str(self._epochs))}d}/{self._epochs}  {text}"
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.write(line, file=sys.stderr)
            else:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()

    def _is_due(self, epoch: int) -> bool:
        is_one_of_few = epoch % self._every == 0 or epoch in (1, self._epochs)
        return is_one_of_few or time.monotonic() - self._written >= _LONGEST
