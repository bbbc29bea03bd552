"""Orders of convergence by a manufactured solution (Roache 2002, J Fluids Eng 124:4).

A displacement that vanishes on the boundary of a cube is chosen, u = a sin πx sin πy sin πz along a skew direction,
and the body force that makes it an equilibrium is derived from the law by UFL. Errors on meshes n and 2n give the
observed orders: k + 1 in L2 and k in H1 for displacements of degree k, and k for the pressure.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from solver.backend import compile_form, fem, ufl
from solver.body import Body
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.loads import BodyForce
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

MU = 2.0
# The orders of displacement elements hold once the mesh resolves K/µ: nearly incompressible needs finer ones.
BULK: dict[str, float] = {"P2-P1": 20.0, "P1-P1": 20.0, "P1-averaged": 20.0, "P1": 2.0, "P2": 2.0}
DIRECTION = (0.03, -0.02, 0.025)


def _exact(x: Any) -> Any:
    bump = ufl.sin(ufl.pi * x[0]) * ufl.sin(ufl.pi * x[1]) * ufl.sin(ufl.pi * x[2])
    return bump * ufl.as_vector(DIRECTION)


def _force(x: Any, bulk: float) -> Any:
    """Body force −Div P(I + grad u) of the exact displacement."""
    F = ufl.variable(ufl.Identity(3) + ufl.grad(_exact(x)))
    law, volume = NeoHookean(MU), Compressibility(bulk)
    return -ufl.div(ufl.diff(law.energy(F) + volume.energy(ufl.det(F)), F))


def errors(cells: int, element: ElementName) -> tuple[float, float, float]:
    """L2 and H1 error of the displacement and L2 error of the pressure (0 without one)."""
    organ = kuhn_block((1, 1, 1), (cells, cells, cells), {1: "cube"})
    bulk = BULK[element]
    cube = Tissue("cube", NeoHookean(MU), Compressibility(bulk), 1e-6, "verification")
    body = Body(organ, {"cube": cube}, [], (0, 0, 0))
    boundary = np.unique(organ.exterior)
    solver = Equilibrium(body, element, [BodyForce(partial(_force, bulk=bulk))])
    solver.solve((boundary, np.zeros((len(boundary), 3))))
    state = solver.element.state
    mixed = solver.element.mixed
    u = ufl.split(state)[0] if mixed else state
    x = ufl.SpatialCoordinate(body.mesh)
    exact = _exact(x)
    dx = ufl.dx(domain=body.mesh, metadata={"quadrature_degree": 6})
    gap = u - exact
    forms = [ufl.inner(gap, gap) * dx, ufl.inner(ufl.grad(gap), ufl.grad(gap)) * dx]
    if mixed:
        stress = bulk * (ufl.det(ufl.Identity(3) + ufl.grad(exact)) - 1)
        forms.append((ufl.split(state)[1] - stress) ** 2 * dx)
    values = [float(np.real(fem.assemble_scalar(compile_form(form)))) ** 0.5 for form in forms]
    return values[0], values[1], values[2] if mixed else 0.0


def _rows(element: ElementName, coarse: int, orders: tuple[float, float, float]) -> list[Row]:
    first, second = errors(coarse, element), errors(2 * coarse, element)
    rows = []
    names = ("displacement in L2", "displacement in H1", "pressure in L2")
    for name, order, a, b in zip(names, orders, first, second, strict=True):
        if order:
            quantity = f"{element}: order of the {name}, n = {coarse} to {2 * coarse}"
            value = float(np.log2(a / b))
            rows.append(Row.at_least("manufactured solution", quantity, value, order, 0.1, "theory"))
    return rows


def run() -> list[Row]:
    """Observed orders of linear elements."""
    return [*_rows("P1", 8, (2.0, 1.0, 0.0)), *_rows("P1-averaged", 8, (2.0, 1.0, 0.0))]


def run_full() -> list[Row]:
    """Observed orders of quadratic and mixed elements."""
    return [
        *_rows("P2", 6, (3.0, 2.0, 0.0)),
        *_rows("P2-P1", 6, (3.0, 2.0, 2.0)),
        # Its stabilisation is of first order, and so is the pressure it is meant for.
        *_rows("P1-P1", 12, (2.0, 1.0, 1.0)),
    ]
