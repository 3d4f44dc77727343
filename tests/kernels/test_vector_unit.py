"""The vector unit that kernels are generated for is the one that the CPU has."""

from pathlib import Path

import pytest
from numba import config

from minicnn.kernels.vector_unit import AVX2, AVX512, vector_unit

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux tells in a file what the CPU has")
@pytest.mark.skipif(bool(config.CPU_NAME or config.CPU_FEATURES), reason="Numba was told to compile for another CPU")
def test_what_linux_says_of_the_cpu_is_found():
    flags = next((set(line.split()) for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), None)
    if flags is None:
        pytest.skip("not an x86 CPU")
    expected = AVX512 if "avx512f" in flags else AVX2 if {"avx2", "fma"} <= flags else None
    assert vector_unit() == expected
