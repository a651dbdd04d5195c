"""The small functions at the top of C files, compiled from their template, against the truth.

An error is measured in units in the last place of the exact value in single precision.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codegen.c.functions import ELEMENTARY
from codegen.templating import render

Array = NDArray[np.floating]
Call = Callable[..., None]

VECTORS = ("exp", "log", "tanh", "expm1", "log1p", "erf", "erfc", "erfcx")
ONE = (
    *(f"vector_{name}" for name in VECTORS),
    *("log_normal", "sigmoid", "square", "cube", "sign", "finite"),
)
TWO = ("log_add_exp", "larger")
TYPES = {"float32": (ctypes.c_float, ()), "float64": (ctypes.c_double, ("-DDOUBLE",))}
INF, NAN = np.inf, np.nan
LEAST = np.float32(2) ** -126  # what is smaller has fewer digits
MORE_DIGITS = bool(np.finfo(np.longdouble).eps < 1e-18)

HEAD = """
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef DOUBLE
typedef double real;
#define R(name) name
#else
typedef float real;
#define R(name) name##f
#endif
enum { TILE = 1024, KEPT = 1 << 20, PAST = 1 << 22, PARALLEL = 1 };
"""


def program() -> str:
    """A file with all small functions, and one more for each, over arrays."""
    text = HEAD + render("c/elementary.c.jinja", needs=set(ELEMENTARY))
    arrays = [*((name, "a[i]") for name in (*ONE, "digamma")), *((n, "a[i], b[i]") for n in TWO)]
    for name, arguments in arrays:
        text += f"""
void every_{name}(int64_t n, const real *a, const real *b, real *out) {{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] = {name}({arguments});
}}
"""
    return f"""{text}
