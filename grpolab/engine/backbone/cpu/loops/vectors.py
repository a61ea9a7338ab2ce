"""Sums that stay in vector registers, which LLVM does not make of a plain loop."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from grpolab.engine.backbone.cpu.loops.numbers import LOG2_E, TAYLOR, intrinsic
from grpolab.engine.backbone.cpu.target import LANES

NUMBERS = types.CPointer(types.float32)

UNROLLED = 4
"""Inputs of a tile that are unrolled."""

_FLOAT, _INDEX, _INT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_FUSED = ("contract", "nsz")  # a product and a sum may be one instruction


def tile(rows: int, vectors: int) -> Any:
    """The compiled product of `rows` rows by `vectors` vectors of outputs:

    out[r] = start[r] + Σ x[r, i] · panel[i] over `depth` inputs i. All are pointers to fp32; every
    `_row` is the number of elements from one row (of `panel`: input) to the next.
    """

    @intrinsic
    def made(typing, x, x_row, panel, panel_row, depth, start, start_row, out, out_row):
        n = types.int64
        return types.void(NUMBERS, n, NUMBERS, n, n, NUMBERS, n, NUMBERS, n), emit

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        x, x_row, panel, step, depth, start, start_row, out, out_row = args

        def row(begin: Any, length: Any, r: int) -> Any:
            return b.gep(begin, [b.mul(length, ir.Constant(_INDEX, r))])

        sums = [_load(b, row(start, start_row, r), LANES * v)
                for r in range(rows) for v in range(vectors)]  # fmt: skip
        places = [*(row(x, x_row, r) for r in range(rows)), panel]
        whole = b.and_(depth, ir.Constant(_INDEX, -UNROLLED))
        places, sums = _sum(b, rows, vectors, whole, UNROLLED, step, places, sums)
        _, sums = _sum(b, rows, vectors, b.sub(depth, whole), 1, step, places, sums)
        for r in range(rows):
            for v in range(vectors):
                b.store(sums[r * vectors + v], _vector(b, row(out, out_row, r), LANES * v), align=4)
        return context.get_dummy_value()

    return made


def dots(count: int) -> Any:
    """The compiled products of one vector and `count` others, 1 or 4:

    out[k] = Σ x[i] · y[k, i] over `depth` inputs, a multiple of LANES; `y_row` elements from one y
    to the next.
    """

    @intrinsic
    def made(typing, x, y, y_row, depth, out):
        n = types.int64
        return types.void(NUMBERS, NUMBERS, n, n, NUMBERS), emit

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        x, y, y_row, depth, out = args
        others = [b.gep(y, [b.mul(y_row, ir.Constant(_INDEX, k))]) for k in range(count)]

        def body(values: list[Any]) -> list[Any]:
            places, sums = values[: count + 1], values[count + 1 :]
            by = _load(b, places[0], 0)
            sums = [_add(b, s, by, _load(b, p, 0)) for s, p in zip(sums, places[1:], strict=True)]
            return [*_further(b, places), *sums]

        start = [x, *others, *[_all(0.0)] * count]
        sums = _loop(b, depth, LANES, start, body)[count + 1 :]
        while len(sums) > 1:
            sums = [_pairs(b, *sums[i : i + 2]) for i in range(0, len(sums), 2)]
        (found,) = sums
        while found.type.count > count:
            found = _pairs(b, found)
        if count == 1:
            b.store(b.extract_element(found, ir.Constant(_INT, 0)), out)
        else:
            b.store(found, b.bitcast(out, found.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return made


@intrinsic
def largest(typing, x, count):
    """The largest of some numbers, a multiple of LANES and not 0."""

    def emit(context, b, signature, args):
        x, count = args

        def body(values):
            found, top = _load(b, values[0], 0), values[1]
            top = b.select(b.fcmp_ordered(">", found, top), found, top)
            return [*_further(b, values[:1]), top]

        _, top = _loop(b, count, LANES, [x, _load(b, x, 0)], body)
        while top.type.count > 1:
            half = top.type.count // 2
            low, high = (_part(b, top, range(i, i + half)) for i in (0, half))
            top = b.select(b.fcmp_ordered(">", low, high), low, high)
        return b.extract_element(top, ir.Constant(_INT, 0))

    return types.float32(NUMBERS, types.int64), emit


@intrinsic
def exponentials(typing, x, less, count):
    """e^(x − less) in place of some numbers, a multiple of LANES, as `numbers.exp` has it; their
    sum."""

    def emit(context, b, signature, args):
        x, less, count = args
        less = _spread(b, less)

        def body(values):
            weight = _exp(b, b.fsub(_load(b, values[0], 0), less))
            b.store(weight, _vector(b, values[0], 0), align=4)
            return [*_further(b, values[:1]), b.fadd(values[1], weight)]

        _, total = _loop(b, count, LANES, [x, _all(0.0)], body)
        while total.type.count > 1:
            total = _pairs(b, total)
        return b.extract_element(total, ir.Constant(_INT, 0))

    return types.float32(NUMBERS, types.float32, types.int64), emit


@intrinsic
def turned(typing, x, cos, sin, half, scale, out, count):
    """The first `count` of each half of a query or key, scaled and turned by its position; a
    multiple of LANES. x is fp32 or bf16's bits; cos and sin [half]."""

    def emit(context, b, signature, args):
        x, cos, sin, half, scale, out, count = args
        read, scale = _reads(signature), _spread(b, scale)

        def body(values):
            x, c, s, out = values
            low, high = (b.fmul(read(b, p, 0), scale) for p in (x, b.gep(x, [half])))
            cos, sin = _load(b, c, 0), _load(b, s, 0)
            less, more = b.fmul(high, sin), b.fmul(low, sin)
            b.store(b.fsub(b.fmul(low, cos), less), _vector(b, out, 0), align=4)
            to = _vector(b, b.gep(out, [half]), 0)
            b.store(b.fadd(b.fmul(high, cos), more), to, align=4)
            return _further(b, values)

        _loop(b, count, LANES, [x, cos, sin, out], body)
        return context.get_dummy_value()

    n = types.int64
    return types.void(x, NUMBERS, NUMBERS, n, types.float32, NUMBERS, n), emit


