"""The vector unit that kernels are generated for is the one that the CPU has."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config

from minicnn.kernels.vector_unit import AVX2, AVX512, vector_unit

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux tells in a file what the CPU has")
@pytest.mark.skipif(
    bool(config.CPU_NAME or config.CPU_FEATURES or not config.ENABLE_AVX),
    reason="Numba was told to compile for another CPU",
)
def test_what_linux_says_of_the_cpu_is_found():
    flags = next((set(line.split()) for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), None)
    if flags is None:
        pytest.skip("not an x86 CPU")
    expected = AVX512 if "avx512f" in flags else AVX2 if {"avx2", "fma"} <= flags else None
    assert vector_unit() == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"NUMBA_ENABLE_AVX": "0"}, "None"),
        ({"NUMBA_CPU_NAME": "generic"}, "None"),
        ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}, str(AVX2)),
        ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,-avx2,+fma"}, "None"),
    ],
    ids=["without AVX", "generic", "AVX2", "without AVX2"],
)
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not an x86 CPU")
def test_it_is_the_one_that_numba_compiles_for(setting, expected):
    code = "from minicnn.kernels.vector_unit import vector_unit; print(vector_unit())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **setting}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
