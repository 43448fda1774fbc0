"""A few lines over llvmlite that let a kernel say which vector instructions it wants.

Used while Numba generates code, by the intrinsics of ``microkernel.py``: every method here emits one or two LLVM
instructions. ``lanes`` elements of type ``real`` make one vector. `emit_loop` is a loop around them.
"""

from collections.abc import Callable, Sequence

from llvmlite import ir
from numba import types

INDEX = ir.IntType(64)
BOOL = ir.IntType(1)
Combine = Callable[[ir.Value, ir.Value], ir.Value]


class Vectors:
    """Emits instructions on vectors of ``lanes`` elements of the Numba type ``real``."""

    def __init__(self, builder: ir.IRBuilder, real: types.Float, lanes: int):
        self.builder = builder
        self.lanes = lanes
        self.itemsize = real.bitwidth // 8
        self.scalar = ir.FloatType() if real == types.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, lanes)
        self.mask = ir.VectorType(BOOL, lanes)
        self.suffix = f"v{lanes}f{real.bitwidth}"
        self.zero = ir.Constant(self.vector, [0.0] * lanes)
        self.one = ir.Constant(self.vector, [1.0] * lanes)

    def call(self, name: str, result: ir.Type, arguments: list) -> ir.Value:
        """Call an LLVM intrinsic by its full name."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(result, [a.type for a in arguments]), name)
        return self.builder.call(function, arguments)

    def offset(self, pointer: ir.Value, elements: ir.Value | int) -> ir.Value:
        """pointer + elements, for a pointer to scalars."""
        if isinstance(elements, int):
            elements = ir.Constant(INDEX, elements)
        return self.builder.gep(pointer, [elements], source_etype=self.scalar)

    def splat(self, value: ir.Value) -> ir.Value:
        """The scalar ``value`` in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, lanes)

    def load_scalar(self, pointer: ir.Value) -> ir.Value:
        return self.builder.load(pointer, typ=self.scalar)

    def load(self, pointer: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """The vector at ``pointer``; lanes outside ``mask`` are 0 and not touched in memory."""
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            return self.builder.load(pointer, align=self.itemsize, typ=self.vector)
        alignment = ir.Constant(ir.IntType(32), self.itemsize)
        name = f"llvm.masked.load.{self.suffix}.p0"
        return self.call(name, self.vector, [pointer, alignment, mask, self.zero])

    def store(self, value: ir.Value, pointer: ir.Value, mask: ir.Value | None = None) -> None:
        """Write ``value`` to ``pointer``; memory outside ``mask`` is not touched."""
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            self.builder.store(value, pointer, align=self.itemsize)
            return
        alignment = ir.Constant(ir.IntType(32), self.itemsize)
        self.call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), [value, pointer, alignment, mask])

    def multiply_add(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """x y + z, fused where the processor can."""
        return self.call(f"llvm.fmuladd.{self.suffix}", self.vector, [x, y, z])

    def add(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.fadd(x, y)

    def subtract(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.fsub(x, y)

    def multiply(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.fmul(x, y)

    def join(self, vectors: list[ir.Value], combine: Combine) -> list[ir.Value]:
        """The lanes of each of 2^n ``vectors`` joined to one number by ``combine``; the numbers, in as few vectors.

        Each is halved again and again, its lower half combined with its upper, and two that are halved share a vector.
        """
        left = self.lanes
        while left > 1:
            pairs = zip(vectors[::2], vectors[1::2] or vectors, strict=True)
            lanes = range(vectors[0].type.count * min(2, len(vectors)))
            low, high = ([lane for lane in lanes if (lane % left < left // 2) == is_low] for is_low in (True, False))
            vectors = [combine(self.pick(x, y, low), self.pick(x, y, high)) for x, y in pairs]
            left //= 2
        return vectors

    def pick(self, x: ir.Value, y: ir.Value, lanes: Sequence[int]) -> ir.Value:
        """The ``lanes`` of x followed by y."""
        return self.builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """The larger of each pair, ``y`` where one of them is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", x, y), x, y)

    def where_positive(self, x: ir.Value, yes: ir.Value, no: ir.Value) -> ir.Value:
        """``no`` where x <= 0, ``yes`` elsewhere, so where x is NaN too."""
        not_positive = self.builder.fcmp_ordered("<=", x, self.zero)
        return self.builder.select(not_positive, no, yes)

    def lanes_below(self, count: ir.Value, first: int) -> ir.Value:
        """Mask of the lanes l with first + l < count."""
        integer = ir.IntType(32)
        lanes = ir.VectorType(integer, self.lanes)
        numbers = ir.Constant(lanes, [first + lane for lane in range(self.lanes)])
        undefined = ir.Constant(lanes, ir.Undefined)
        start = self.builder.insert_element(undefined, self.builder.trunc(count, integer), ir.Constant(integer, 0))
        counts = self.builder.shuffle_vector(start, undefined, ir.Constant(lanes, [0] * self.lanes))
        return self.builder.icmp_signed("<", numbers, counts)


def emit_loop(builder, name, stop, step, values, body):
    """for i in range(0, stop, step): values = body(i, values); the values at the end, and at least none is made."""
    entry = builder.basic_block
    head, inside, done = (builder.append_basic_block(part) for part in (name, f"{name}.body", f"{name}.done"))
    builder.branch(head)
    builder.position_at_end(head)
    i, phis = builder.phi(INDEX), [builder.phi(value.type) for value in values]
    builder.cbranch(builder.icmp_signed("<", i, stop), inside, done)
    builder.position_at_end(inside)
    new = body(i, phis)
    last = builder.basic_block
    for phi, value, changed in zip(phis, values, new, strict=True):
        phi.add_incoming(value, entry)
        phi.add_incoming(changed, last)
    i.add_incoming(INDEX(0), entry)
    i.add_incoming(builder.add(i, INDEX(step)), last)
    builder.branch(head).set_metadata("llvm.loop", not_unrolled(builder.module))
    builder.position_at_end(done)
    return phis


def not_unrolled(module):
    """Metadata of a loop that is long enough: unrolled ones spilled registers and took a fifth more time to compile."""
    disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([disable, disable])
    loop.operands = (loop, disable)  # a loop is known by a node that refers to itself
    return loop
