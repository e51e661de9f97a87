"""Vectors of float32 for Numba kernels, and what can be computed with them.

Inside an `@njit` function `+ - * /` and comparisons work lane by lane, also against plain numbers. Most
vectors have 16 lanes, which LLVM maps onto what the processor has: one AVX-512 register, two of AVX2, four of
NEON. A loop that keeps many numbers in registers runs out of them where one vector takes two: it takes native
ones, of 16 lanes with AVX-512 and of 8 elsewhere. Vectors of both kinds do not mix.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core import config as numba_config
from numba.core.codegen import get_host_cpu_features
from numba.core.typing import templates
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import lower_builtin, lower_cast, models, register_model

# What type checkers can know of the types below: inside a kernel, values of them are vectors of 16 lanes.
Vector: TypeAlias = Any
Mask: TypeAlias = Any

# Called inside kernels without their first parameter, which type checkers cannot know.
intrinsic: Any = extending.intrinsic
infer_global: Any = templates.infer_global
config: Any = numba_config

LANES = 16


def native_lanes(features: str) -> int:
    """Lanes of a native vector.

    Args:
        features: What the processor has, as LLVM lists it: "+avx2,-avx512f,…".
    """
    return 16 if "+avx512f" in features.split(",") else 8


def _features() -> str:
    """What the processor that Numba compiles for has; its settings may name another one than this."""
    return get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES


NATIVE_LANES = native_lanes(_features())

_FUSE = ("contract",)  # a * b + c may become one instruction; nothing else may be rearranged


def floats(lanes: int) -> ir.VectorType:
    """LLVM's type of that many float32."""
    return ir.VectorType(ir.FloatType(), lanes)


def ints(lanes: int) -> ir.VectorType:
    """LLVM's type of that many int32."""
    return ir.VectorType(ir.IntType(32), lanes)


class _VectorType(types.Type):
    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"float32x{lanes}")


class _MaskType(types.Type):
    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"boolx{lanes}")


vector, native = _VectorType(LANES), _VectorType(NATIVE_LANES)


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, floats(fe_type.lanes))


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.lanes))


def _constant(value: float, lanes: int) -> ir.Constant:
    return ir.Constant(floats(lanes), [ir.Constant(ir.FloatType(), float(np.float32(value)))] * lanes)


def _int_constant(value: int, lanes: int) -> ir.Constant:
    return ir.Constant(ints(lanes), [ir.Constant(ir.IntType(32), value)] * lanes)


def emit_broadcast(builder, value, vector_type):
    """LLVM code that puts a number into every lane of a vector type."""
    nothing = ir.Constant(vector_type, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, _int_constant(0, vector_type.count))


@lower_cast(types.Float, _VectorType)
@lower_cast(types.Integer, _VectorType)
def _number_to_vector(context, builder, fromty, toty, value):
    return emit_broadcast(builder, context.cast(builder, value, fromty, types.float32), floats(toty.lanes))


def emit_shuffle(builder, a, b, lanes):
    """LLVM code that picks lanes from two vectors; those of the second are numbered after those of the
    first."""
    order = [ir.Constant(ir.IntType(32), lane) for lane in lanes]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def _common_type(args) -> "_VectorType | None":
    """The type of the vectors among operands, if they are of one kind and all others are numbers."""
    kinds = {kind for kind in args if isinstance(kind, _VectorType)}
    others = [kind for kind in args if not isinstance(kind, _VectorType)]
    if len(kinds) != 1 or not all(isinstance(kind, types.Float | types.Integer) for kind in others):
        return None
    return kinds.pop()


def _register_operator(op, emit, result: Callable[[_VectorType], types.Type] = lambda kind: kind) -> None:
    """Teach Numba one binary operator on vectors (or a vector and a number)."""

    @infer_global(op)
    class _Operator(AbstractTemplate):
        def generic(self, args, kws):
            kind = _common_type(args)
            if kind is not None and len(args) == 2:
                return signature(result(kind), kind, kind)
            return None

    @lower_builtin(op, _VectorType, _VectorType)
    def _lower(context, builder, sig, args):
        return emit(builder, *args)