void product(int threads, int64_t M, int64_t N, int64_t K, const real *a, int64_t a_m, int64_t a_k,
             const real *b, int64_t b_k, int64_t b_n, real *out, int64_t o_m, int64_t o_n) {{
    contract(threads, M, N, K, a, a_m, a_k, b, b_k, b_n, out, o_m, o_n);
}}
void streamed(int64_t count, real *to, const real *from) {{
    if (past_caches(PAST))
        stream(to, from, count);
    else
        memcpy(to, from, count * sizeof(real));
}}
"""


@pytest.fixture(scope="module", params=TYPES)
def built(
    c_compiler: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ctypes.CDLL, str]]:
    """The functions in a precision, compiled as every C file is."""
    loader, folder = import_module("generated.c.loader"), tmp_path_factory.mktemp("elementary")
    (source := Path(folder) / "elementary.c").write_text(program())
    loader.build(source, TYPES[request.param][1], folder / "elementary.so")
    yield ctypes.CDLL(str(folder / "elementary.so")), request.param


@pytest.fixture
def call(built: tuple[ctypes.CDLL, str]) -> Callable[..., Array]:
    library, dtype = built

    def every(name: str, a: Sequence[float] | Array, b: Sequence[float] | Array = ()) -> Array:
        first = np.ascontiguousarray(a, dtype)
        second = np.ascontiguousarray(b if len(b) else a, dtype)
        out = np.empty_like(first)
        places = (ctypes.c_void_p(array.ctypes.data) for array in (first, second, out))
        library[f"every_{name}"](ctypes.c_int64(first.size), *places)
        return out

    return every


def units(found: Array, truth: Array) -> float:
    """How far off the worst is, in units in the last place."""
    assert not np.isnan(found).any()
    one = np.spacing(np.maximum(np.abs(truth.astype(np.float32)), LEAST)).astype(np.float64)
    return float((np.abs(found.astype(np.float64) - truth) / one).max())


def dense(low: float, high: float, count: int = 4_000_001) -> Array:
    return np.linspace(low, high, count).astype(np.float32)


def all_exponents() -> Array:
    """Positive numbers of every exponent, and many fractions."""
    fractions = np.linspace(1, 2, 20_001)[:-1]
    return np.concatenate([fractions * 2.0**e for e in range(-126, 128)]).astype(np.float32)


def erf(values: Array) -> Array:
    return torch.erf(torch.from_numpy(values)).numpy()


def erfc(values: Array) -> Array:
    return torch.erfc(torch.from_numpy(values)).numpy()


def erfcx(values: Array) -> Array:
    return torch.special.erfcx(torch.from_numpy(values)).numpy()


def log_normal(values: Array) -> Array:
    return torch.special.log_ndtr(torch.from_numpy(values)).numpy()


def exact(name: str, value: float) -> Any:
    """A scaled tail, or its logarithm, to 50 digits."""
    with mpmath.workdps(50):
        x = mpmath.mpf(float(value))
        if name == "vector_erfcx":
            return mpmath.exp(x**2) * mpmath.erfc(x)
        above = mpmath.erfc(abs(x) / mpmath.sqrt(2)) / 2
        return mpmath.log(above) if x < 0 else mpmath.log1p(-above)


# --- one variable ---


@pytest.mark.parametrize(
    ("name", "native", "inputs", "bound"),
    [
        ("vector_exp", np.exp, dense(-86.9, 88.72), 1.5),
        ("vector_exp", np.exp, dense(-1e-3, 1e-3), 1.5),
        ("vector_log", np.log, all_exponents(), 1),
        ("vector_log", np.log, dense(0.5, 2), 1),
        ("vector_tanh", np.tanh, dense(-10, 10), 6),
        ("vector_tanh", np.tanh, all_exponents(), 6),
        ("vector_expm1", np.expm1, dense(-100, 88.72), 1.5),
        ("vector_expm1", np.expm1, dense(-1, 1), 1.5),
        ("vector_expm1", np.expm1, -all_exponents(), 1.5),
        ("vector_log1p", np.log1p, all_exponents(), 2),
        ("vector_log1p", np.log1p, dense(-1 + 1e-6, 2), 2),
        ("vector_erf", erf, all_exponents(), 2),
        ("vector_erf", erf, dense(-5, 5), 2),
        ("vector_erfc", erfc, dense(-5, 9.18), 7),
        ("vector_erfc", erfc, dense(-1e-3, 1e-3), 7),
        ("vector_erfcx", erfcx, dense(-9, 20), 6),
        ("vector_erfcx", erfcx, all_exponents(), 6),
        ("log_normal", log_normal, dense(-40, 12.5), 7),
        ("log_normal", log_normal, dense(-1e6, 0), 7),
    ],
)
def test_the_error_is_below_what_the_template_says(
    built: tuple[ctypes.CDLL, str],
    call: Callable[..., Array],
    name: str,
    native: Callable[[Array], Array],
    inputs: Array,
    bound: float,
) -> None:
    off = units(call(name, inputs), native(inputs.astype(np.float64)))
    assert off < (bound if built[1] == "float32" else 1e-6)


@pytest.mark.skipif(not MORE_DIGITS, reason="no type has more digits than double's")
@pytest.mark.parametrize("built", ["float64"], indirect=True)
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        *(("exp", -707, 709.7), ("exp", -1, 1), ("log", 0.5, 2), ("log", 1e-300, 1e300)),
        *(("expm1", -50, 700), ("expm1", -1, 1), ("log1p", -0.999, 3), ("log1p", -1e-5, 1e-5)),
        *(("tanh", -20, 20), ("tanh", -0.1, 0.1)),
    ],
)
def test_the_error_in_double_precision_is_below_three_units(
    call: Callable[..., Array], name: str, low: float, high: float
) -> None:
    inputs = np.linspace(low, high, 1_000_001)
    truth = getattr(np, name)(inputs.astype(np.longdouble))
    off = np.abs(call(f"vector_{name}", inputs) - truth)
    assert (off <= 3 * np.spacing(np.abs(truth.astype(np.float64)))).all()


@pytest.mark.parametrize("built", ["float64"], indirect=True)
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        *(("vector_erfcx", -26, -1), ("vector_erfcx", -1, 1), ("vector_erfcx", 1, 20)),
        *(("vector_erfcx", 20, 1e3), ("log_normal", -1e3, -1), ("log_normal", -1, 1)),
        ("log_normal", 1, 37),
    ],
)
def test_a_scaled_tail_and_its_logarithm_are_right_to_five_units(
    call: Callable[..., Array], name: str, low: float, high: float
) -> None:
    inputs = np.linspace(low, high, 2_001)
    for found, value in zip(call(name, inputs), inputs, strict=True):
        truth = exact(name, value)
        assert abs(mpmath.mpf(float(found)) - truth) <= 5 * np.spacing(abs(float(truth))), value


def test_a_polynomial_that_is_off_would_be_seen(call: Callable[..., Array]) -> None:
    inputs = dense(-5, 5)
    spoilt = call("vector_exp", inputs) * np.float32(1 - 2e-7)
    assert units(spoilt, np.exp(inputs.astype(np.float64))) > 1.5


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        (
            "vector_exp",
            [
                *((0, 1), (-0.0, 1), (1e-40, 1), (-1e-40, 1), (INF, INF), (-INF, 0), (NAN, NAN)),
                *((1e30, INF), (-1e30, 0), (800, INF), (-800, 0)),
            ],
        ),
        (
            "vector_log",
            [
                *((1, 0), (0, -INF), (-0.0, -INF), (INF, INF), (-INF, NAN), (-1, NAN), (NAN, NAN)),
                (-1e-40, NAN),
            ],
        ),
        (
            "vector_tanh",
            [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (NAN, NAN), (1e30, 1), (-1e30, -1)],
        ),
        (
            "vector_expm1",
            [
                *((0, 0), (-0.0, -0.0), (1e-40, 1e-40), (INF, INF), (-INF, -1), (NAN, NAN)),
                *((1e30, INF), (-1e30, -1), (800, INF), (-800, -1)),
            ],
        ),
        (
            "vector_log1p",
            [
                *((0, 0), (-0.0, -0.0), (1e-40, 1e-40), (INF, INF), (-1, -INF), (-2, NAN)),
                *((-INF, NAN), (NAN, NAN)),
            ],
        ),
        (
            "vector_erfc",
            [(0, 1), (-0.0, 1), (INF, 0), (-INF, 2), (NAN, NAN), (1e30, 0), (-1e30, 2)],
        ),
        (
            "vector_erfcx",
            [(0, 1), (-0.0, 1), (INF, 0), (-INF, INF), (NAN, NAN), (1e30, 5.6418958e-31)],
        ),
        (
            "log_normal",
            [
                *((0, -0.6931472), (-0.0, -0.6931472), (INF, -0.0), (-INF, -INF), (NAN, NAN)),
                (1e30, -0.0),
            ],
        ),
        (
            "vector_erf",
            [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (NAN, NAN), (1e30, 1), (-1e30, -1)],
        ),
        (
            "sigmoid",
            [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (NAN, NAN), (1e30, 1), (-1e30, 0)],
        ),
        ("sign", [(0, 0), (-0.0, 0), (INF, 1), (-INF, -1), (1e-40, 1), (-1e-40, -1)]),
        ("finite", [(INF, 0), (-INF, 0), (NAN, 0), (-0.0, -0.0), (3e38, 3e38)]),
        ("digamma", [(0, -INF), (-0.0, INF), (INF, INF), (-1, NAN), (-INF, NAN), (NAN, NAN)]),
    ],
)
def test_extremes_are_those_of_the_c_library(
    call: Callable[..., Array], name: str, pairs: list[tuple[float, float]]
) -> None:
    inputs, expected = zip(*pairs, strict=True)
    found = call(name, inputs * 9)[-len(inputs) :]  # as many as fill a vector
    expected = np.asarray(expected, found.dtype)
    close = np.isclose(found, expected, rtol=1e-6, atol=0, equal_nan=True)
    assert close.all(), list(zip(inputs, found, expected, strict=True))
    numbers = ~np.isnan(expected)
    assert (np.signbit(found) == np.signbit(expected))[numbers].all()


def test_a_logarithm_of_what_has_few_digits_is_right(call: Callable[..., Array]) -> None:
    inputs = np.float32(2.0) ** np.arange(-149, -120)
    assert np.allclose(call("vector_log", inputs), np.log(inputs.astype(np.float64)), rtol=1e-6)


def test_an_exponential_is_zero_or_right_where_it_is_least(call: Callable[..., Array]) -> None:
    inputs = dense(-104, -86, 200_001)
    found, truth = call("vector_exp", inputs).astype(np.float64), np.exp(inputs.astype(np.float64))
    assert ((found == 0) & (truth < 2e-38) | np.isclose(found, truth, rtol=1e-5)).all()
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_sigmoid_is_right_far_out(call: Callable[..., Array], sign: int) -> None:
    inputs = sign * dense(0, 86, 400_001)
    truth = 1 / (1 + np.exp(-inputs.astype(np.float64)))
    assert np.allclose(call("sigmoid", inputs), truth, rtol=4e-7, atol=0)


def test_a_digamma_is_torchs(call: Callable[..., Array], built: tuple[ctypes.CDLL, str]) -> None:
    inputs = np.concatenate([dense(1e-3, 40, 20_001), dense(-8.9, -1e-3, 20_001)])
    truth = torch.digamma(torch.from_numpy(inputs.astype(np.float64))).numpy()
    tolerance = 1e-12 if built[1] == "float64" else 4e-7
    assert np.allclose(call("digamma", inputs), truth, rtol=tolerance, atol=tolerance)


# --- two variables ---


def test_the_sum_of_two_exponentials_is_safe(call: Callable[..., Array]) -> None:
    values = (0.0, -0.0, 1.0, -1.0, 30.0, -30.0, 1e4, -1e4, 1e38, -1e38, INF, -INF, NAN)
    a, b = np.array(list(itertools.product(values, repeat=2))).T
    truth = torch.logaddexp(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    found = call("log_add_exp", a, b)
    assert np.allclose(found, truth, rtol=1e-6, equal_nan=True)
    assert np.array_equal(found, call("log_add_exp", b, a), equal_nan=True)


def test_the_larger_of_two_is_the_larger(call: Callable[..., Array]) -> None:
    values = (0.0, -1.0, 2.0, INF, -INF)
    a, b = np.array(list(itertools.product(values, repeat=2))).T
    assert np.array_equal(call("larger", a, b), np.maximum(a, b))


# --- what is written past the caches ---


def test_what_is_streamed_is_all_there_and_nothing_beside_it(
    built: tuple[ctypes.CDLL, str],
) -> None:
    library, dtype = built
    room = 160
    given = np.arange(room, dtype=dtype)
    for start, first, count in itertools.product(range(20), (0, 3), (0, 1, 7, 16, 33, 100)):
        out = np.full(room, NAN, dtype)
        to, end = out[start:], start + count
        places = (ctypes.c_void_p(array.ctypes.data) for array in (to, given[first:]))
        library.streamed(ctypes.c_int64(count), *places)
        assert np.array_equal(out[start:end], given[first : first + count])
        assert np.isnan(out[:start]).all()
        assert np.isnan(out[end:]).all()


# --- products of matrices ---

SIZES = (0, 1, 2, 7, 13, 33, 131)
DEPTHS = (0, 1, 5, 64, 257, 521)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("turned", list(itertools.product([False, True], repeat=3)))
def test_a_product_of_matrices_is_numpys(
    built: tuple[ctypes.CDLL, str], turned: tuple[bool, bool, bool], threads: int
) -> None:
    library, dtype = built
    rng = np.random.default_rng(0)
    for m, n, k in itertools.product(SIZES, SIZES, DEPTHS):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        out = np.full((m, n), NAN, dtype)
        every = zip((a, b, out), turned, strict=True)
        laid = [np.asfortranarray(value) if turn else value for value, turn in every]
        pieces: list[object] = []
        for value in laid:
            steps = (step // value.itemsize for step in value.strides)
            pieces += [ctypes.c_void_p(value.ctypes.data), *map(ctypes.c_int64, steps)]
        library.product(ctypes.c_int(threads), *map(ctypes.c_int64, (m, n, k)), *pieces)
        truth = a.astype(np.float64) @ b.astype(np.float64)
        one = np.finfo(dtype).eps * (np.abs(a.astype(float)) @ np.abs(b.astype(float)))
        assert (np.abs(laid[2] - truth) <= one * max(1, k) ** 0.5 + 1e-300).all(), (m, n, k)
