"""What the kernels need to know of the processor, and the block sizes that follow.

MR x NR  register tile of the matrix product (rows of A times columns of B)
KC       depth of one packed panel
"""

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from numba.core.registry import cpu_target

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]


class Blocks(NamedTuple):
    """Block sizes of the matrix product for elements of one size."""

    lanes: int
    mr: int
    nr: int
    kc: int


def _target_features() -> set[str]:
    """Features that Numba compiles for, which NUMBA_CPU_FEATURES may have narrowed."""
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return {name[1:] for name in features.split(",") if name.startswith("+")}


def _vector_unit(features: set[str]) -> tuple[int, int]:
    """Bytes of a vector register and how many of them there are."""
    if "avx512f" in features:
        return 64, 32
    if "avx" in features:
        return 32, 16
    if "neon" in features:
        return 16, 32
    return 16, 16


def _cache_bytes(level: int, default: int) -> int:
    """Size of the data cache of one level as Linux reports it, else ``default``."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if int((index / "level").read_text()) != level:
                continue
            if (index / "type").read_text().strip() == "Instruction":
                continue
            size = (index / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if size.endswith("K") and size[:-1].isdigit():
            return int(size[:-1]) * 1024
    return default


NAME = cpu_target.target_context.codegen().magic_tuple()[1]
FEATURES = _target_features()
VECTOR_BYTES, REGISTERS = _vector_unit(FEATURES)
L1_BYTES = _cache_bytes(1, 32 * 1024)
L2_BYTES = _cache_bytes(2, 512 * 1024)
LINE_BYTES = 64


def available() -> int:
    """CPUs that this process may use: those of its affinity mask, or the whole ones of its control group's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return cpus if quota == math.inf else min(cpus, max(1, int(quota)))


def _quota(root: Path = Path("/")) -> float:
    """CPUs that the control groups of this process grant on Linux, as containers limit them; infinite without limit."""
    return min(map(_group_quota, _groups("cpu", root)), default=math.inf)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the control groups of this process on Linux that have such a controller, and of those around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _group_quota(folder: Path) -> float:
    """CPUs that one control group grants: version 2 keeps quota and period in one file, version 1 in two."""
    names = ["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    for files in names:
        try:
            quota, period = " ".join((folder / name).read_text() for name in files).split()
            if float(quota) > 0:  # version 1 writes -1 for no limit, version 2 "max"
                return float(quota) / float(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return math.inf


def free_memory(root: Path = Path("/")) -> float:
    """Bytes that this process may still take: what Linux says is free, and limits grant; infinite elsewhere."""
    free = math.inf
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        kilobytes = {key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in lines)}
        free = 1024 * (kilobytes["MemAvailable"] + kilobytes["SwapFree"])
        if resource is not None and (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
            pages = int((root / "proc/self/statm").read_text().split()[0])
            free = min(free, max(0, limit - pages * resource.getpagesize()))
    except (OSError, ValueError, LookupError):
        pass
    return min([free, *map(_group_memory, _groups("memory", root))])


def _group_memory(folder: Path) -> float:
    """Bytes that one control group still grants, by version 2 or 1: it takes back those of files that nobody uses."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            most = int((folder / limit).read_text())  # "max" is no number
            used = int((folder / usage).read_text())
            lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, most - used + sum(int(size) for name, size in lines if name == "inactive_file"))
        except (OSError, ValueError):
            continue
    return math.inf


@cache
def blocks(itemsize: int) -> Blocks:
    """Block sizes for elements of ``itemsize`` bytes.

    The tile has two vectors of columns. Its MR rows need 2 MR accumulators, which leaves room for two vectors of B
    and one broadcast of A: 2 MR + 3 <= registers, so 12 rows of 32 registers (14 would fit, but 12 wastes less at the
    edge of a batch of 32, 128 or 512) and 6 rows of 16.

    A tile costs about 100 cycles besides its 2 MR KC multiply-adds; with KC = 512 those are one per cent. KC is less
    where eight micro-panels of A, the smallest block worth a sweep over B, would take more than a quarter of L2.
    """
    lanes = VECTOR_BYTES // itemsize
    mr = 12 if REGISTERS == 32 else 6
    nr = 2 * lanes
    kc = max(64, min(512, L2_BYTES // 4 // (8 * mr * itemsize) // 8 * 8))
    return Blocks(lanes, mr, nr, kc)
