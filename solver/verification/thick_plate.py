"""NAFEMS LE10, a thick elliptic plate under pressure (NAFEMS 1990, The Standard NAFEMS Benchmarks, TNSB rev. 3).

A quarter of a plate 0.6 m thick between the ellipses of half-axes 2 × 1 m and 3.25 × 2.75 m, E = 210 GPa, ν = 0.3, 1
MPa on its upper face. The outer face holds x and y, and its middle line z; the two planes of symmetry slide. Wanted is
σyy at D, on the upper face at the inner end of the long axis: −5.38 MPa. Lengths are in metres here, stresses in MPa.

A plate that rests on a line sinks into it without end as the mesh around the line becomes finer, and the published
number belongs to the meshes of its time: what counts here is the number of layers, −5.65 MPa with 4, −5.53 with 6,
−5.46 with 12; meshes up to three times as fine give −5.44 to −5.47.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.backend import basix, compile_expression, ufl
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.loads import Traction
from solver.materials import ElasticConstants
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

Array = NDArray[np.float64]
YOUNG_MPA, POISSON, PRESSURE_MPA = 210e3, 0.3, 1.0
SOURCE = "NAFEMS, Standard Benchmarks TNSB rev. 3, LE10"


def _plate(across: int, around: int, through: int) -> tuple[OrganMesh, Array]:
    """The plate and, of each vertex, where it is around (0 at D), across (0 inside) and below (0 on top).

    D is the corner of the block that the diagonals of all bricks start from, so that six tetrahedra meet in it.
    """
    brick = kuhn_block((1, 1, 1), (around, across, through), {1: "plate"})
    around_it, across_it, below = brick.points.T
    # Towards D and the two faces the stress is steepest.
    angle = around_it**1.4 * np.pi / 2
    outwards = across_it**1.6
    x = (2 + 1.25 * outwards) * np.cos(angle)
    y = (1 + 1.75 * outwards) * np.sin(angle)
    z = 0.3 * (1 + np.cos(np.pi * below))
    return OrganMesh(np.column_stack([x, y, z]), brick.tets, brick.region, brick.structures), brick.points


def stress_at_d(across: int = 6, around: int = 10, through: int = 12) -> float:
    """σyy at D, MPa."""
    organ, where = _plate(across, around, through)
    top = organ.exterior[(where[organ.exterior][:, :, 2] == 0).all(axis=1)]
    law = ElasticConstants(YOUNG_MPA, POISSON).saint_venant_kirchhoff()
    body = Body(
        organ, {"plate": Tissue("plate", law, None, 1e-6, SOURCE)}, [], (0, 0, 0), patches={"top": top}
    )
    move = np.full(organ.points.shape, np.nan)
    move[where[:, 0] == 0, 1] = 0.0
    move[where[:, 0] == 1, 0] = 0.0
    outer = where[:, 1] == 1
    move[outer, :2] = 0.0
    move[outer & (where[:, 2] == 0.5), 2] = 0.0
    held = np.flatnonzero(np.isfinite(move).any(axis=1))
    solver = Equilibrium(body, "P2", [Traction("top", (0.0, 0.0, -PRESSURE_MPA))])
    solver.solve((held, move[held]))
    at_d = int(np.flatnonzero((where == 0).all(axis=1))[0])
    return _recovered(body, solver, at_d)


def _recovered(body: Body, solver: Equilibrium, vertex: int) -> float:
    """σyy at a vertex, MPa, by patch recovery (Zienkiewicz & Zhu 1992, Int J Numer Methods Eng 33:1331).

    A quadratic polynomial is fitted to the stress at the four Gauss points of the tetrahedra around the vertex and
    of their neighbours.
    """
    law = body.tissues["plate"].law
    gradient = ufl.variable(ufl.Identity(3) + ufl.grad(solver.element.state))
    stress = ufl.diff(law.energy(gradient), gradient)[1, 1]
    points = np.asarray(basix.make_quadrature(basix.CellType.tetrahedron, 2)[0])
    tets = body.organ.tets
    near = np.isin(tets, tets[(tets == vertex).any(axis=1)]).any(axis=1)
    cells = body.cell_of_tet[near].astype(np.int32)
    values = compile_expression(stress, points).eval(body.mesh, cells).ravel()
    x = ufl.SpatialCoordinate(body.mesh)
    places = compile_expression(x, points).eval(body.mesh, cells).reshape(-1, 3)
    offset = places - body.organ.points[vertex]
    i, j = np.triu_indices(3)
    terms = np.column_stack([np.ones(len(offset)), offset, offset[:, i] * offset[:, j]])
    return float(np.linalg.lstsq(terms, values, rcond=None)[0][0])


def run() -> list[Row]:
    """σyy at D."""
    return [Row.compare("NAFEMS LE10", "σyy at D (MPa)", stress_at_d(), -5.38, 0.02, SOURCE)]
