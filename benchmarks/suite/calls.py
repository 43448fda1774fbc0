"""What a call costs besides its work."""

from calls import calls

from .script import run


class Call:
    params = (list(calls()),)
    param_names = ("call",)
    unit = "microseconds"
    timeout = 300

    def setup_cache(self):
        return run("calls")

    def track_time(self, measured, call):
        return measured[call]
