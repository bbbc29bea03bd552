"""Kernels: energy, stress and tangent of one point of tissue, compiled from the law's own UFL.

On linear tetrahedra the deformation gradient is one matrix a cell, so all the live tier needs of a law is W(F) with
its first and second derivative. UFL differentiates the energy of `solver.materials` and FFCx writes the C of it;
Numba calls that C by address (`call_kernel`) in its loops over cells. The law is thus written once for every tier.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from solver.backend import basix, jit_options, ufl
from solver.errors import SolverError
from solver.materials import Law, Membrane

_POINT = np.array([[0.25, 0.25, 0.25]])


@intrinsic
def call_kernel(typing_context, address, result, constants, coordinates):  # type: ignore[no-untyped-def]
    """Call a compiled kernel by its address, from Numba; all four arguments are integers.

    The seven pointers of ufcx's tabulate_tensor are result, coefficients, constants, coordinates, entity,
    permutation and custom data; a kernel of one point reads the constants only.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        byte = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte] * 7).as_pointer()
        target, a, c, x = (
            builder.inttoptr(value, kind)
            for value, kind in zip(arguments, [function, byte, byte, byte], strict=True)
        )
        builder.call(target, [a, x, c, x, x, x, x])
        return context.get_dummy_value()

    return types.void(*([types.intp] * 4)), generate


class Kernel:
    """Compiled derivatives of an energy density W(F; q).

    Both functions take the nine entries of F, row by row, and then the parameters q.

    Parameters
    ----------
    energy : callable
        From a UFL (3, 3) tensor F and a UFL vector q to the energy density.
    count : int
        Number of parameters.

    Attributes
    ----------
    stress : int
        Address of the function that writes W and the nine entries of P = ∂W/∂F: 10 numbers.
    tangent : int
        Address of the function that writes ∂²W/∂F∂F as a 9 × 9 matrix: 81 numbers.
    count : int
    """

    def __init__(self, energy: Callable[[Any, Any], Any], count: int) -> None:
        cell = ufl.Mesh(basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,)))
        F = ufl.variable(ufl.Constant(cell, shape=(3, 3)))
        q = ufl.Constant(cell, shape=(count,))
        density = energy(F, q)
        stress = ufl.diff(density, F)
        tangent = ufl.diff(stress, F)
        axes = range(3)
        first = [stress[i, j] for i in axes for j in axes]
        second = [tangent[i, j, k, m] for i in axes for j in axes for k in axes for m in axes]
        compiled, self._module = _compile([ufl.as_vector([density, *first]), ufl.as_vector(second)])
        self.stress, self.tangent = (
            int(self._module.ffi.cast("uintptr_t", one.tabulate_tensor_float64)) for one in compiled
        )
        self.count = count


def _compile(expressions: list[Any]) -> tuple[list[Any], Any]:
    from ffcx.codegeneration.jit import compile_expressions
    from ffcx.options import get_options

    options = jit_options()
    try:
        compiled, module, _ = compile_expressions(
            [(expression, _POINT) for expression in expressions],
            options=get_options({}),
            cache_dir=Path(options["cache_dir"]),
            cffi_extra_compile_args=options["cffi_extra_compile_args"],
            timeout=options["timeout"],
        )
    except OSError as error:
        raise SolverError(
            f"Compiled kernels cannot be kept in {options['cache_dir']} ({error.strerror}); free space there or "
            "set XDG_CACHE_HOME to a folder that can be written."
        ) from error
    return compiled, module


@cache
def law_kernel(
    law: type[Law], names: tuple[str, ...], unaveraged: float, structure: tuple[float, ...] = ()
) -> Kernel:
    """Kernel of a law with the unaveraged share of its volumetric energy.

    Parameters
    ----------
    law : subclass of Law
    names : tuple of str
        Parameters of the law, in the order the kernel takes them; the bulk modulus comes after them.
    unaveraged : float
        Share β of K/2 (J − 1)² that stays with the cell, see `solver.averaging`.
    structure : tuple of float
        Constants that are compiled into the energy, see `Law.structure`.
    """

    def energy(F: Any, q: Any) -> Any:
        values = {name: q[i] for i, name in enumerate(names)}
        return (
            law.of_structure(structure).energy(F, values)
            + unaveraged * q[len(names)] / 2 * (ufl.det(F) - 1) ** 2
        )

    return Kernel(energy, len(names) + 1)


@cache
def membrane_kernel() -> Kernel:
    """Kernel of `Membrane`: parameters are the reference unit normal and µ h; energy per reference area."""
    return Kernel(lambda F, q: Membrane.energy(F, ufl.as_vector([q[0], q[1], q[2]]), q[3]), 4)
