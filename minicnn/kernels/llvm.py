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

Against the blocked im2col and np.dot it makes LeNet's convolutions 3 to 5 times as fast (those products are too small
for BLAS to warm up on) and needs no im2col buffer anywhere. jit.py and tiles.py import it, when a kernel is compiled.
"""

from dataclasses import dataclass
from typing import Any

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@dataclass(frozen=True)
class VectorUnit:
    """What a CPU computes with: bytes of one vector register, and the largest tile that its registers hold.

    rows: by the number of vectors a row (index 0 is one vector), how many rows of accumulators fit beside one row
    of b and a broadcast value.
    """

    width: int
    rows: tuple[int, ...]


AVX512 = VectorUnit(64, (16, 14, 9, 6))  # 32 registers
AVX2 = VectorUnit(32, (12, 6))  # 16 registers
NEON = VectorUnit(16, (16, 14, 9, 6))  # 32 registers


def vector_unit() -> VectorUnit | None:
    """The vector unit of the CPU that Numba compiles for; None if it has no fused multiply-add on vectors."""
    if numba.config.CPU_NAME == "generic":
        return None
    named = numba.config.CPU_FEATURES
    features = set(named.split(",")) if named else {f"+{k}" for k, v in binding.get_host_cpu_features().items() if v}
    if "+avx512f" in features:
        return AVX512
    if {"+avx2", "+fma"} <= features:
        return AVX2
    if "+neon" in features:
        return NEON
    return None


@intrinsic
def tile_product(  # type: ignore[no-untyped-def]
    typingctx, a, a0, a_row, a_in, a_out, b, b0, b_in, b_out, c, c0, c_row, n_in, n_out, rows, columns, add
):
    """tiles.tile_product for compiled code: the same arguments. A call of the machine code that `provide` made."""
    integer = types.intp
    signature = types.void(a, *[integer] * 4, b, *[integer] * 3, c, *[integer] * 6, types.boolean)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        addresses = []
        for k in (0, 5, 9):  # of a[a0], b[b0], c[c0]
            array = context.make_array(signature.args[k])(context, builder, args[k])
            addresses.append(builder.gep(array.data, [args[k + 1]]))
        strides = [args[k] for k in (2, 3, 4, 7, 8, 11, 12, 13, 14, 15)]
        name = _symbol(a.dtype)
        pointer, index = addresses[0].type, ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 3 + [index] * 11)
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        builder.call(function, [*addresses, *strides, builder.zext(args[16], index)])
        return context.get_dummy_value()

    return signature, codegen


def _symbol(dtype: Any) -> str:
    return f"minicnn_tile_product_{dtype}"


_provided: dict[int, Any] = {}


def provide(itemsize: int) -> None:
    """Make the machine code of tile products of numbers of this size, once a process, under the name kernels call it
    by.

    Compiled on its own, and cached if there is a place for it: as a part of each kernel it would double the time that
    compiling takes.
    """
    if itemsize in _provided:
        return
    dtype, function = {4: (types.float32, _tile_of_float32), 8: (types.float64, _tile_of_float64)}[itemsize]
    pointer = types.CPointer(dtype)  # type: ignore[attr-defined]
    kind = types.void(pointer, pointer, pointer, *[types.intp] * 11)
    try:
        compiled = numba.cfunc(kind, cache=True)(function)
    except RuntimeError:  # no folder to cache in: jit.py warns of it
        compiled = numba.cfunc(kind)(function)
    binding.add_symbol(_symbol(dtype), compiled.address)
    _provided[itemsize] = compiled


def _tile_of_float32(a, b, c, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add):  # type: ignore[no-untyped-def]
    _emit_tiles(a, b, c, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add)


def _tile_of_float64(a, b, c, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add):  # type: ignore[no-untyped-def]
    _emit_tiles(a, b, c, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add)


@intrinsic
def _emit_tiles(  # type: ignore[no-untyped-def]
    typingctx, a, b, c, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add
):
    """The jump to the loop nest of the tile's size, and all the loop nests."""
    signature = types.void(a, b, c, *[types.intp] * 11)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        unit = vector_unit() or VectorUnit(16, (4,))
        real, index = context.get_data_type(a.dtype), ir.IntType(64)
        lanes = unit.width // context.get_abi_sizeof(real)
        pa, pb, pc, a_row, a_in, a_out, b_in, b_out, c_row, n_in, n_out, rows, columns, add = args
        adding = builder.icmp_signed("!=", add, ir.Constant(index, 0))
        vectors = builder.udiv(columns, ir.Constant(index, lanes))
        end = builder.append_basic_block("end")
        # One number for the tile size: rows + 32 * vectors.
        jump = builder.switch(builder.add(rows, builder.mul(vectors, ir.Constant(index, 32))), end)
        nest = _Nest(real, lanes, (pa, pb, pc), (a_row, a_in, a_out, b_in, b_out, c_row), (n_in, n_out), adding)
        for v, limit in enumerate(unit.rows, start=1):
            for m in range(1, limit + 1):
                block = builder.append_basic_block(f"tile_{m}x{v}")
                jump.add_case(ir.Constant(index, m + 32 * v), block)
                nest.emit(ir.IRBuilder(block), m, v, end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


@dataclass(frozen=True)
class _Nest:
    """The loop nest of one tile: `rows` x `vectors` accumulators over two nested reductions."""

    real: Any
    lanes: int
    pointers: tuple[Any, Any, Any]
    strides: tuple[Any, ...]
    counts: tuple[Any, Any]
    add: Any

    def emit(self, builder: Any, rows: int, vectors: int, end: Any) -> None:
        index, vector = ir.IntType(64), ir.VectorType(self.real, self.lanes)
        pa, pb, pc = self.pointers
        a_row, a_in, a_out, b_in, b_out, c_row = self.strides
        tile = [(m, v) for m in range(rows) for v in range(vectors)]
        function = builder.function

        def constant(value: int) -> Any:
            return ir.Constant(index, value)

        def load(builder: Any, pointer: Any) -> Any:
            value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
            value.align = 4
            return value

        def advanced(builder: Any, pointer: Any, stride: Any) -> Any:
            return builder.gep(pointer, [stride])

        a_of = [builder.mul(a_row, constant(m)) for m in range(rows)]
        c_of = {}
        for m in range(rows):
            row = builder.gep(pc, [builder.mul(c_row, constant(m))])
            for v in range(vectors):
                c_of[m, v] = builder.gep(row, [constant(v * self.lanes)])

        # Accumulators begin as c or as zero.
        begin, reading, outer, inner, next_outer, done = (
            function.append_basic_block(f"{part}_{rows}x{vectors}")
            for part in ("begin", "reading", "outer", "inner", "next", "done")
        )
        start = builder.block
        builder.cbranch(self.add, reading, begin)
        builder = ir.IRBuilder(reading)
        held = {t: load(builder, c_of[t]) for t in tile}
        builder.branch(begin)
        builder = ir.IRBuilder(begin)
        zero = ir.Constant(vector, [0.0] * self.lanes)
        initial = {}
        for t in tile:
            initial[t] = builder.phi(vector)
            initial[t].add_incoming(zero, start)
            initial[t].add_incoming(held[t], reading)
        builder.branch(outer)

        builder = ir.IRBuilder(outer)
        i, qa, qb = builder.phi(index), builder.phi(pa.type), builder.phi(pb.type)
        sums = {t: builder.phi(vector) for t in tile}
        for phi, value in ((i, constant(0)), (qa, pa), (qb, pb), *((sums[t], initial[t]) for t in tile)):
            phi.add_incoming(value, begin)
        builder.branch(inner)

        builder = ir.IRBuilder(inner)
        k, ra, rb = builder.phi(index), builder.phi(pa.type), builder.phi(pb.type)
        running = {t: builder.phi(vector) for t in tile}
        for phi, value in ((k, constant(0)), (ra, qa), (rb, qb), *((running[t], sums[t]) for t in tile)):
            phi.add_incoming(value, outer)
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fma.v{self.lanes}f{32 if self.real == ir.FloatType() else 64}",
        )
        b_row = [load(builder, builder.gep(rb, [constant(v * self.lanes)])) for v in range(vectors)]
        undefined = ir.Constant(vector, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        updated = {}
        for m in range(rows):
            value = builder.load(builder.gep(ra, [a_of[m]]))
            spread = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
            spread = builder.shuffle_vector(spread, undefined, first)
            for v in range(vectors):
                updated[m, v] = builder.call(fma, [spread, b_row[v], running[m, v]])
        k_next = builder.add(k, constant(1))
        for phi, value in (
            (k, k_next),
            (ra, advanced(builder, ra, a_in)),
            (rb, advanced(builder, rb, b_in)),
            *((running[t], updated[t]) for t in tile),
        ):
            phi.add_incoming(value, inner)
        builder.cbranch(builder.icmp_signed("<", k_next, self.counts[0]), inner, next_outer)

        builder = ir.IRBuilder(next_outer)
        i_next = builder.add(i, constant(1))
        for phi, value in (
            (i, i_next),
            (qa, advanced(builder, qa, a_out)),
            (qb, advanced(builder, qb, b_out)),
            *((sums[t], updated[t]) for t in tile),
        ):
            phi.add_incoming(value, next_outer)
        builder.cbranch(builder.icmp_signed("<", i_next, self.counts[1]), outer, done)

        builder = ir.IRBuilder(done)
        for t in tile:
            store = builder.store(updated[t], builder.bitcast(c_of[t], vector.as_pointer()))
            store.align = 4
        builder.branch(end)
