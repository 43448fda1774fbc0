"""What a person sees while `fit` runs: a bar on a terminal, else one line per epoch, both on standard error."""

import sys
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm


class Progress:
    """Context manager around the epochs of one `fit`."""

    def __init__(self, epochs: int, batches: int, *, show: bool) -> None:
        self._epochs = epochs
        self._bar: Any = None
        self._lines = show and not sys.stderr.isatty()
        if show and not self._lines:
            self._bar = tqdm(total=epochs * batches, unit="batch", file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def batch(self) -> None:
        """One more batch is done."""
        if self._bar is not None:
            self._bar.update()

    def epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Epoch number ``epoch`` (from 1) is done, with these values."""
        text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
            self._bar.set_postfix_str(text, refresh=False)
        elif self._lines:
            sys.stderr.write(f"epoch {epoch:{len(str(self._epochs))}d}/{self._epochs}  {text}\n")
            sys.stderr.flush()
