"""How vectors get from memory and back.

Arrays are contiguous float32. Indices are flat: they count the numbers from the start of the array, whatever
its shape, and are never negative (no check, no counting from the end).
"""

from llvmlite import ir
from numba.core import cgutils, types

from gags.simd.vectors import (
    EXP2_NUMBERS,
    LANES,
    emit_broadcast,
    emit_exp2,
    emit_shuffle,
    floats,
    intrinsic,
    ints,
    native,
    vector,
)

_LONGS = ir.VectorType(ir.IntType(64), LANES)


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
    places = builder.load(_pointer(context, builder, rows_type, rows, start, ints(LANES)), align=4)
    places = builder.mul(builder.sext(places, _LONGS), emit_broadcast(builder, stride, _LONGS))
    places = builder.add(places, emit_broadcast(builder, offset, _LONGS))
    return _lanes_at(builder, context.make_array(array_type)(context, builder, array).data, places)


def _stride_pointers(context, builder, sig, args, lanes):
    array, start, stride = args[:3]
    data = context.make_array(sig.args[0])(context, builder, array).data
    steps = [builder.mul(stride, ir.Constant(ir.IntType(64), lane)) for lane in range(lanes)]
    return [builder.gep(data, [builder.add(start, step)]) for step in steps]


def _load_lanes(builder, pointers):
    result = ir.Constant(floats(len(pointers)), ir.Undefined)
    for lane, pointer in enumerate(pointers):
        number = builder.load(pointer, align=4)
        result = builder.insert_element(result, number, ir.Constant(ir.IntType(32), lane))
    return result


def _store_lanes(builder, pointers, value):
    for lane, pointer in enumerate(pointers):
        builder.store(builder.extract_element(value, ir.Constant(ir.IntType(32), lane)), pointer, align=4)


def _load(kind):
    @intrinsic
    def load(typingctx, array, index):
        def codegen(context, builder, sig, args):
            place = _pointer(context, builder, sig.args[0], args[0], args[1], floats(kind.lanes))
            return builder.load(place, align=4)

        return kind(array, types.intp), codegen

    return load


load = _load(vector)  # load(array, index): the numbers from an index on
native_load = _load(native)


def _load_broadcast(kind):
    @intrinsic
    def load_broadcast(typingctx, array, index):
        def codegen(context, builder, sig, args):
            place = _pointer(context, builder, sig.args[0], args[0], args[1], ir.FloatType())
            return emit_broadcast(builder, builder.load(place, align=4), floats(kind.lanes))

        return kind(array, types.intp), codegen

    return load_broadcast


load_broadcast = _load_broadcast(vector)  # load_broadcast(array, index): the number there in every lane
native_load_broadcast = _load_broadcast(native)


@intrinsic
def store(typingctx, array, index, value):
    """Write the numbers of a vector from an index on."""

    def codegen(context, builder, sig, args):
        place = _pointer(context, builder, sig.args[0], args[0], args[1], floats(sig.args[2].lanes))
        builder.store(args[2], place, align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, value), codegen


@intrinsic
def native_load_triples(typingctx, array, start):
    """Three vectors from triples in a row: all first numbers, all second ones, all third ones."""

    def codegen(context, builder, sig, args):
        count = 3 * native.lanes
        place = _pointer(context, builder, sig.args[0], args[0], args[1], floats(count))
        triples = builder.load(place, align=4)
        parts = [emit_shuffle(builder, triples, triples, range(k, count, 3)) for k in range(3)]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(native, 3)(array, types.intp), codegen


@intrinsic
def store_triples(typingctx, array, start, a, b, c):
    """Write triples one after the other, lane i of each vector into triple i."""

    def codegen(context, builder, sig, args):
        lanes = sig.args[2].lanes
        both = emit_shuffle(builder, args[2], args[3], range(2 * lanes))
        third = emit_shuffle(builder, args[4], args[4], range(2 * lanes))
        order = [k // 3 + (k % 3) * lanes for k in range(3 * lanes)]
        triples = emit_shuffle(builder, both, third, order)
        place = _pointer(context, builder, sig.args[0], args[0], args[1], floats(3 * lanes))
        builder.store(triples, place, align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, a, a, a), codegen


def _load_strided(kind):
    @intrinsic
    def load_strided(typingctx, array, start, stride):
        def codegen(context, builder, sig, args):
            return _load_lanes(builder, _stride_pointers(context, builder, sig, args, kind.lanes))

        return kind(array, types.intp, types.intp), codegen

    return load_strided


load_strided = _load_strided(
    vector
)  # load_strided(array, start, stride): lane i is array[start + i * stride]
native_load_strided = _load_strided(native)


@intrinsic
def store_strided(typingctx, array, start, stride, value):
    """Write lane i to `array[start + i * stride]`."""

    def codegen(context, builder, sig, args):
        _store_lanes(builder, _stride_pointers(context, builder, sig, args, sig.args[3].lanes), args[3])
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp, value), codegen


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
    """Sums over the lanes of 16 vectors of 16 in a row from an index on; lane i is the sum of vector i."""

    def codegen(context, builder, sig, args):
        first = _pointer(context, builder, sig.args[0], args[0], args[1], floats(LANES))
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


@intrinsic
def exp2_by_table(typingctx, value, array, index):
    """As `exp2`, with EXP2_NUMBERS read from an array: each in all lanes of a vector, from an index on.

    In a loop that needs all registers LLVM would not keep constants in them, but make each anew by two
    instructions; what comes from memory is part of the instruction that uses it.
    """

    def codegen(context, builder, sig, args):
        first = _pointer(context, builder, sig.args[1], args[1], args[2], floats(sig.args[0].lanes))
        places = [builder.gep(first, [ir.Constant(ir.IntType(64), k)]) for k in range(len(EXP2_NUMBERS))]
        return emit_exp2(builder, args[0], [builder.load(place, align=4) for place in places])

    return value(value, array, types.intp), codegen
