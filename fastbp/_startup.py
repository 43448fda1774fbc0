"""What happens when the command line cannot start: while it imports the rest, before anything of it runs.

``fastbp/__init__.py`` imports this first and calls `end` last. In any other program nothing is changed.
"""

import contextlib
import os
import signal
import sys
import threading
from types import TracebackType
from typing import Any, NoReturn

INTERRUPTED = 130  # exit status after Ctrl-C, as shells give it


def _is_command_line() -> bool:
    """Whether this process is ``fastbp`` or ``python -m fastbp``."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    if program == "-m":  # so it is called while Python looks for the module to run
        return not {"fastbp", "-mfastbp"}.isdisjoint(sys.orig_argv)
    return os.path.splitext(os.path.basename(program))[0] == "fastbp"


def _stop(*_: Any) -> NoReturn:
    """Ctrl-C: nothing is lost yet, and an exception might be swallowed by whatever is being imported."""
    with contextlib.suppress(OSError):
        os.write(2, b"\ninterrupted\n")
    os._exit(INTERRUPTED)


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """One line for an environment in which the package cannot be imported."""
    if issubclass(kind, ImportError | ValueError):
        text = " ".join(str(error).split()).removeprefix("fastbp: ")
        sys.stderr.write(f"fastbp: cannot start: {text}\n")
    else:
        sys.__excepthook__(kind, error, traceback)


def begin() -> None:
    """Ctrl-C and errors end the command line in one line from here on."""
    if not _is_command_line() or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report


def end() -> None:
    """Everything is imported: Ctrl-C and errors are what they always were."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.excepthook is _report:
        sys.excepthook = sys.__excepthook__


begin()
