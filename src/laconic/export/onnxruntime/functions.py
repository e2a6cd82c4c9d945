"""ONNX functions of our own, made of standard operators: every runtime that knows ONNX can run them.

ONNX Runtime inlines them when it loads a model, and computes once what depends on constants alone.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx.parser import parse_function

DOMAIN = "laconic"
_HEADER = f'<domain: "{DOMAIN}", opset_import: ["": 21]>'

AFFINE = "Affine (codes, scale, zero_point) => (values)"
_AFFINE = """
    codes_float = Cast <to: int = 1> (codes)
    zero_float = Cast <to: int = 1> (zero_point)
    centred = Sub (codes_float, zero_float)
    values = Mul (centred, scale)
"""
SCALED = "Scaled (codes, scale) => (values)"
_SCALED = """
    codes_float = Cast <to: int = 1> (codes)
    values = Mul (codes_float, scale)
"""
TAKEN = "Taken (codes, table) => (values)"
_TAKEN = """
    places = Cast <to: int = 6> (codes)
    values = Gather (table, places)
"""
SPREAD = "Spread (groups, length, count) => (elements)"
_SPREAD = """
    zero = Constant <value: tensor = int64 {0}> ()
    one = Constant <value: tensor = int64 {1}> ()
    position = Range (zero, count, one)
    group = Div (position, length)
    elements = Gather <axis: int = -1> (groups, group)
"""
SCATTERED = "Scattered (gaps, last, rest, common, shape) => (codes)"
_SCATTERED = """
    any = Constant <value_ints: ints = [-1]> ()
    axis = Constant <value: tensor = int32 {0}> ()
    one = Constant <value: tensor = int32 {1}> ()
    flat_gaps = Reshape (gaps, any)
    empty = Cast <to: int = 6> (flat_gaps)
    further = Equal (empty, last)
    ends = Not (further)
    ended = Cast <to: int = 6> (ends)
    steps = Add (empty, ended)
    reached = CumSum (steps, axis)
    place = Sub (reached, one)
    count = ReduceProd <keepdims: int = 1> (shape)
    nowhere = Cast <to: int = 6> (count)
    places = Where (further, nowhere, place)
    number = CumSum (ended, axis)
    before = Sub (number, one)
    values = Gather (rest, before)
    spare = Constant <value_ints: ints = [1]> ()
    size = Add (count, spare)
    blank = Expand (common, size)
    filled = ScatterElements (blank, places, values)
    start = Constant <value_ints: ints = [0]> ()
    flat = Slice (filled, start, count)
    codes = Reshape (flat, shape)
"""
_UNPACK = """
    as_rows = Constant <value_ints: ints = [-1, {bits}]> ()
    rows = Reshape (packed, as_rows)
    first = Constant <value_ints: ints = {first}> ()
    second = Constant <value_ints: ints = {second}> ()
    low = Gather <axis: int = 1> (rows, first)
    high = Gather <axis: int = 1> (rows, second)
    right = Constant <value: tensor = uint8[8] {{{right}}}> ()
    left = Constant <value: tensor = uint8[8] {{{left}}}> ()
    lowered = BitShift <direction: string = "RIGHT"> (low, right)
    raised = BitShift <direction: string = "LEFT"> (high, left)
    both = BitwiseOr (lowered, raised)
    mask = Constant <value: tensor = uint8 {{{mask}}}> ()
    unsigned = BitwiseAnd (both, mask)
    numbers = Cast <to: int = 3> (unsigned)
    below = Constant <value: tensor = int8 {{{below}}}> ()
    codes = Sub (numbers, below)
"""


def affine() -> ir.Function:
    """Returns `values = scale * (codes - zero_point)` in float32, with broadcasting."""
    return _function(AFFINE, _AFFINE)


def scaled() -> ir.Function:
    """Returns `values = scale * codes` in float32, with broadcasting."""
    return _function(SCALED, _SCALED)


def taken() -> ir.Function:
    """Returns `values = table[codes]`, in the shape of the codes."""
    return _function(TAKEN, _TAKEN)


def spread() -> ir.Function:
    """Returns the last dimension `[groups]` repeated to `[count]`, `length` times each."""
    return _function(SPREAD, _SPREAD)


def scattered() -> ir.Function:
    """Returns codes `rest` in their places among codes `common`, in a shape.

    Each gap is the number of common codes before the next of the rest; `last` puts none anywhere: so many common codes,
    and go on. There may be more in `rest` than gaps ask for.
    """
    return _function(SCATTERED, _SCATTERED)


def unpack(bits: int, lowest: int) -> ir.Function:
    """Returns the inverse of `laconic.core.bits.pack`: bytes to int8 codes `[..., 8]`, `lowest` added.

    Eight codes lie in `bits` bytes, least significant bit first; each is put together from the two bytes that it
    touches. All steps are on bytes: ONNX Runtime keeps what they give until it has loaded the model.

    Args:
        bits: 1 to 7.
        lowest: of the codes.
    """
    starts = [i * bits for i in range(8)]
    body = _UNPACK.format(
        bits=bits,
        first=[start // 8 for start in starts],
        second=[min(start // 8 + 1, bits - 1) for start in starts],
        right=", ".join(str(start % 8) for start in starts),
        left=", ".join(str(min(8 - start % 8, 7)) for start in starts),  # by 7 lands beyond the mask, as by 8 would
        mask=2**bits - 1,
        below=-lowest,
    )
    sign = "Int" if lowest else "UInt"
    return _function(f"Unpack{sign}{bits} (packed) => (codes)", body)


def _function(signature: str, body: str) -> ir.Function:
    return ir.serde.deserialize_function(parse_function(f"{_HEADER} {signature} {{ {body} }}"))
