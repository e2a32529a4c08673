# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays of any layout, type, size and value, and what counts as an answer to them."""

import dataclasses
import re

import numpy as np
from hypothesis import strategies as st

ROUNDING = 2.4e-7  # of a column's scale: an ulp or two of float32
VALUES = (0.0, -0.0, 0.1, 1.0, -1.0, 1000.0, 1003.0, 65535.0, 2.0**24 + 1, 1e30, 1e38, -1e38, 3.4e38, 1e-45, 1e-38)
NO_DATA = (np.nan, np.inf, -np.inf)
TOO_LARGE = (1e39, -1e300)  # for float32
FLOATS = ("f2", "f4", "f8")
NUMBERS = (*FLOATS, "?", "u1", "i2", "u2", "i4", "i8", "u8")
NO_NUMBERS = ("c8", "O", "U1", "M8[s]")
SIZES = ((0, 0), (0, 3), (3, 0), (1, 1), (1, 7), (5, 1), (3, 3), (4, 6), (9, 33), (21, 14))
NAMES_FRAME = r"\bframes?\b|reference|image|first|samples"


# --- hostile arrays ---------------------------------------------------------------------------------------------------


def strided(array):
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape) if array.size else array
    view[...] = array
    return view


def read_only(array):
    array.flags.writeable = False
    return array


LAYOUTS = {
    "plain": lambda array: array,
    "fortran": np.asfortranarray,
    "strided": strided,
    "backwards": lambda array: array[::-1].copy()[::-1],
    "mirrored": lambda array: array[..., ::-1].copy()[..., ::-1],
    "read-only": read_only,
    "swapped": lambda array: array.astype(array.dtype.newbyteorder("S")),
    "unaligned": unaligned,
    "masked": lambda array: np.ma.masked_array(array, np.indices(array.shape).sum(axis=0) % 3 == 0),
    "unmasked": np.ma.masked_array,
}


def filled(shape, dtype, values, seed):
    """Return an array of a type with some of the values, or any that the type can hold."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "f":
        with np.errstate(over="ignore"):
            return rng.choice(values, shape).astype(dtype)
    if kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return rng.integers(0, 2, shape).astype(dtype)


def plain(array):
    """Return what a hostile array says: native, in C order, NaN where it is masked."""
    data = np.ma.getdata(array)
    data = np.array(data, dtype=data.dtype.newbyteorder("="), order="C")
    return np.where(np.ma.getmaskarray(array), np.nan, data) if isinstance(array, np.ma.MaskedArray) else data


pools = st.one_of(
    st.lists(st.sampled_from(VALUES + NO_DATA + TOO_LARGE), min_size=1, max_size=6),
    st.just([990.0, 995.0, 1000.0, 1001.0, 1010.0, 5000.0, np.nan]),
)
layouts = st.sampled_from(sorted(LAYOUTS)).map(LAYOUTS.__getitem__)
channels = st.sampled_from([(), (3,), (1,), (2,)])
shapes = st.builds(lambda size, channel: size + channel, st.sampled_from(SIZES), channels)
seeds = st.integers(0, 2**32 - 1)


def arrays(shapes=shapes, dtypes=NUMBERS):
    def build(shape, dtype, values, seed, layout):
        return layout(filled(shape, dtype, values, seed))

    return st.builds(build, shapes, st.sampled_from(dtypes), pools, seeds, layouts)


@st.composite
def groups(draw, shapes=shapes, least=0, most=6):
    """Draw frames of one shape, each of a type and layout of its own."""
    shape = draw(shapes)
    return draw(st.lists(arrays(st.just(shape)), min_size=least, max_size=most))


pairs = groups(least=2, most=2)


# --- answers ----------------------------------------------------------------------------------------------------------


def fingerprint(value):
    if isinstance(value, np.ndarray):
        mask = np.ma.getmaskarray(value).tobytes() if isinstance(value, np.ma.MaskedArray) else b""
        return np.ma.getdata(value).tobytes(), mask, value.dtype, value.strides, value.flags.writeable
    if isinstance(value, (list, tuple)):
        return [fingerprint(item) for item in value]
    return None


def answer(names, function, *args, **kwargs):
    """Return what a function says, or None for a ValueError that names an argument; its input is as before."""
    given = [*args, *kwargs.values()]
    before = fingerprint(given)
    try:
        result = function(*args, **kwargs)
    except ValueError as refused:
        assert re.search(names, str(refused)), refused  # noqa: PT017  (either outcome is right, if it is explained)
        result = None
    assert fingerprint(given) == before
    return result


def parts(result):
    """Return the arrays and numbers of a result."""
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    if isinstance(result, (list, tuple)):
        return [part for item in result for part in parts(item)]
    return [np.asarray(result)]


def assert_same(one, other):
    one, other = parts(one), parts(other)
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind == "f":
            assert a.tobytes() == b.tobytes() or np.array_equal(a, b, equal_nan=True)
        else:
            assert np.array_equal(a, b)


def assert_no_infinity(result):
    for part in parts(result):
        assert part.dtype.kind != "f" or not np.isinf(part).any()
