"""What happens when the command line cannot start: while it imports the rest, before anything of it runs.

``fastbp/__init__.py`` imports this first and calls `end` last. In any other program nothing is changed.
"""

# What Python has loaded already when it starts: during any other import, Ctrl-C would still end in a traceback.
import _signal  # type: ignore[import-not-found]
import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn

INTERRUPTED = 130  # exit status after Ctrl-C, as shells give it


def _is_command_line() -> bool:
    """Whether this process is ``fastbp`` or ``python -m fastbp``."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    if program == "-m":  # so it is called while Python looks for the module to run
        return not {"fastbp", "-mfastbp"}.isdisjoint(sys.orig_argv)
    return os.path.splitext(os.path.basename(program))[0] == "fastbp"


def _stop(*_: object) -> "NoReturn":
    """Ctrl-C: nothing is lost yet, and an exception might be swallowed by whatever is being imported."""
    try:
        os.write(2, b"\ninterrupted\n")
    finally:
        os._exit(INTERRUPTED)


def _report(kind: type[BaseException], error: BaseException, traceback: "TracebackType | None") -> None:
    """One line for an environment in which the package cannot be imported."""
    if issubclass(kind, ImportError | ValueError):
        text = " ".join(str(error).split()).removeprefix("fastbp: ")
        sys.stderr.write(f"fastbp: cannot start: {text}\n")
    else:
        sys.__excepthook__(kind, error, traceback)


def _is_main_thread() -> bool:
    """Without `threading`, which knows whether it is already imported; the command line imports this first of all."""
    threading = sys.modules.get("threading")
    return threading is None or threading.main_thread().ident == _thread.get_ident()


def begin() -> None:
    """Ctrl-C and errors end the command line in one line from here on."""
    if not _is_command_line() or not _is_main_thread():
        return
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _stop)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report


def end() -> None:
    """Everything is imported: Ctrl-C and errors are what they always were."""
    if _signal.getsignal(_signal.SIGINT) is _stop:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    if sys.excepthook is _report:
        sys.excepthook = sys.__excepthook__


def leave() -> None:
    """The command line has done its work: Ctrl-C has nothing to end any more."""
    if _is_command_line() and _is_main_thread():
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)


begin()