@intrinsic
def copied(typing, x, out, count):
    """Some numbers, fp32 or bf16's bits, as fp32; a multiple of LANES."""

    def emit(context, b, signature, args):
        read = _reads(signature)

        def body(values):
            b.store(read(b, values[0], 0), _vector(b, values[1], 0), align=4)
            return _further(b, values)

        _loop(b, args[2], LANES, [args[0], args[1]], body)
        return context.get_dummy_value()

    return types.void(x, NUMBERS, types.int64), emit


def _reads(signature: Any) -> Any:
    return _widened if signature.args[0].dtype == types.uint16 else _load


def _further(b: Any, places: Any) -> list[Any]:
    return [b.gep(p, [ir.Constant(_INDEX, LANES)]) for p in places]


def _exp(b: Any, x: Any) -> Any:
    lowest, highest, one = _all(-126.0), _all(126.0), _all(0.5)
    y = b.fmul(x, _all(float(LOG2_E)))
    y = b.select(b.fcmp_ordered(">", y, lowest), y, lowest)
    y = b.select(b.fcmp_ordered("<", y, highest), y, highest)
    signature = ir.FunctionType(_VECTOR, [_VECTOR])
    floor = b.module.declare_intrinsic(f"llvm.floor.v{LANES}f32", (), signature)
    whole = b.call(floor, [b.fadd(y, one)])
    part = b.fsub(y, whole)
    p = _all(float(TAYLOR[-1]))
    for c in TAYLOR[-2::-1]:
        p = _add(b, _all(float(c)), p, part)
    ints = ir.VectorType(_INT, LANES)
    power = b.add(b.fptosi(whole, ints), ir.Constant(ints, [127] * LANES))
    return b.fmul(p, b.bitcast(b.shl(power, ir.Constant(ints, [23] * LANES)), _VECTOR))


