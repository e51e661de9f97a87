"""Vectors of 16 float32 for Numba kernels, and what can be computed with them.

Inside an `@njit` function `+ - * /` and comparisons work lane by lane, also against plain numbers. LLVM maps
the 16 lanes onto what the processor has: one AVX-512 register, two of AVX2, four of NEON.
"""

import operator
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core.typing import templates
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import lower_builtin, lower_cast, models, register_model

LANES = 16

# What type checkers can know of the types below: inside a kernel, values of them are vectors of 16 lanes.
Vector: TypeAlias = Any
Mask: TypeAlias = Any

# Called inside kernels without their first parameter, which type checkers cannot know.
intrinsic: Any = extending.intrinsic
infer_global: Any = templates.infer_global

FLOATS = ir.VectorType(ir.FloatType(), LANES)
INTS = ir.VectorType(ir.IntType(32), LANES)
LONGS = ir.VectorType(ir.IntType(64), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_FUSE = ("contract",)  # a * b + c may become one instruction; nothing else may be rearranged


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


class _MaskType(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"boolx{LANES}")


vector = _VectorType()
mask = _MaskType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, FLOATS)


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _BITS)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(FLOATS, [ir.Constant(ir.FloatType(), float(np.float32(value)))] * LANES)


def _int_constant(value: int) -> ir.Constant:
    return ir.Constant(INTS, [ir.Constant(ir.IntType(32), value)] * LANES)


def emit_broadcast(builder, value, lane_type):
    """LLVM code that puts a number into every lane of a vector type."""
    one = builder.insert_element(ir.Constant(lane_type, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(INTS, [ir.Constant(ir.IntType(32), 0)] * LANES)
    return builder.shuffle_vector(one, ir.Constant(lane_type, ir.Undefined), zeros)


@lower_cast(types.Float, _VectorType)
@lower_cast(types.Integer, _VectorType)
def _number_to_vector(context, builder, fromty, toty, value):
    return emit_broadcast(builder, context.cast(builder, value, fromty, types.float32), FLOATS)


def emit_shuffle(builder, a, b, lanes):
    """LLVM code that picks lanes from two vectors; those of the second are numbered from 16 on."""
    order = [ir.Constant(ir.IntType(32), lane) for lane in lanes]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def _is_operand(kind) -> bool:
    return isinstance(kind, (_VectorType, types.Float, types.Integer))


def _register_operator(op, result, emit) -> None:
    """Teach Numba one binary operator on vectors (or a vector and a number)."""

    @infer_global(op)
    class _Operator(AbstractTemplate):
        def generic(self, args, kws):
            if vector in args and len(args) == 2 and all(map(_is_operand, args)):
                return signature(result, vector, vector)
            return None

    @lower_builtin(op, vector, vector)
    def _lower(context, builder, sig, args):
        return emit(builder, *args)


for _op, _emit in {
    operator.add: lambda b, x, y: b.fadd(x, y, flags=_FUSE),
    operator.sub: lambda b, x, y: b.fsub(x, y, flags=_FUSE),
    operator.mul: lambda b, x, y: b.fmul(x, y, flags=_FUSE),
    operator.truediv: lambda b, x, y: b.fdiv(x, y, flags=_FUSE),
}.items():
    _register_operator(_op, vector, _emit)
    _inplace = getattr(operator, "i" + _op.__name__)
    _register_operator(_inplace, vector, _emit)
for _op, _sign in {operator.gt: ">", operator.ge: ">=", operator.lt: "<", operator.le: "<="}.items():
    _register_operator(_op, mask, lambda b, x, y, _sign=_sign: b.fcmp_ordered(_sign, x, y))


@infer_global(operator.and_)
class _MaskAnd(AbstractTemplate):
    def generic(self, args, kws):
        return signature(mask, mask, mask) if args == (mask, mask) else None


@lower_builtin(operator.and_, mask, mask)
def _mask_and(context, builder, sig, args):
    return builder.and_(*args)


@intrinsic
def broadcast(typingctx, value):
    """A vector with the same number in every lane."""

    def codegen(context, builder, sig, args):
        return emit_broadcast(builder, context.cast(builder, args[0], sig.args[0], types.float32), FLOATS)

    return vector(value), codegen


@intrinsic
def broadcast_bits(typingctx, value):
    """A vector with the same int32 in every lane, to be stored or selected but not computed with."""

    def codegen(context, builder, sig, args):
        return emit_broadcast(builder, builder.bitcast(args[0], ir.FloatType()), FLOATS)

    return vector(types.int32), codegen


@intrinsic
def lane_indices(typingctx):
    """A vector of the numbers 0, 1, 2, … 15."""

    def codegen(context, builder, sig, args):
        return ir.Constant(FLOATS, [ir.Constant(ir.FloatType(), float(i)) for i in range(LANES)])

    return vector(), codegen


@intrinsic
def select(typingctx, condition, yes, no):
    """`yes` where the condition holds, else `no`, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return vector(mask, vector, vector), codegen


@intrinsic
def minimum(typingctx, a, b):
    """The smaller of two vectors, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return vector(vector, vector), codegen


@intrinsic
def maximum(typingctx, a, b):
    """The larger of two vectors, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return vector(vector, vector), codegen


def _llvm_function(builder, name, args):
    """Call one of LLVM's own functions that take and give one vector."""
    kind = ir.FunctionType(FLOATS, [FLOATS])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"{name}.v{LANES}f32"), args)


