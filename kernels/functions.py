"""exp, log(1 + e^x), tanh and sigmoid of one number, written so that LLVM turns a loop over them into vector code.

Numba would call the C library for each element. All are within 2 ulp over the whole range where the processor
fuses multiply and add (x86-64 since 2013, 64-bit Arm) and within 4 ulp elsewhere, underflow gradually, and propagate
NaN and infinity.

    exp x = 2^n e^r      n = round(x / ln 2), r = x - n ln 2, |r| <= ln(2) / 2, e^r by its Taylor series

The number of terms follows from the remainder of the series: 0.3466^8 / 8! is 0.1 ulp of float32, 0.3466^14 / 14! is
0.04 ulp of float64. ln 2 is split in two, so that n times its first part is exact. Adding 1.5 times 2^(digits of the
mantissa) rounds to the nearest integer and leaves it in the lowest bits.

    log(1 + e) = 2 artanh z = 2 (z + z^3 / 3 + z^5 / 5 + ...)      z = e / (2 + e), at most 1/3 for e <= 1

Its remainder after K terms is at most 9^-K / (2 K + 1) of it.
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from fastbp.kernels._jit import inner


@intrinsic
def multiply_add(typing_context, x, y, z):
    """x y + z, fused where the processor can."""

    def generate(context, builder, signature, arguments):
        scalar = arguments[0].type
        name = "llvm.fmuladd.f32" if isinstance(scalar, ir.FloatType) else "llvm.fmuladd.f64"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(scalar, [scalar] * 3), name)
        return builder.call(function, arguments)

    return x(x, x, x), generate


@intrinsic
def bits(typing_context, x):
    """The bits of a float as an integer of its width."""
    integer = types.Integer.from_bitwidth(x.bitwidth)
    return integer(x), lambda context, builder, signature, args: builder.bitcast(args[0], ir.IntType(x.bitwidth))


@intrinsic
def from_bits(typing_context, n):
    """The float whose bits are ``n``."""
    real = types.Float(f"float{n.bitwidth}")
    scalar = ir.FloatType() if n.bitwidth == 32 else ir.DoubleType()
    return real(n), lambda context, builder, signature, args: builder.bitcast(args[0], scalar)


class _Functions:
    """The functions for one floating-point format."""

    def __init__(self, real, integer, digits, exponent_bias, underflow, overflow, ln2_high, ln2_low, terms, odd, flat):
        shifter = real(1.5 * 2.0**digits)
        shifter_bits = int(shifter.view(integer))
        low, high = real(underflow), real(overflow)
        log2_e, ln2_high, ln2_low = real(math.log2(math.e)), real(ln2_high), real(ln2_low)
        taylor = tuple(real(1 / math.factorial(n)) for n in range(terms, 1, -1))
        artanh = tuple(real(1 / n) for n in range(2 * odd - 1, 1, -2))
        flat, zero, one, two = real(flat), real(0), real(1), real(2)

        @inner
        def reduce(x):
            """n and e^r - 1."""
            x = low if x < low else x
            x = high if x > high else x
            shifted = multiply_add(x, log2_e, shifter)
            n = shifted - shifter
            r = multiply_add(n, -ln2_low, multiply_add(n, -ln2_high, x))
            series = taylor[0]
            for term in taylor[1:]:
                series = multiply_add(series, r, term)
            # the leading term r is added last, unrounded
            return integer(bits(shifted) - shifter_bits), multiply_add(r * r, series, r)

        @inner
        def power_of_two(n):
            return from_bits(integer((n + exponent_bias) << digits))

        @inner
        def exp(x):
            n, expm1_r = reduce(x)
            # two factors, since 2^n alone would leave the range of the format before the product does
            n_half = integer(n >> 1)
            return (one + expm1_r) * power_of_two(n_half) * power_of_two(integer(n - n_half))

        @inner
        def quotient_of_sum(x, a, b):
            """x / (a + b), with the rounding of the sum and of the quotient put right by one Newton step."""
            total = a + b
            rest = total - a
            lost = (a - (total - rest)) + (b - rest)
            inverse = one / total
            y = x * inverse
            return multiply_add(multiply_add(-y, total, x) - y * lost, inverse, y)

        @inner
        def sigmoid(x):
            e = exp(-abs(x))
            return quotient_of_sum(e if x < zero else one, one, e)

        @inner
        def tanh(x):
            # with t = e^2|x| - 1: tanh |x| = t / (t + 2), which loses no digits near 0
            magnitude = flat if abs(x) > flat else abs(x)
            n, expm1_r = reduce(two * magnitude)
            scale = power_of_two(n)
            t = multiply_add(scale, expm1_r, scale - one)
            return math.copysign(quotient_of_sum(t, t, two), x)

        @inner
        def log1p_exp(x):
            e = exp(x)
            z = quotient_of_sum(e, two, e)
            square, series = z * z, artanh[0]
            for factor in artanh[1:]:
                series = multiply_add(series, square, factor)
            return two * multiply_add(z * square, series, z)

        self.exp, self.sigmoid, self.tanh, self.log1p_exp = exp, sigmoid, tanh, log1p_exp


# underflow, overflow: exp is 0 below and infinite above; flat: tanh is 1 above
_FORMATS = {
    32: _Functions(np.float32, np.int32, 23, 127, -104.0, 89.0, 0.693359375, -2.1219444005469058e-4, 7, 7, 10.0),
    64: _Functions(
        np.float64, np.int64, 52, 1023, -746.0, 710.0, 0.6931471803691238, 1.9082149292705877e-10, 13, 16, 20.0
    ),
}


def _per_format(name):
    """A stub that Numba replaces by the function of its argument's format."""

    def stub(x):
        raise NotImplementedError("for compiled code")

    def choose(x):
        if not isinstance(x, types.Float):
            return None
        function = getattr(_FORMATS[x.bitwidth], name)
        return lambda x: function(x)

    stub.__name__ = stub.__qualname__ = name
    overload(stub)(choose)
    return stub


exp = _per_format("exp")
sigmoid = _per_format("sigmoid")
tanh = _per_format("tanh")
log1p_exp = _per_format("log1p_exp")  # for x <= 0
