"""The O(w) cost of backpropagation: counted multiply-adds, time for each, and the exponent of time over work."""

from cost import GROWTH, PASSES

from .script import effort, run


class _Measured:
    """Both growths, measured once for all benchmarks of this file."""

    timeout = 600

    def setup_cache(self):
        return {result["growth"]: result for result in run("cost", *effort(2, 0.2))}


class Depth(_Measured):
    params = ([matrices for matrices, _ in GROWTH["depth"]], PASSES)
    param_names = ("matrices", "pass")
    growth = "depth"

    def _pass(self, measured, size, name):
        return measured[self.growth]["points"][self.params[0].index(size)][name]

    def track_products(self, measured, size, name):
        return self._pass(measured, size, name)["products"]

    def track_multiply_adds(self, measured, size, name):
        return self._pass(measured, size, name)["multiply_adds"]

    def track_time_per_multiply_add(self, measured, size, name):
        result = self._pass(measured, size, name)
        return result["time"] / result["multiply_adds"] * 1e6

    track_products.unit = "products"
    track_multiply_adds.unit = "multiply-adds"
    track_time_per_multiply_add.unit = "picoseconds"


class Width(Depth):
    params = ([width for _, width in GROWTH["width"]], PASSES)
    param_names = ("width", "pass")
    growth = "width"


class Exponent(_Measured):
    params = (list(GROWTH),)
    param_names = ("growth",)

    def track_exponent(self, measured, growth):
        return measured[growth]["exponent"]

    def track_r_squared(self, measured, growth):
        return measured[growth]["r_squared"]
