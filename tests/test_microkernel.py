"""The machine code of the register tile, as the compiler of this machine writes it."""

import json
import os
import subprocess
import sys

import pytest
from test_bounds import AVX2

from fastbp.kernels import _cpu

# Prints, for every innermost loop of the product, its vector instructions and its use of the stack.
PROGRAM = r"""
import json, re, sys
import numpy as np
from fastbp.kernels import _cpu, gemm

lines = gemm._multiply.compile(np.dtype(sys.argv[1]))._library.get_asm_str().splitlines()
loops, start = [], None
for i, line in enumerate(lines):
    if label := re.match(r"(\.L\w+):", line):
        name, start = label[1], i + 1
    elif (jump := re.match(r"\s+j\w+\s+(\.L\w+)", line)) and start and jump[1] == name:
        loops.append([text.strip() for text in lines[start : i + 1] if re.match(r"\s+[a-z]", text)])
fma = [[text for text in body if text.startswith("vfmadd")] for body in loops]
wide = "%zmm" if _cpu.VECTOR_BYTES == 64 else "%ymm"
print(json.dumps({
    "blocks": _cpu.blocks(np.dtype(sys.argv[1]).itemsize)._asdict(),
    "zmm": sum("zmm" in line for line in lines),
    "loops": [
        {
            "fma": len(found),
            "wide": sum(wide in text for text in found),
            "spills": sum("mm" in text and text.endswith("(%rsp)") for text in body),  # stores to the stack
            "instructions": len(body),
        }
        for body, found in zip(loops, fma)
        if len(found) >= 4
    ],
}))
"""


def assembly(dtype, target, folder):
    if not {"avx2", "fma"} <= _cpu.FEATURES:
        pytest.skip("this processor has no AVX2")
    environment = os.environ | {"FASTBP_CACHE_DIR": str(folder)} | (AVX2 if target == "AVX2" else {})
    command = [sys.executable, "-c", PROGRAM, dtype]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", ["this processor", "AVX2"])
def test_sums_stay_in_wide_registers(dtype, target, tmp_path):
    code = assembly(dtype, target, tmp_path)
    tile = 2 * code["blocks"]["mr"]  # vectors of sums in a whole tile
    whole = [loop for loop in code["loops"] if loop["fma"] == tile]
    assert whole
    for loop in whole:
        assert loop["wide"] >= tile - code["blocks"]["mr"]  # the last vector of columns may be a half one
        assert loop["spills"] == 0
        assert loop["instructions"] <= 2 * tile + 10  # a multiply-add each, a broadcast and a pointer per row
    assert any(loop["wide"] == tile for loop in whole)
    if target == "AVX2":
        assert code["zmm"] == 0
