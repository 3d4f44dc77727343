"""Generated machine code: the tile product of tiles.py, with its accumulators held in vector registers.

LLVM's vectoriser does not find this form by itself: from the plain loops of `tile_product` it makes a loop whose
sums go through memory, a fifth as fast. The code here is what an assembly programmer would write for BLAS (Goto and
van de Geijn 2008, "Anatomy of high-performance matrix multiplication"), emitted for every tile size:

    load c[rows, vectors] into registers (or zeros)
    for i < n_out:                                   a and b advance by a_out and b_out
        for k < n_in:                                a and b advance by a_in and b_in
            load b[vectors]                          one row of b, `vectors` registers
            for m < rows:
                broadcast a[m]
                c[m, v] += a[m] * b[v]               one fused multiply-add a register
    store c

A pooled tile is the same nest, with four sums for each result, one for each window of a 2x2 pool, of which it stores
the largest or the mean: what a pool leaves of a convolution never goes through memory. A tile transform
(transforms.py) is straight code: it loads the numbers of a tile, a vector of channels each, adds and
subtracts them as the matrices say, and stores. A rank update holds the rows of b in registers instead of the sums, for
as many rows of a and c as there are. A fetching tile asks for what the next product needs while it computes.

Against the blocked im2col and np.dot it makes LeNet's convolutions 3 to 5 times as fast (those products are too small
for BLAS to warm up on) and needs no im2col buffer anywhere. machine_code.py makes functions of it that kernels call.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from minicnn.kernels.fetching import FETCHING
from minicnn.kernels.llvm_words import (
    TO_READ_SOON,
    TO_WRITE,
    add_incoming,
    constant,
    every_other,
    fetch,
    fused_multiply_add,
    load,
    number_at,
    phis,
    row_offsets,
    size_of,
    spread,
    store,
    unit_and_vector,
    vector_at,
    vector_offsets,
)
from minicnn.kernels.transforms import SIDES


@intrinsic
def emit_tiles(  # type: ignore[no-untyped-def]
    typingctx, a, b, c, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add
):
    """The jump to the loop nest of the tile's size, and all the loop nests."""
    signature = types.void(a, b, c, *[types.intp] * 11)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        _tile_nests(context, builder, a.dtype, args)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def emit_fetching_tiles(  # type: ignore[no-untyped-def]
    typingctx, a, b, c, ahead, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add
):
    """The same of tiles of FETCHING vectors and more, which fetch the line of cache at ahead + k·b_in meanwhile."""
    signature = types.void(a, b, c, ahead, *[types.intp] * 11)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pa, pb, pc, ahead, *numbers = args
        _tile_nests(context, builder, a.dtype, [pa, pb, pc, *numbers], FETCHING, ahead)
        return context.get_dummy_value()

    return signature, codegen


def _tile_nests(
    context: Any, builder: Any, dtype: Any, args: list[Any], least: int = 1, ahead: Any | None = None
) -> None:
    """The jump to the loop nest of the tile's size, and the nests of all sizes from `least` vectors in a row on, or of
    the widest. args: emit_tiles's."""
    unit, vector = unit_and_vector(context, dtype)
    pa, pb, pc, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add = args
    adding = builder.icmp_signed("!=", add, constant(0))
    vectors = builder.udiv(columns, constant(vector.count))
    end = builder.append_basic_block("end")
    # One number for the tile size: rows + 32 * vectors.
    jump = builder.switch(builder.add(rows, builder.mul(vectors, constant(32))), end)
    nest = _Nest(vector, pa, pb, (a_in, a_out, b_in, b_out), (n_in, n_out), ahead)
    widths = range(min(least, len(unit.rows)), len(unit.rows) + 1)
    sizes = [(height, width) for width in widths for height in range(1, unit.rows[width - 1] + 1)]
    for m, v in sizes:
        block = builder.append_basic_block(f"tile_{m}x{v}")
        jump.add_case(constant(m + 32 * v), block)
        inside = ir.IRBuilder(block)
        places = {(i, j): vector_at(inside, vector, pc, c_row, i, j) for i in range(m) for j in range(v)}
        initial = _zeros_or_loaded(inside, vector, places, adding)
        sums = nest.emit(inside, row_offsets(inside, a_row, m), vector_offsets(vector, v), initial)
        for at, total in sums.items():
            store(inside, total, places[at])
        inside.branch(end)
    builder.position_at_end(end)


