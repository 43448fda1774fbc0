"""Copies a strided block of a matrix into a panel that the register tile reads from front to back."""

from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import load, store

# Elements of k that one sweep over the rows of a panel writes: 64 rows of a panel stay in L1 between the sweeps.
K_STEP = 64


@inner
def pack_panel(source, stride, stride_k, count, width, kc, panel, zero):
    """panel[k, i] = source[i stride + k stride_k] for i < count, 0 for count <= i < width; panel is (kc, width)."""
    if stride == 1:
        for k in range(kc):
            for i in range(count):
                store(panel, k * width + i, load(source, k * stride_k + i))
    else:
        for k0 in range(0, kc, K_STEP):
            k1 = min(k0 + K_STEP, kc)
            for i in range(count):
                for k in range(k0, k1):
                    store(panel, k * width + i, load(source, i * stride + k * stride_k))
    if count < width:
        for k in range(kc):
            for i in range(count, width):
                store(panel, k * width + i, zero)