@intrinsic
def sqrt(typingctx, value):
    """Square root of each lane."""

    def codegen(context, builder, sig, args):
        return _llvm_function(builder, "llvm.sqrt", args)

    return vector(vector), codegen


@intrinsic
def ceil(typingctx, value):
    """Each lane rounded up."""

    def codegen(context, builder, sig, args):
        return _llvm_function(builder, "llvm.ceil", args)

    return vector(vector), codegen


@intrinsic
def floor(typingctx, value):
    """Each lane rounded down."""

    def codegen(context, builder, sig, args):
        return _llvm_function(builder, "llvm.floor", args)

    return vector(vector), codegen


@intrinsic
def neg_abs(typingctx, value):
    """−|x| of each lane."""

    def codegen(context, builder, sig, args):
        return builder.fneg(_llvm_function(builder, "llvm.fabs", args))

    return vector(vector), codegen


@intrinsic
def any_lane(typingctx, condition):
    """Whether the condition holds in any lane."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(mask), codegen


# 2**f on [-0.5, 0.5], least relative error (2e-7) among polynomials of degree 5.
_EXP2 = (1.3276471e-3, 9.6755419e-3, 5.5507131e-2, 2.4022120e-1, 6.9314694e-1, 1.0)
_ROUND = 12582912.0  # 1.5 · 2**23: adding it leaves the rounded number in the lowest bits


def _multiply_add(builder, a, b, c):
    return builder.fadd(builder.fmul(a, b, flags=_FUSE), c, flags=_FUSE)


@intrinsic
def exp2(typingctx, value):
    """2 to the power of each lane, for -126 <= value <= 127; beyond, the result is undefined."""

    def codegen(context, builder, sig, args):
        shifted = builder.fadd(args[0], _constant(_ROUND))
        fraction = builder.fsub(args[0], builder.fsub(shifted, _constant(_ROUND)))
        # by pairs (Estrin's scheme): the chain of dependent operations is shorter than Horner's
        square = builder.fmul(fraction, fraction)
        power = None
        for high, low in zip(_EXP2[::2], _EXP2[1::2], strict=True):
            pair = _multiply_add(builder, _constant(high), fraction, _constant(low))
            power = pair if power is None else _multiply_add(builder, power, square, pair)
        exponent = builder.shl(builder.bitcast(shifted, INTS), _int_constant(23))
        return builder.bitcast(builder.add(builder.bitcast(power, INTS), exponent), FLOATS)

    return vector(vector), codegen


_ROOT_HALF_BITS = 0x3F3504F3  # √½ as float32


@intrinsic
def log2(typingctx, value):
    """Logarithm to base 2 of each lane, for normal numbers above 0 (error about 1e-7)."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], INTS)
        exponent = builder.ashr(builder.sub(bits, _int_constant(_ROOT_HALF_BITS)), _int_constant(23))
        mantissa = builder.bitcast(builder.sub(bits, builder.shl(exponent, _int_constant(23))), FLOATS)
        below, above = builder.fsub(mantissa, _constant(1.0)), builder.fadd(mantissa, _constant(1.0))
        s = builder.fdiv(below, above)  # ln m = 2 artanh s, |s| < 0.172
        square = builder.fmul(s, s)
        series = _constant(1 / 9)
        for odd in (7, 5, 3, 1):
            series = _multiply_add(builder, series, square, _constant(1 / odd))
        fraction = builder.fmul(builder.fmul(s, series), _constant(2 / np.log(2)))
        return builder.fadd(builder.sitofp(exponent, FLOATS), fraction)

    return vector(vector), codegen


@intrinsic
def trailing_zeros(typingctx, bits):
    """Number of zero bits below the lowest bit that is set, in an int64 that is not 0."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@intrinsic
def unlikely(typingctx):
    """First statement of a branch that is seldom taken; keeps it a branch.

    Without it LLVM may compute both ways and select one. The processor predicts a branch, but after a
    selection everything waits for its condition.
    """

    def codegen(context, builder, sig, args):
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], side_effect=True)
        return context.get_dummy_value()

    return types.none(), codegen