@intrinsic
def emit_pooled(  # type: ignore[no-untyped-def]
    typingctx, a, b, bias, c, a_row, a_in, a_out, b_in, b_out, across, down, c_row, n_in, n_out, rows, columns,
    turned, mean,
):  # fmt: skip
    """As emit_tiles, for pooled tiles: a pool's windows are four rows of a; turned, two vectors of two rows of b."""
    signature = types.void(a, b, bias, c, *[types.intp] * 14)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        unit, vector = unit_and_vector(context, a.dtype)
        pa, pb, p_bias, pc, a_row, a_in, a_out, b_in, b_out, across, down, c_row, n_in, n_out = args[:14]
        rows, columns, turned, mean = args[14:]
        averaging = builder.icmp_signed("!=", mean, constant(0))
        vectors = builder.udiv(columns, constant(vector.count))
        quarters = [constant(0), across, down, builder.add(across, down)]
        halves = [constant(0), constant(vector.count)]
        halves += [builder.add(down, half) for half in halves]
        end = builder.append_basic_block("end")
        size = builder.add(rows, builder.mul(vectors, constant(32)))
        jump = builder.switch(builder.add(size, builder.mul(turned, constant(1024))), end)
        nest = _Nest(vector, pa, pb, (a_in, a_out, b_in, b_out), (n_in, n_out))
        sizes = [(m, v, False) for v, limit in enumerate(unit.pooled, start=1) for m in range(1, limit + 1)]
        sizes += [(m, 1, True) for m in range(1, unit.pooled[0] + 1)]
        for m, v, in_b in sizes:
            block = builder.append_basic_block(f"pooled_{m}x{v}")
            jump.add_case(constant(m + 32 * v + 1024 * in_b), block)
            inside = ir.IRBuilder(block)
            of_rows = row_offsets(inside, a_row, m)
            if in_b:
                pools = _turned_windows(inside, nest, p_bias, of_rows, halves)
            else:
                pools = _plain_windows(inside, nest, p_bias, of_rows, vector_offsets(vector, v), quarters)
            for (i, j), value in _pool(inside, vector, pools, averaging).items():
                store(inside, value, vector_at(inside, vector, pc, c_row, i, j))
            inside.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def emit_transforms(  # type: ignore[no-untyped-def]
    typingctx, a, b, a_row, a_column, a_tile, b_row, b_column, b_tile, kind, tiles, columns
):
    """The jump to the kind's loops over tiles and vectors: load d, make S d Sᵀ of it, store that."""
    signature = types.void(a, b, *[types.intp] * 9)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        _, vector = unit_and_vector(context, a.dtype)
        pa, pb, a_row, a_column, a_tile, b_row, b_column, b_tile, kind, tiles, columns = args
        end = builder.append_basic_block("end")
        jump = builder.switch(kind, end)
        for number, side in enumerate(SIDES):
            block = builder.append_basic_block(f"transform_{number}")
            jump.add_case(constant(number), block)
            inside = ir.IRBuilder(block)
            results, size = len(side), len(side[0])
            vectors = inside.udiv(columns, constant(vector.count))
            with cgutils.for_range(inside, tiles) as tile, cgutils.for_range(inside, vectors) as column:
                across = inside.mul(column.index, constant(vector.count))
                start = inside.add(inside.mul(tile.index, a_tile), across)
                target = inside.add(inside.mul(tile.index, b_tile), across)
                d = [
                    [load(inside, vector, number_at(inside, pa, start, a_row, k, a_column, m)) for m in range(size)]
                    for k in range(size)
                ]
                half = [
                    [_combination(inside, row, [d[k][m] for k in range(size)]) for m in range(size)] for row in side
                ]
                for i in range(results):
                    for j, row in enumerate(side):
                        place = number_at(inside, pb, target, b_row, i, b_column, j)
                        store(inside, _combination(inside, row, half[i]), place)
            inside.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def emit_updates(typingctx, a, b, c, a_row, b_row, rank, rows):  # type: ignore[no-untyped-def]
    """For either rank: load its rows of b, then pass by the rows of a and c.

    Every other product goes into a second sum, so that two run at once: a multiply-add waits for the one before it.
    """
    signature = types.void(a, b, c, *[types.intp] * 4)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        unit, vector = unit_and_vector(context, a.dtype)
        pa, pb, pc, a_row, b_row, rank, rows = args
        end = builder.append_basic_block("end")
        jump = builder.switch(rank, end)
        for size in (1, unit.rank):
            block = builder.append_basic_block(f"update_{size}")
            jump.add_case(constant(size), block)
            inside = ir.IRBuilder(block)
            fma = fused_multiply_add(inside, vector)
            held = [load(inside, vector, vector_at(inside, vector, pb, b_row, k, 0)) for k in range(size)]
            with cgutils.for_range(inside, rows) as loop:
                row = inside.gep(pa, [inside.mul(loop.index, a_row)])
                place = inside.gep(pc, [inside.mul(loop.index, constant(vector.count))])
                sums = [load(inside, vector, place), ir.Constant(vector, [0.0] * vector.count)]
                for k in range(size):
                    value = spread(inside, vector, inside.load(inside.gep(row, [constant(k)])))
                    sums[k % 2] = inside.call(fma, [value, held[k], sums[k % 2]])
                store(inside, inside.fadd(*sums), place)
            inside.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


