"""Words of 64 bits that several threads read and write, and what else waiting takes: pauses, a clock, the system."""

import ctypes
import platform
import sys

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels._jit import index

# Calls of the system: lock, unlock, sleep until woken (which unlocks and locks again), wake all, number of this CPU
# (not known on every system).
ACQUIRE, RELEASE, SLEEP, WAKE, CPU = range(5)
_CALLS: tuple[str, ...]
if sys.platform == "win32":
    _library = ctypes.WinDLL("kernel32")
    _CALLS = (
        *("AcquireSRWLockExclusive", "ReleaseSRWLockExclusive", "SleepConditionVariableSRW"),
        *("WakeAllConditionVariable", "GetCurrentProcessorNumber"),
    )
else:
    _library = ctypes.CDLL(None)
    _CALLS = (
        *("pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_broadcast"),
        "sched_getcpu",
    )


def calls():
    """The addresses of the calls of the system, in the order of their names above; 0 for one that there is not."""
    functions = [getattr(_library, name, None) for name in _CALLS]
    return [0 if function is None else ctypes.cast(function, ctypes.c_void_p).value for function in functions]


def make_lock(lock, *conditions):
    """Make the words at these addresses a lock, and conditions to sleep for; on Windows zeros are."""
    if sys.platform != "win32":
        _library.pthread_mutex_init(ctypes.c_void_p(lock), None)
        for condition in conditions:
            _library.pthread_cond_init(ctypes.c_void_p(condition), None)


def _function(module, kind, name):
    """An intrinsic function of LLVM."""
    return module.globals.get(name) or ir.Function(module, kind, name)


def _word(builder, address, place):
    integer = ir.IntType(64)
    return builder.gep(builder.inttoptr(address, integer.as_pointer()), [place], source_etype=integer)


@intrinsic
def read(typing_context, pool, place):
    """The word at ``place``, as it is now."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_word(builder, *arguments), "seq_cst", 8, typ=ir.IntType(64))

    return index(index, index), generate


@intrinsic
def write(typing_context, pool, place, value):
    """Set the word at ``place``; all that was written before can be seen by whoever sees it."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        builder.store_atomic(value, _word(builder, *place), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(index, index, index), generate


@intrinsic
def add(typing_context, pool, place, value):
    """Add to the word at ``place``; what it was before."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        return builder.atomic_rmw("add", _word(builder, *place), value, "seq_cst")

    return index(index, index, index), generate


@intrinsic
def exchange(typing_context, pool, place, value):
    """Set the word at ``place``; what it was before."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        return builder.atomic_rmw("xchg", _word(builder, *place), value, "seq_cst")

    return index(index, index, index), generate


_YIELD = "llvm.aarch64.hint", (ir.IntType(32)(1),)
_X86_PAUSE = "llvm.x86.sse2.pause", ()
_PAUSES = {"x86_64": _X86_PAUSE, "amd64": _X86_PAUSE, "aarch64": _YIELD, "arm64": _YIELD}


@intrinsic
def pause(typing_context):
    """Tell the processor that this loop waits."""
    name, arguments = _PAUSES.get(platform.machine().lower(), ("", ()))

    def generate(context, builder, signature, _):
        if name:
            kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
            builder.call(_function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def ticks(typing_context):
    """What the clock of the processor shows; 0 on processors of which no clock is known here."""
    machine = platform.machine().lower()

    def generate(context, builder, signature, arguments):
        module, integer = builder.module, ir.IntType(64)
        if machine in ("x86_64", "amd64"):
            return builder.call(_function(module, ir.FunctionType(integer, []), "llvm.readcyclecounter"), [])
        if machine in ("aarch64", "arm64"):  # the intrinsic above may stand for a counter that programs cannot read
            kind = ir.FunctionType(integer, [ir.MetaDataType()])
            clock = module.add_metadata([ir.MetaDataString(module, "CNTVCT_EL0")])
            return builder.call(_function(module, kind, "llvm.read_volatile_register.i64"), [clock])
        return integer(0)

    return index(), generate


@intrinsic
def system(typing_context, call, first, second):
    """Call a function of the system with the addresses of one or two words.

    What a function does not take does no harm; Windows wants two numbers more: the longest time, and 0.
    """

    def generate(context, builder, signature, arguments):
        call, *words = arguments
        integer, small = ir.IntType(64), ir.IntType(32)
        kind = ir.FunctionType(small, [integer, integer, small, small])
        builder.call(builder.inttoptr(call, kind.as_pointer()), [*words, small(2**32 - 1), small(0)])
        return context.get_dummy_value()

    return types.void(index, index, index), generate


@intrinsic
def number_of_cpu(typing_context, call):
    """What the function of the system at this address gives."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.IntType(32), [])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.sext(builder.call(function, []), ir.IntType(64))

    return index(index), generate