for _op, _emit in {
    operator.add: lambda b, x, y: b.fadd(x, y, flags=_FUSE),
    operator.sub: lambda b, x, y: b.fsub(x, y, flags=_FUSE),
    operator.mul: lambda b, x, y: b.fmul(x, y, flags=_FUSE),
    operator.truediv: lambda b, x, y: b.fdiv(x, y, flags=_FUSE),
}.items():
    _register_operator(_op, _emit)
    _register_operator(getattr(operator, "i" + _op.__name__), _emit)
for _op, _sign in {operator.gt: ">", operator.ge: ">=", operator.lt: "<", operator.le: "<="}.items():
    _register_operator(
        _op, lambda b, x, y, _sign=_sign: b.fcmp_ordered(_sign, x, y), lambda kind: _MaskType(kind.lanes)
    )


@infer_global(operator.and_)
class _MaskAnd(AbstractTemplate):
    def generic(self, args, kws):
        both = len(args) == 2 and isinstance(args[0], _MaskType) and args[0] == args[1]
        return signature(args[0], *args) if both else None


@lower_builtin(operator.and_, _MaskType, _MaskType)
def _mask_and(context, builder, sig, args):
    return builder.and_(*args)


def _broadcast(kind):
    @intrinsic
    def broadcast(typingctx, value):
        def codegen(context, builder, sig, args):
            number = context.cast(builder, args[0], sig.args[0], types.float32)
            return emit_broadcast(builder, number, floats(kind.lanes))

        return kind(value), codegen

    return broadcast


broadcast = _broadcast(vector)  # a vector with the same number in every lane
native_broadcast = _broadcast(native)


@intrinsic
def broadcast_bits(typingctx, value):
    """A vector with the same int32 in every lane, to be stored or selected but not computed with."""

    def codegen(context, builder, sig, args):
        return emit_broadcast(builder, builder.bitcast(args[0], ir.FloatType()), floats(LANES))

    return vector(types.int32), codegen


def _lane_indices(kind):
    @intrinsic
    def lane_indices(typingctx):
        def codegen(context, builder, sig, args):
            numbers = [ir.Constant(ir.FloatType(), float(lane)) for lane in range(kind.lanes)]
            return ir.Constant(floats(kind.lanes), numbers)

        return kind(), codegen

    return lane_indices


lane_indices = _lane_indices(vector)  # a vector of the numbers 0, 1, 2, …
native_lane_indices = _lane_indices(native)


@intrinsic
def select(typingctx, condition, yes, no):
    """`yes` where the condition holds, else `no`, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return yes(condition, yes, yes), codegen


@intrinsic
def minimum(typingctx, a, b):
    """The smaller of two vectors, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, a), codegen


@intrinsic
def maximum(typingctx, a, b):
    """The larger of two vectors, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, a), codegen


def _llvm_function(builder, name, lanes, args):
    """Call one of LLVM's own functions that take and give one vector."""
    kind = ir.FunctionType(floats(lanes), [floats(lanes)])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"{name}.v{lanes}f32"), args)


@intrinsic
def sqrt(typingctx, value):
    """Square root of each lane."""

    def codegen(context, builder, sig, args):
        return _llvm_function(builder, "llvm.sqrt", sig.args[0].lanes, args)

    return value(value), codegen


@intrinsic
def ceil(typingctx, value):
    """Each lane rounded up."""

    def codegen(context, builder, sig, args):
        return _llvm_function(builder, "llvm.ceil", sig.args[0].lanes, args)

    return value(value), codegen


@intrinsic
def floor(typingctx, value):
    """Each lane rounded down."""

    def codegen(context, builder, sig, args):
        return _llvm_function(builder, "llvm.floor", sig.args[0].lanes, args)

    return value(value), codegen


@intrinsic
def neg_abs(typingctx, value):
    """−|x| of each lane."""

    def codegen(context, builder, sig, args):
        return builder.fneg(_llvm_function(builder, "llvm.fabs", sig.args[0].lanes, args))

    return value(value), codegen