def _combination(builder: Any, signs: tuple[int, ...], values: list[Any]) -> Any:
    """The sum of the values times their signs, each 1, 0 or −1."""
    plus, minus = ([v for sign, v in zip(signs, values, strict=True) if sign == wanted] for wanted in (1, -1))
    total = reduce(builder.fadd, plus) if plus else builder.fneg(minus.pop())
    return reduce(builder.fsub, minus, total)


@dataclass(frozen=True)
class _Nest:
    """The loop nest of all tiles: sums of products over two nested strides, each in a vector register.

    ahead: the address from which on lines of cache are fetched meanwhile, one for each k, b_in apart; or None.
    """

    vector: Any
    a: Any
    b: Any
    strides: tuple[Any, Any, Any, Any]
    counts: tuple[Any, Any]
    ahead: Any | None = None

    def emit(self, builder: Any, a_offsets: list[Any], b_offsets: list[Any], initial: dict[Any, Any]) -> dict[Any, Any]:
        """The sums by (row, vector): of each number of a, spread over a vector, times each vector of b.

        initial: what they begin as. Leaves builder behind the loops.
        """
        vector, (a_in, a_out, b_in, b_out) = self.vector, self.strides
        begin, append = builder.block, builder.function.append_basic_block
        outer, inner, next_outer, done = map(append, ("outer", "inner", "next_outer", "done"))
        builder.branch(outer)
        builder.position_at_end(outer)
        at_outer = phis(builder, {"count": constant(0), "a": self.a, "b": self.b, **initial}, begin)
        builder.branch(inner)

        builder.position_at_end(inner)
        at_inner = phis(builder, {**at_outer, "count": constant(0)}, outer)
        fma = fused_multiply_add(builder, vector)
        row = [load(builder, vector, builder.gep(at_inner["b"], [offset])) for offset in b_offsets]
        if self.ahead is not None:
            fetch(builder, builder.gep(self.ahead, [builder.mul(at_inner["count"], b_in)]), *TO_READ_SOON)
        sums = {}
        for m, offset in enumerate(a_offsets):
            value = spread(builder, vector, builder.load(builder.gep(at_inner["a"], [offset])))
            for v in range(len(row)):
                sums[m, v] = builder.call(fma, [value, row[v], at_inner[m, v]])
        following = _advanced(builder, at_inner, a_in, b_in)
        add_incoming(at_inner, {**following, **sums}, inner)
        builder.cbranch(builder.icmp_signed("<", following["count"], self.counts[0]), inner, next_outer)

        builder.position_at_end(next_outer)
        following = _advanced(builder, at_outer, a_out, b_out)
        add_incoming(at_outer, {**following, **sums}, next_outer)
        builder.cbranch(builder.icmp_signed("<", following["count"], self.counts[1]), outer, done)
        builder.position_at_end(done)
        return sums


