"""Signals that wait: they arrive, late, and all works afterwards; while Numba starts, compiles and loads, too."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import fastbp
from fastbp.kernels._interrupts import uninterrupted

ROOT = Path(fastbp.__file__).parents[1]
SIGINT = signal.SIGINT


@pytest.fixture(autouse=True)
def usual():
    """Python's own handler, during the test and after it."""
    before = signal.signal(SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(SIGINT, before) is signal.default_int_handler


def test_an_interrupt_waits_for_the_end():
    done = []

    def work(value, more):
        signal.raise_signal(SIGINT)
        signal.raise_signal(SIGINT)
        done.append(value + more)

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work, 1, 2)
    assert done == [3]


def test_without_one_it_is_the_function_itself():
    def half(value):
        return 6 / value

    assert uninterrupted(half, 2) == 3
    with pytest.raises(ZeroDivisionError):
        uninterrupted(half, 0)


def test_an_interrupt_is_not_lost_when_the_function_fails():
    def fail():
        signal.raise_signal(SIGINT)
        raise ValueError

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(fail)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGALRM", "SIGUSR1", "SIGCHLD", "SIGWINCH", "SIGCONT", "SIGIO", "SIGURG"])
def test_signals_of_every_kind_wait(name):
    if not hasattr(signal, name):
        pytest.skip(f"no {name} on this system")
    number, calls = getattr(signal, name), []
    before = signal.signal(number, lambda *_: calls.append("called"))
    try:
        uninterrupted(lambda: calls.extend([signal.raise_signal(number), "done"]))
    finally:
        signal.signal(number, before)
    assert calls == [None, "done", "called"]


def test_one_within_another():
    done = []

    def inside():
        signal.raise_signal(SIGINT)

    def outside():
        uninterrupted(inside)
        done.append(True)

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(outside)
    assert done == [True]


def test_a_handler_of_the_user_is_called_as_often_as_interrupts_came():
    calls = []
    before = signal.signal(SIGINT, lambda number, frame: calls.append((number, frame is not None)))

    def work():
        signal.raise_signal(SIGINT)
        signal.raise_signal(SIGINT)
        return len(calls)

    try:
        assert uninterrupted(work) == 0
    finally:
        signal.signal(SIGINT, before)
    assert calls == [(SIGINT, True)] * 2


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_other_handling_stays(handler):
    before = signal.signal(SIGINT, handler)
    try:
        assert uninterrupted(signal.getsignal, SIGINT) == handler
    finally:
        signal.signal(SIGINT, before)


def test_other_threads_change_nothing():
    seen = []
    thread = threading.Thread(target=uninterrupted, args=(lambda: seen.append(signal.getsignal(SIGINT)),))
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_an_interrupt_at_any_instruction():
    """It always arrives, and never leaves another handler behind."""

    def interrupt_at(instruction):
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            if frame.f_code.co_name not in ("uninterrupted", "_restore", "_call"):
                return None
            frame.f_trace_opcodes = True
            count += event == "opcode"
            if event == "opcode" and count == instruction:
                signal.raise_signal(SIGINT)
            return trace

        previous = sys.gettrace()
        sys.settrace(trace)
        try:
            uninterrupted(int)
        finally:
            sys.settrace(previous)
            handler = signal.signal(SIGINT, signal.default_int_handler)
        assert handler is signal.default_int_handler
        return count < instruction

    instruction = 1
    while True:
        try:
            ended = interrupt_at(instruction)
        except KeyboardInterrupt:
            instruction += 1
            continue
        assert ended, f"the interrupt at instruction {instruction} was lost"
        break
    assert instruction > 20


def test_signals_wait_in_their_order():
    calls = []
    before = signal.signal(signal.SIGUSR1, lambda *_: calls.append("first"))

    def interrupted():
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGINT)
        calls.append("function")

    try:
        with pytest.raises(KeyboardInterrupt):
            uninterrupted(interrupted)
        assert calls == ["function", "first"]
        assert uninterrupted(lambda x: x + 1, 2) == 3
    finally:
        signal.signal(signal.SIGUSR1, before)


TRIALS = """
import os, signal, sys
import numpy as np
{before}

x = np.array([-1.0, 0.0, 1.0])

def use():
    from fastbp import kernels
    y, product = np.empty(3), np.empty((70, 70))
    kernels.tanh_forward(x, y)
    kernels.matmul(np.ones((70, 70)), np.ones((70, 70)), product)
    assert np.allclose(y, np.tanh(x)) and (product == 70).all()

def attempt(moment):
    "Calls in the first use, which is interrupted at one of them; how it ended."
    calls = 0
    def count(frame, event, argument):
        nonlocal calls
        calls += 1
        if calls == moment:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)
    outcome = "no interrupt"
    sys.setprofile(count)
    try:
        {first}
        sys.setprofile(None)
    except KeyboardInterrupt:
        outcome = "interrupted"
    finally:
        sys.setprofile(None)
    try:
        use()
    except Exception as error:
        outcome += f", then {{error!r}}"
    return f"{{calls}} {{outcome}}"

def in_child(moment):
    "The attempt in a process of its own, in which Numba has loaded nothing yet."
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, attempt(moment).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        calls, _, outcome = file.read().partition(" ")
    os.wait()
    return int(calls), outcome

if "warm" in sys.argv:
    use()
    sys.exit()
calls, outcome = in_child(-1)
print(outcome)
step = calls // {trials}  # the number of calls may differ a little from one process to the next
for moment in range(step // 2, calls - step // 4, step):
    outcome = in_child(moment)[1]
    if outcome != "interrupted":
        print(f"call {{moment}} of {{calls}}: {{outcome}}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a fork that is safe behind NumPy")
@pytest.mark.parametrize(
    ("before", "first", "trials"),
    [("import fastbp", "use()", 20), ("", "import fastbp", 5)],
    ids=["first use", "import"],
)
def test_everything_works_after_an_interrupt(before, first, trials):
    program = TRIALS.format(before=before, first=first, trials=trials)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    for arguments, expected in [(["warm"], ""), ([], "no interrupt\n")]:  # from the second on, all is in the cache
        command = [sys.executable, "-c", program, *arguments]
        result = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=600)
        assert (result.stdout, result.returncode) == (expected, 0), result.stderr