@intrinsic
def any_lane(typingctx, condition):
    """Whether the condition holds in any lane."""

    def codegen(context, builder, sig, args):
        number = ir.IntType(sig.args[0].lanes)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], number), ir.Constant(number, 0))

    return types.boolean(condition), codegen


# 2**f on [-0.5, 0.5], least relative error (2e-7) among polynomials of degree 5.
_EXP2 = (1.3276471e-3, 9.6755419e-3, 5.5507131e-2, 2.4022120e-1, 6.9314694e-1, 1.0)
_ROUND = 12582912.0  # 1.5 · 2**23: adding it leaves the rounded number in the lowest bits


def _multiply_add(builder, a, b, c):
    return builder.fadd(builder.fmul(a, b, flags=_FUSE), c, flags=_FUSE)


EXP2_NUMBERS = (_ROUND, *_EXP2)  # what `exp2` computes with


def emit_exp2(builder, value, numbers):
    """LLVM code of `exp2` for a vector, given EXP2_NUMBERS as vectors."""
    round_up, *coefficients = numbers
    kind, lanes = value.type, value.type.count
    shifted = builder.fadd(value, round_up)
    fraction = builder.fsub(value, builder.fsub(shifted, round_up))
    # by pairs (Estrin's scheme): the chain of dependent operations is shorter than Horner's
    square = builder.fmul(fraction, fraction)
    power = None
    for high, low in zip(coefficients[::2], coefficients[1::2], strict=True):
        pair = _multiply_add(builder, high, fraction, low)
        power = pair if power is None else _multiply_add(builder, power, square, pair)
    exponent = builder.shl(builder.bitcast(shifted, ints(lanes)), _int_constant(23, lanes))
    return builder.bitcast(builder.add(builder.bitcast(power, ints(lanes)), exponent), kind)


@intrinsic
def exp2(typingctx, value):
    """2 to the power of each lane, for -126 <= value <= 127; beyond, the result is undefined."""

    def codegen(context, builder, sig, args):
        return emit_exp2(builder, args[0], [_constant(number, sig.args[0].lanes) for number in EXP2_NUMBERS])

    return value(value), codegen


_ROOT_HALF_BITS = 0x3F3504F3  # √½ as float32


@intrinsic
def log2(typingctx, value):
    """Logarithm to base 2 of each lane, for normal numbers above 0 (error about 1e-7)."""

    def codegen(context, builder, sig, args):
        lanes = sig.args[0].lanes
        one, mantissa_bits = _constant(1.0, lanes), _int_constant(23, lanes)
        bits = builder.bitcast(args[0], ints(lanes))
        exponent = builder.ashr(builder.sub(bits, _int_constant(_ROOT_HALF_BITS, lanes)), mantissa_bits)
        mantissa = builder.bitcast(builder.sub(bits, builder.shl(exponent, mantissa_bits)), floats(lanes))
        below, above = builder.fsub(mantissa, one), builder.fadd(mantissa, one)
        s = builder.fdiv(below, above)  # ln m = 2 artanh s, |s| < 0.172
        square = builder.fmul(s, s)
        series = _constant(1 / 9, lanes)
        for odd in (7, 5, 3, 1):
            series = _multiply_add(builder, series, square, _constant(1 / odd, lanes))
        fraction = builder.fmul(builder.fmul(s, series), _constant(2 / np.log(2), lanes))
        return builder.fadd(builder.sitofp(exponent, floats(lanes)), fraction)

    return value(value), codegen


@intrinsic
def bits_between(typingctx, first, last):
    """Lane by lane the bits of an int32 from one number to another, both in 0 … 31; none if first > last."""

    def codegen(context, builder, sig, args):
        lanes = sig.args[0].lanes
        low, high = (builder.fptosi(number, ints(lanes)) for number in args)
        above = builder.shl(
            _int_constant(2, lanes), high
        )  # 2 << 31 is 0, so all bits from `first` on are set
        bits = builder.sub(above, builder.shl(_int_constant(1, lanes), low))
        some = builder.fcmp_ordered("<=", *args)
        return builder.bitcast(builder.select(some, bits, _int_constant(0, lanes)), floats(lanes))

    return first(first, first), codegen


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