def _advanced(builder: Any, carried: dict[Any, Any], a_step: Any, b_step: Any) -> dict[Any, Any]:
    """The next round's count, and its places in a and b."""
    count = builder.add(carried["count"], constant(1))
    return {"count": count, "a": builder.gep(carried["a"], [a_step]), "b": builder.gep(carried["b"], [b_step])}


def _plain_windows(builder: Any, nest: _Nest, bias: Any, rows: Any, vectors: Any, quarters: Any) -> dict[Any, Any]:
    """By row and vector of a tile its pools' four windows, vectors of filters: `quarters` behind `rows` in a."""
    biases = [load(builder, nest.vector, builder.gep(bias, [offset])) for offset in vectors]
    windows = [builder.add(offset, quarter) for offset in rows for quarter in quarters]
    groups = {(i, j): [(4 * i + q, j) for q in range(4)] for i in range(len(rows)) for j in range(len(vectors))}
    sums = nest.emit(builder, windows, vectors, {at: biases[at[1]] for group in groups.values() for at in group})
    return {place: [sums[at] for at in group] for place, group in groups.items()}


def _turned_windows(builder: Any, nest: _Nest, bias: Any, rows: Any, halves: Any) -> dict[Any, Any]:
    """_plain_windows, vectors of pools, from b: halves are the left and the right one of two rows of windows."""
    biases = [spread(builder, nest.vector, builder.load(builder.gep(bias, [constant(i)]))) for i in range(len(rows))]
    sums = nest.emit(builder, rows, halves, {(i, q): biases[i] for i in range(len(rows)) for q in range(4)})
    return {
        (i, 0): [every_other(builder, sums[i, q], sums[i, q + 1], first) for q in (0, 2) for first in (0, 1)]
        for i in range(len(rows))
    }


def _zeros_or_loaded(builder: Any, vector: Any, places: dict[Any, Any], loading: Any) -> dict[Any, Any]:
    """For each place zeros, or what is in memory there. Leaves builder where both ways meet.

    With zeros the line of cache is fetched meanwhile, for the store at the end: the gradient of a kernel 4096x4096,
    which lies in memory, takes 0.76 of the time with 32 samples and 0.91 with 128 (an AMD EPYC).
    """
    reading, fetching, begin = map(builder.function.append_basic_block, ("reading", "fetching", "begin"))
    builder.cbranch(loading, reading, fetching)
    builder.position_at_end(reading)
    held = {t: load(builder, vector, place) for t, place in places.items()}
    builder.branch(begin)
    builder.position_at_end(fetching)
    for (_, v), place in places.items():
        if v % (64 // size_of(vector)) == 0:  # once a line of cache
            fetch(builder, place, *TO_WRITE)
    builder.branch(begin)
    builder.position_at_end(begin)
    initial = phis(builder, dict.fromkeys(places, ir.Constant(vector, [0.0] * vector.count)), fetching)
    add_incoming(initial, held, reading)
    return initial


def _pool(builder: Any, vector: Any, windows: dict[Any, Any], averaging: Any) -> dict[Any, Any]:
    """Of each four vectors the largest, where NaN wins, or the mean of their relu. Leaves builder where both meet."""
    largest, mean, end = (builder.function.append_basic_block(name) for name in ("largest", "mean", "pooled"))
    builder.cbranch(averaging, mean, largest)
    builder.position_at_end(largest)
    best = {}
    for place, (value, *others) in windows.items():
        for z in others:
            wins = builder.or_(builder.fcmp_ordered(">", z, value), builder.fcmp_unordered("uno", z, z))
            value = builder.select(wins, z, value)
        best[place] = value
    builder.branch(end)
    builder.position_at_end(mean)
    zero, quarter = (ir.Constant(vector, [number] * vector.count) for number in (0.0, 0.25))
    means = {}
    for place, group in windows.items():
        p, q, r, s = (builder.select(builder.fcmp_ordered("<=", z, zero), zero, z) for z in group)
        means[place] = builder.fmul(quarter, builder.fadd(builder.fadd(builder.fadd(p, q), r), s))
    builder.branch(end)
    builder.position_at_end(end)
    pooled = phis(builder, best, largest)
    add_incoming(pooled, means, mean)
    return pooled
