"""What the CPU computes with: the sizes of all tiles follow from it, and the code that llvm.py generates."""

from dataclasses import dataclass

import numba
from llvmlite import binding
from numba.core.codegen import get_host_cpu_features


@dataclass(frozen=True)
class VectorUnit:
    """What a CPU computes with: bytes of one vector register, and the largest tile that its registers hold.

    rows: by the number of vectors a row (index 0 is one vector), how many rows of accumulators fit beside one row
    of b and a broadcast value. pooled: the same for pooled tiles, whose rows take four times the registers. rank: how
    many rows of b, one vector each, an update holds.
    """

    width: int
    rows: tuple[int, ...]
    pooled: tuple[int, ...]
    rank: int


AVX512 = VectorUnit(64, (16, 14, 9, 6), (6, 3), 16)  # 32 registers
AVX2 = VectorUnit(32, (12, 6), (2,), 8)  # 16 registers
NEON = VectorUnit(16, (16, 14, 9, 6), (6, 3), 16)  # 32 registers


def vector_unit() -> VectorUnit | None:
    """The vector unit of the CPU that Numba compiles for; None if it has no fused multiply-add on vectors."""
    if binding.get_process_triple().startswith(("aarch64", "arm64")):
        return NEON  # a part of every 64-bit ARM, whether LLVM lists it or not
    if numba.config.CPU_NAME == "generic":
        return None
    named = numba.config.CPU_FEATURES
    features = (get_host_cpu_features() if named is None else named).split(",")  # without AVX if Numba was told so
    if "+avx512f" in features:
        return AVX512
    if "+avx2" in features and "+fma" in features:
        return AVX2
    return None
