"""How compiled kernels call the machine code that llvm.py generates: by its symbol, once `provide` has made it.

jit.py imports this when a kernel is compiled, tiles.py and transforms.py when a step or a pass asks for a tiling.
"""

from typing import Any

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from minicnn.kernels.forking import compile_lock
from minicnn.kernels.jit import notice_of_compiling
from minicnn.kernels.kernel_cache import cached_if_possible, renamed_for_the_cache
from minicnn.kernels.llvm import emit_fetching_tiles, emit_pooled, emit_tiles, emit_transforms, emit_updates


@intrinsic
def tile_product(  # type: ignore[no-untyped-def]
    typingctx, a, a0, a_row, a_in, a_out, b, b0, b_in, b_out, c, c0, c_row, n_in, n_out, rows, columns, add
):
    """tiles.tile_product for compiled code: the same arguments. A call of the machine code that `provide` made."""
    integer = types.intp
    signature = types.void(a, *[integer] * 4, b, *[integer] * 3, c, *[integer] * 6, types.boolean)
    return signature, _call("tile", (0, 5, 9), (2, 3, 4, 7, 8, 11, 12, 13, 14, 15, 16))


@intrinsic
def fetching_tile_product(  # type: ignore[no-untyped-def]
    typingctx, a, a0, a_row, a_in, a_out, b, b0, b_in, b_out, c, c0, c_row, n_in, n_out, rows, columns, add, ahead
):
    """fetching.fetching_tile_product for compiled code: the same arguments."""
    integer = types.intp
    signature = types.void(a, *[integer] * 4, b, *[integer] * 3, c, *[integer] * 6, types.boolean, integer)
    return signature, _call("fetching", (0, 5, 9), (2, 3, 4, 7, 8, 11, 12, 13, 14, 15, 16), ((5, 17),))


@intrinsic
def pooled_tile_product(  # type: ignore[no-untyped-def]
    typingctx, a, a0, a_row, a_in, a_out, b, b0, b_in, b_out, across, down, bias, bias0, c, c0, c_row,
    n_in, n_out, rows, columns, turned, mean,
):  # fmt: skip
    """tiles.pooled_tile_product for compiled code: the same arguments."""
    integer = types.intp
    signature = types.void(
        a, *[integer] * 4, b, *[integer] * 5, bias, integer, c, *[integer] * 6, types.boolean, types.boolean
    )
    return signature, _call("pooled", (0, 5, 11, 13), (2, 3, 4, 7, 8, 9, 10, 15, 16, 17, 18, 19, 20, 21))


@intrinsic
def tile_transform(  # type: ignore[no-untyped-def]
    typingctx, a, a0, a_row, a_column, a_tile, b, b0, b_row, b_column, b_tile, kind, tiles, columns
):
    """transforms.tile_transform for compiled code: the same arguments."""
    integer = types.intp
    signature = types.void(a, *[integer] * 4, b, *[integer] * 7)
    return signature, _call("transform", (0, 5), (2, 3, 4, 7, 8, 9, 10, 11, 12))


@intrinsic
def rank_update(typingctx, a, a0, a_row, b, b0, b_row, c, c0, rank, rows, lanes):  # type: ignore[no-untyped-def]
    """tiles.rank_update for compiled code: the same arguments. lanes are the CPU's."""
    integer = types.intp
    signature = types.void(a, *[integer] * 2, b, *[integer] * 2, c, *[integer] * 4)
    return signature, _call("update", (0, 3, 6), (2, 5, 8, 9))


def _call(
    name: str, arrays: tuple[int, ...], numbers: tuple[int, ...], places: tuple[tuple[int, int], ...] = ()
) -> Any:
    """How an intrinsic calls machine code of `provide`.

    arrays: which of its arguments are arrays; behind each stands the place of its first number. numbers: the others.
    places: further places, each in one of the arrays, by the arguments' numbers.
    """

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        index, addresses = ir.IntType(64), []
        for k, place in (*((k, k + 1) for k in arrays), *places):
            array = context.make_array(signature.args[k])(context, builder, args[k])
            addresses.append(builder.gep(array.data, [args[place]]))
        given = [args[k] if args[k].type == index else builder.zext(args[k], index) for k in numbers]
        kind = ir.FunctionType(ir.VoidType(), [addresses[0].type] * len(addresses) + [index] * len(given))
        function = cgutils.get_or_insert_function(builder.module, kind, _symbol(name, signature.args[0].dtype))
        builder.call(function, [*addresses, *given])
        return context.get_dummy_value()

    return codegen


def _symbol(name: str, dtype: Any) -> str:
    return f"minicnn_{name}_{dtype}"


_provided: dict[tuple[str, int], Any] = {}


def provide(name: str, itemsize: int) -> None:
    """Make the machine code of a name in _MACHINE_CODE for numbers of this size, once a process, under the symbol that
    kernels call it by.

    Compiled on its own, and cached if there is a place for it: as a part of each kernel it would double the time that
    compiling takes. Under NUMBA_DISABLE_JIT=1 nothing calls it.
    """
    with compile_lock:  # two Python threads may make their first plans at once
        if (name, itemsize) not in _provided and not numba.config.DISABLE_JIT:
            _provided[name, itemsize] = _provide(name, itemsize)


def _provide(name: str, itemsize: int) -> Any:
    """The compiled function, which must not be freed: kernels have its address."""
    function, pointers, integers = _MACHINE_CODE[name]
    dtype = types.float32 if itemsize == 4 else types.float64
    pointer = types.CPointer(dtype)  # type: ignore[attr-defined]
    kind = types.void(*[pointer] * pointers, *[types.intp] * integers)
    function = renamed_for_the_cache(function, globals())
    with notice_of_compiling():
        compiled = cached_if_possible(lambda cache: numba.cfunc(kind, cache=cache)(function))
    binding.add_symbol(_symbol(name, dtype), compiled.address)
    return compiled


def _tiles(a, b, c, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add):  # type: ignore[no-untyped-def]
    emit_tiles(a, b, c, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add)


def _fetching_tiles(  # type: ignore[no-untyped-def]
    a, b, c, ahead, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add
):
    emit_fetching_tiles(a, b, c, ahead, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add)


def _pooled(  # type: ignore[no-untyped-def]
    a, b, bias, c, a_row, a_in, a_out, b_in, b_out, across, down, c_row, n_in, n_out, rows, columns, turned, mean
):
    emit_pooled(
        a, b, bias, c, a_row, a_in, a_out, b_in, b_out, across, down, c_row, n_in, n_out, rows, columns, turned, mean
    )


def _transforms(a, b, a_row, a_column, a_tile, b_row, b_column, b_tile, kind, tiles, columns):  # type: ignore[no-untyped-def]
    emit_transforms(a, b, a_row, a_column, a_tile, b_row, b_column, b_tile, kind, tiles, columns)


def _updates(a, b, c, a_row, b_row, rank, rows):  # type: ignore[no-untyped-def]
    emit_updates(a, b, c, a_row, b_row, rank, rows)


_MACHINE_CODE: dict[str, tuple[Any, int, int]] = {
    "tile": (_tiles, 3, 11),
    "fetching": (_fetching_tiles, 4, 11),
    "pooled": (_pooled, 4, 14),
    "transform": (_transforms, 2, 9),
    "update": (_updates, 3, 4),
}
"""What `provide` makes: the function, and the numbers of its arrays and of its integers."""
