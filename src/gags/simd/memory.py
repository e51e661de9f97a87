"""How vectors get from memory and back.

Arrays are contiguous float32. Indices are flat: they count the numbers from the start of the array, whatever
its shape, and are never negative (no check, no counting from the end).
"""

from llvmlite import ir
from numba.core import cgutils, types

from gags.simd.vectors import FLOATS, INTS, LANES, LONGS, emit_broadcast, emit_shuffle, intrinsic, vector


def _pointer(context, builder, array_type, array, index, as_type):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), as_type.as_pointer())


def _lanes_at(builder, data, places):
    """One pointer for each lane, given a vector of int64 positions."""
    return [
        builder.gep(data, [builder.extract_element(places, ir.Constant(ir.IntType(32), lane))])
        for lane in range(LANES)
    ]


def _gather_pointers(context, builder, sig, args):
    array_type, rows_type = sig.args[0], sig.args[1]
    array, rows, start, stride, offset = args[:5]
    places = builder.load(_pointer(context, builder, rows_type, rows, start, INTS), align=4)
    places = builder.mul(builder.sext(places, LONGS), emit_broadcast(builder, stride, LONGS))
    places = builder.add(places, emit_broadcast(builder, offset, LONGS))
    return _lanes_at(builder, context.make_array(array_type)(context, builder, array).data, places)


def _stride_pointers(context, builder, sig, args):
    array, start, stride = args[:3]
    data = context.make_array(sig.args[0])(context, builder, array).data
    steps = [builder.mul(stride, ir.Constant(ir.IntType(64), lane)) for lane in range(LANES)]
    return [builder.gep(data, [builder.add(start, step)]) for step in steps]


def _load_lanes(builder, pointers):
    result = ir.Constant(FLOATS, ir.Undefined)
    for lane, pointer in enumerate(pointers):
        number = builder.load(pointer, align=4)
        result = builder.insert_element(result, number, ir.Constant(ir.IntType(32), lane))
    return result


def _store_lanes(builder, pointers, value):
    for lane, pointer in enumerate(pointers):
        builder.store(builder.extract_element(value, ir.Constant(ir.IntType(32), lane)), pointer, align=4)


@intrinsic
def load(typingctx, array, index):
    """The 16 numbers from an index on."""

    def codegen(context, builder, sig, args):
        return builder.load(_pointer(context, builder, sig.args[0], args[0], args[1], FLOATS), align=4)

    return vector(array, types.intp), codegen


@intrinsic
def load_broadcast(typingctx, array, index):
    """The number at an index, in every lane."""

    def codegen(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], ir.FloatType())
        return emit_broadcast(builder, builder.load(pointer, align=4), FLOATS)

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write 16 numbers from an index on."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _pointer(context, builder, sig.args[0], args[0], args[1], FLOATS), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), codegen


@intrinsic
def load_triples(typingctx, array, start):
    """Three vectors from 16 triples in a row: all first numbers, all second ones, all third ones."""

    def codegen(context, builder, sig, args):
        wide = ir.VectorType(ir.FloatType(), 3 * LANES)
        triples = builder.load(_pointer(context, builder, sig.args[0], args[0], args[1], wide), align=4)
        parts = [emit_shuffle(builder, triples, triples, range(k, 3 * LANES, 3)) for k in range(3)]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(vector, 3)(array, types.intp), codegen


@intrinsic
def store_triples(typingctx, array, start, a, b, c):
    """Write 16 triples one after the other, lane i of each vector into triple i."""

    def codegen(context, builder, sig, args):
        wide = ir.VectorType(ir.FloatType(), 3 * LANES)
        both = emit_shuffle(builder, args[2], args[3], range(2 * LANES))
        third = emit_shuffle(builder, args[4], args[4], range(2 * LANES))
        order = [k // 3 + (k % 3) * LANES for k in range(3 * LANES)]
        triples = emit_shuffle(builder, both, third, order)
        builder.store(triples, _pointer(context, builder, sig.args[0], args[0], args[1], wide), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector, vector, vector), codegen


@intrinsic
def load_strided(typingctx, array, start, stride):
    """Lane i is `array[start + i * stride]`."""

    def codegen(context, builder, sig, args):
        return _load_lanes(builder, _stride_pointers(context, builder, sig, args))

    return vector(array, types.intp, types.intp), codegen


@intrinsic
def store_strided(typingctx, array, start, stride, value):
    """Write lane i to `array[start + i * stride]`."""

    def codegen(context, builder, sig, args):
        _store_lanes(builder, _stride_pointers(context, builder, sig, args), args[3])
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp, vector), codegen


@intrinsic
def gather(typingctx, array, rows, start, stride, offset):
    """Lane i is `array[rows[start + i] * stride + offset]`; rows are int32."""

    def codegen(context, builder, sig, args):
        return _load_lanes(builder, _gather_pointers(context, builder, sig, args))

    return vector(array, rows, types.intp, types.intp, types.intp), codegen


@intrinsic
def scatter(typingctx, array, rows, start, stride, offset, value):
    """Write lane i to `array[rows[start + i] * stride + offset]`; rows are int32.

    Where rows are equal, the last lane stays.
    """

    def codegen(context, builder, sig, args):
        _store_lanes(builder, _gather_pointers(context, builder, sig, args), args[5])
        return context.get_dummy_value()

    return types.none(array, rows, types.intp, types.intp, types.intp, vector), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Bring an index of any array into the processor's cache; past the end of the memory nothing happens."""

    def codegen(context, builder, sig, args):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        place = _pointer(context, builder, sig.args[0], args[0], args[1], ir.IntType(8))
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, *(ir.Constant(number, flag) for flag in (0, 3, 1))])
        return context.get_dummy_value()

    return types.none(array, types.intp), codegen


@intrinsic
def fetch_add(typingctx, array, index, amount):
    """Add to an int64 in memory, atomically, and return what was there before: so threads share out work."""

    def codegen(context, builder, sig, args):
        place = _pointer(context, builder, sig.args[0], args[0], args[1], ir.IntType(64))
        return builder.atomic_rmw("add", place, args[2], "monotonic")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def horizontal_sums(typingctx, array, index):
    """Sums over the lanes of 16 vectors in a row from an index on; lane i is the sum of vector i."""

    def codegen(context, builder, sig, args):
        first = _pointer(context, builder, sig.args[0], args[0], args[1], FLOATS)
        rows = [
            builder.load(builder.gep(first, [ir.Constant(ir.IntType(64), k)]), align=4) for k in range(LANES)
        ]
        # Each step joins two vectors whose lanes hold partial sums of several rows, `width` lanes a row, into
        # one with half as many lanes a row.
        width = LANES
        while len(rows) > 1:
            half = width // 2
            near = [k for k in range(2 * LANES) if k % width < half]
            far = [k + half for k in near]
            pairs = zip(rows[::2], rows[1::2], strict=True)
            rows = [
                builder.fadd(emit_shuffle(builder, a, b, near), emit_shuffle(builder, a, b, far))
                for a, b in pairs
            ]
            width = half
        return rows[0]

    return vector(array, types.intp), codegen
