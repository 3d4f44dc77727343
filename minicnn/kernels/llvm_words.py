"""The words that llvm.py is written in: vectors loaded, stored, spread and multiplied, and places in memory."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from minicnn.kernels.vector_unit import VectorUnit, vector_unit


def unit_and_vector(context: Any, dtype: Any) -> tuple[VectorUnit, Any]:
    unit = vector_unit()
    assert unit is not None  # tiles.py has no code made without one
    real = context.get_data_type(dtype)
    return unit, ir.VectorType(real, unit.width // context.get_abi_sizeof(real))


def size_of(vector: Any) -> int:
    """In bytes."""
    return vector.count * (4 if vector.element == ir.FloatType() else 8)


def constant(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


def row_offsets(builder: Any, stride: Any, count: int) -> list[Any]:
    return [builder.mul(stride, constant(k)) for k in range(count)]


def vector_offsets(vector: Any, count: int) -> list[Any]:
    return [constant(k * vector.count) for k in range(count)]


def vector_at(builder: Any, vector: Any, start: Any, row: Any, m: int, v: int) -> Any:
    """Of the v-th vector in the m-th row from `start` on."""
    return builder.gep(start, [builder.add(builder.mul(row, constant(m)), constant(v * vector.count))])


def load(builder: Any, vector: Any, place: Any) -> Any:
    value = builder.load(builder.bitcast(place, vector.as_pointer()))
    value.align = 4
    return value


def every_other(builder: Any, left: Any, right: Any, first: int) -> Any:
    """Of two vectors, one behind the other, the numbers `first`, `first` + 2, ..."""
    count = left.type.count
    places = ir.Constant(ir.VectorType(ir.IntType(32), count), [2 * k + first for k in range(count)])
    return builder.shuffle_vector(left, right, places)


def store(builder: Any, value: Any, place: Any) -> None:
    builder.store(value, builder.bitcast(place, value.type.as_pointer())).align = 4


def spread(builder: Any, vector: Any, number: Any) -> Any:
    """A vector of one number."""
    index, undefined = ir.IntType(32), ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(index, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count))


def number_at(builder: Any, array: Any, start: Any, row: Any, i: int, column: Any, j: int) -> Any:
    """The address of the number at start + i·row + j·column."""
    offset = builder.add(builder.mul(row, constant(i)), builder.mul(column, constant(j)))
    return builder.gep(array, [builder.add(start, offset)])


def fused_multiply_add(builder: Any, vector: Any) -> Any:
    name = f"llvm.fma.v{vector.count}{'f32' if vector.element == ir.FloatType() else 'f64'}"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)


def phis(builder: Any, values: dict[Any, Any], block: Any) -> dict[Any, Any]:
    """Values, by name, that depend on the block control comes from: these if it is `block`."""
    made = {name: builder.phi(value.type) for name, value in values.items()}
    add_incoming(made, values, block)
    return made


def add_incoming(made: dict[Any, Any], values: dict[Any, Any], block: Any) -> None:
    for name, phi in made.items():
        phi.add_incoming(values[name], block)


TO_WRITE, TO_READ_SOON = (1, 3), (0, 2)
"""For LLVM: whether a line of cache is fetched to be written, and how near; 3 is the first level, 2 the second."""


def fetch(builder: Any, place: Any, write: int, near: int) -> None:
    """The line of cache there, which need not be memory of ours."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(prefetch, [builder.bitcast(place, byte), *(ir.Constant(number, k) for k in (write, near, 1))])
