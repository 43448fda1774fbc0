"""Records: the arguments of a task, in memory, so that a task can be described once and run many times."""

import numpy as np
from numba import from_dtype, types
from numba.extending import intrinsic


class Record:
    """Names of the arguments of a task: 64-bit integers (addresses, sizes, choices), and factors of its dtype."""

    def __init__(self, integers: str, factors: str) -> None:
        self._dtypes = {
            real: np.dtype([(n, "i8") for n in integers.split()] + [(n, real) for n in factors.split()], align=True)
            for real in ("f", "d")
        }
        self._types = {
            real: from_dtype(self._dtypes[char]) for char, real in (("f", types.float32), ("d", types.float64))
        }

        @intrinsic
        def at(typing_context, address, like):
            """The record at ``address``, for the dtype of the number or pointer ``like``."""
            record = self._types[getattr(like, "dtype", like)]

            def generate(context, builder, signature, arguments):
                return builder.inttoptr(arguments[0], context.get_value_type(record))

            return record(types.int64, like), generate

        self.at = at

    def type(self, real: types.Float) -> types.Record:
        """Numba's type of the record with factors of type ``real``."""
        return self._types[real]

    def new(self, dtype: np.dtype) -> np.ndarray:
        """An empty record for arrays of ``dtype``: one element whose fields can be set by name."""
        return np.zeros(1, self._dtypes[dtype.char])