def _vector(b: Any, pointer: Any, place: int) -> Any:
    """A pointer to the vector at an offset of `place` numbers."""
    moved = b.gep(pointer, [ir.Constant(_INDEX, place)])
    return b.bitcast(moved, _VECTOR.as_pointer())


def _load(b: Any, pointer: Any, place: int) -> Any:
    return b.load(_vector(b, pointer, place), align=4)


def _add(b: Any, total: Any, x: Any, y: Any) -> Any:
    return b.fadd(total, b.fmul(x, y, flags=_FUSED), flags=_FUSED)


def _spread(b: Any, number: Any) -> Any:
    """A vector with this number in every lane."""
    none = ir.Constant(_VECTOR, ir.Undefined)
    one = b.insert_element(none, number, ir.Constant(_INT, 0))
    return b.shuffle_vector(one, none, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _all(number: float) -> Any:
    return ir.Constant(_VECTOR, [number] * LANES)


def _widened(b: Any, pointer: Any, place: int) -> Any:
    """A vector of bf16's bits, as fp32."""
    few, many = (ir.VectorType(ir.IntType(n), LANES) for n in (16, 32))
    moved = b.bitcast(b.gep(pointer, [ir.Constant(_INDEX, place)]), few.as_pointer())
    bits = b.zext(b.load(moved, align=2), many)
    return b.bitcast(b.shl(bits, ir.Constant(many, [16] * LANES)), _VECTOR)


def _part(b: Any, x: Any, places: Any, y: Any = None) -> Any:
    places = list(places)
    places = ir.Constant(ir.VectorType(_INT, len(places)), places)
    return b.shuffle_vector(x, x if y is None else y, places)


def _pairs(b: Any, x: Any, y: Any = None) -> Any:
    """The sums of neighbors in one vector, half as wide, or in two, as wide as each."""
    count = x.type.count if y is None else 2 * x.type.count
    return b.fadd(*(_part(b, x, range(first, count, 2), y) for first in (0, 1)))


def _sum(
    b: Any, rows: int, vectors: int, count: Any, unrolled: int, step: Any, places: list[Any],
    sums: list[Any],
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """A tile's loop over `count` inputs, a multiple of `unrolled`. `places` are pointers to each
    row's and the panel's next; they and the sums [rows · vectors] are returned as they are then."""

    def body(values: list[Any]) -> list[Any]:
        *xs, panel = values[: rows + 1]
        found = values[rows + 1 :]
        for u in range(unrolled):
            weights = [_load(b, panel, LANES * v) for v in range(vectors)]
            for r, x in enumerate(xs):
                everywhere = _spread(b, b.load(b.gep(x, [ir.Constant(_INDEX, u)]), align=4))
                for v in range(vectors):
                    at = r * vectors + v
                    found[at] = _add(b, found[at], everywhere, weights[v])
            panel = b.gep(panel, [step])
        return [*(b.gep(x, [ir.Constant(_INDEX, unrolled)]) for x in xs), panel, *found]

    behind = _loop(b, count, unrolled, [*places, *sums], body)
    return behind[: rows + 1], behind[rows + 1 :]


def _loop(b: Any, count: Any, by: int, values: list[Any], body: Any) -> list[Any]:
    """`values` as they are after `body` has changed them count / by times."""
    before = b.block
    test, inside, after = (b.append_basic_block() for _ in range(3))
    b.branch(test)
    b.position_at_end(test)
    left = b.phi(_INDEX)
    now = [b.phi(v.type) for v in values]
    b.cbranch(b.icmp_signed(">", left, ir.Constant(_INDEX, 0)), inside, after)

    b.position_at_end(inside)
    later = [b.sub(left, ir.Constant(_INDEX, by)), *body(list(now))]
    b.branch(test)

    for phi, first, next_time in zip([left, *now], [count, *values], later, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_time, inside)
    b.position_at_end(after)
    return now
