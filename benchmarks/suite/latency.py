"""How long a user waits for the compiler, and for the first step of a process."""

from latency import STARTS, kernels

from .script import run


class _Measured:
    unit = "seconds"
    timeout = 900

    def setup_cache(self):
        return run("latency")


class Compile(_Measured):
    params = (list(kernels()),)
    param_names = ("kernel",)

    def track_compile(self, measured, kernel):
        return measured["compile"][kernel]


class Start(_Measured):
    params = (list(STARTS),)
    param_names = ("start",)

    def track_start(self, measured, start):
        return measured["start"][start]
