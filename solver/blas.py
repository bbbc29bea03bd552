"""BLAS and half-precision numbers for compiled loops: what Numba lacks, by address and by bits.

Numba's own matrix product copies blocks of a matrix to and fro. `sgemm` and `strsm` call the BLAS that SciPy brings
on blocks where they are, in single precision. Addresses are arguments, so that compiled loops can be kept on disk.
`half_of` and `single_of` turn numbers to the 16 bits of IEEE 754 half precision and back, one instruction for eight
numbers on any x86-64 processor since 2013.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import scipy
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic


@cache
def blas_addresses() -> tuple[int, int]:
    """Addresses of single-precision matrix product and triangular solve, for `sgemm` and `strsm`."""
    one_blas_thread()
    module = "scipy.linalg.cython_blas"
    return get_cython_function_address(module, "sgemm"), get_cython_function_address(module, "strsm")


@cache
def one_blas_thread() -> None:
    """Keep the BLAS of SciPy (which Numba calls) and NumPy to one thread.

    Fronts and vectors are small: more threads gain nothing, and where other work shares the cores they wait for
    one another (measured: a factorisation of 0.2 s took 1.6 s, a dot product of 13,000 numbers 1 ms). Sums then
    also come out the same on every run. Without the wheels' bundled libraries (conda-forge) nothing is changed;
    set OPENBLAS_NUM_THREADS=1 there.
    """
    site = Path(scipy.__file__).parent.parent
    for pattern, name in (
        ("scipy.libs/libscipy_openblas*", "scipy_openblas_set_num_threads"),
        ("numpy.libs/libscipy_openblas64_*", "scipy_openblas_set_num_threads64_"),
    ):
        for library in site.glob(pattern):
            getattr(ctypes.CDLL(str(library)), name)(1)


def _pointer_to(builder, kind, value):  # type: ignore[no-untyped-def]
    """A place on the stack that holds a value; one for each call site, however often it runs."""
    place = cgutils.alloca_once(builder, kind)
    builder.store(value, place)
    return place


def _call(builder, address, arguments):  # type: ignore[no-untyped-def]
    """Call a Fortran routine, all of whose arguments are pointers."""
    byte = ir.IntType(8).as_pointer()
    function = ir.FunctionType(ir.VoidType(), [byte] * len(arguments)).as_pointer()
    cast = [
        builder.inttoptr(a, byte) if isinstance(a.type, ir.IntType) else builder.bitcast(a, byte)
        for a in arguments
    ]
    builder.call(builder.inttoptr(address, function), cast)


_CHARACTER, _INTEGER, _SINGLE = ir.IntType(8), ir.IntType(32), ir.FloatType()


def _sgemm(typing_context, address, transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):  # type: ignore[no-untyped-def]
    """C ← α A op(B) + β C of column-major blocks given by the addresses of their first entries.

    A is m × k, C is m × n; op(B) is the transpose of the n × k block B if `transposed`, else the k × n block B.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        where, flip, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = arguments
        plain, turned = ir.Constant(_CHARACTER, ord("N")), ir.Constant(_CHARACTER, ord("T"))
        form = builder.select(builder.trunc(flip, ir.IntType(1)), turned, plain)
        m, n, k, lda, ldb, ldc = (
            _pointer_to(builder, _INTEGER, builder.trunc(value, _INTEGER))
            for value in (m, n, k, lda, ldb, ldc)
        )
        alpha, beta = (_pointer_to(builder, _SINGLE, value) for value in (alpha, beta))
        first, second = _pointer_to(builder, _CHARACTER, plain), _pointer_to(builder, _CHARACTER, form)
        _call(builder, where, [first, second, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc])
        return context.get_dummy_value()

    size, real = types.intp, types.float32
    return types.void(size, size, size, size, size, real, size, size, size, size, real, size, size), generate


def _strsm(typing_context, address, m, n, a, lda, b, ldb):  # type: ignore[no-untyped-def]
    """B ← B U⁻¹ for a column-major m × n block B and an n × n triangle U that is stored row by row."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        where, m, n, a, lda, b, ldb = arguments
        characters = [
            _pointer_to(builder, _CHARACTER, ir.Constant(_CHARACTER, ord(letter))) for letter in "RLTN"
        ]
        m, n, lda, ldb = (
            _pointer_to(builder, _INTEGER, builder.trunc(value, _INTEGER)) for value in (m, n, lda, ldb)
        )
        one = _pointer_to(builder, _SINGLE, ir.Constant(_SINGLE, 1.0))
        _call(builder, where, [*characters, m, n, one, a, lda, b, ldb])
        return context.get_dummy_value()

    return types.void(*([types.intp] * 7)), generate


def _single_of(typing_context, bits):  # type: ignore[no-untyped-def]
    """Single-precision value of the 16 bits of a half-precision number."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


def _half_of(typing_context, value):  # type: ignore[no-untyped-def]
    """The 16 bits of the half-precision number nearest to a single-precision one."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


# Numba gives an intrinsic its first argument by itself, which a type checker cannot know.
sgemm: Any = intrinsic(_sgemm)
strsm: Any = intrinsic(_strsm)
single_of: Any = intrinsic(_single_of)
half_of: Any = intrinsic(_half_of)
