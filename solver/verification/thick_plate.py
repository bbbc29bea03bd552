"""NAFEMS LE10, a thick elliptic plate under pressure (NAFEMS 1990, The Standard NAFEMS Benchmarks, TNSB rev. 3).

A quarter of a plate 0.6 m thick between the ellipses of half-axes 2 × 1 m and 3.25 × 2.75 m, E = 210 GPa, ν = 0.3, 1 MPa
on its upper face. The outer face holds x and y, and its middle line z; the two planes of symmetry slide. Wanted is σyy at
D, on the upper face at the inner end of the long axis: −5.38 MPa. Lengths are in metres here, stresses in MPa.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.backend import compile_expression, ufl
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
    """The plate and, of each vertex, where it is across (0 inside), around (0 at D) and through (1 on top)."""
    brick = kuhn_block((1, 1, 1), (across, around, through), {1: "plate"})
    s, t, h = brick.points.T
    # Towards D and the hole the stress is steepest.
    s, t = s**1.6, t**1.4
    angle = t * np.pi / 2
    x = (2 + 1.25 * s) * np.cos(angle)
    y = (1 + 1.75 * s) * np.sin(angle)
    points = np.column_stack([x, y, 0.6 * h])
    return OrganMesh(points, brick.tets, brick.region, brick.structures), brick.points


def stress_at_d(across: int = 10, around: int = 12, through: int = 4) -> float:
    """σyy at D, MPa, from the mean over the tetrahedra around D of the stress in their corners there."""
    organ, where = _plate(across, around, through)
    top = organ.exterior[(where[organ.exterior][:, :, 2] == 1).all(axis=1)]
    law = ElasticConstants(YOUNG_MPA, POISSON).saint_venant_kirchhoff()
    body = Body(
        organ, {"plate": Tissue("plate", law, None, 1e-6, SOURCE)}, [], (0, 0, 0), patches={"top": top}
    )
    move = np.full(organ.points.shape, np.nan)
    move[where[:, 1] == 0, 1] = 0.0
    move[where[:, 1] == 1, 0] = 0.0
    outer = where[:, 0] == 1
    move[outer, :2] = 0.0
    move[outer & (where[:, 2] == 0.5), 2] = 0.0
    held = np.flatnonzero(np.isfinite(move).any(axis=1))
    solver = Equilibrium(body, "P2", [Traction("top", (0.0, 0.0, -PRESSURE_MPA))])
    solver.solve((held, move[held]))
    stress = _corner_stress(body, solver)
    at_d = int(np.flatnonzero((where == [0, 0, 1]).all(axis=1))[0])
    return float(stress[organ.tets == at_d].mean())


def _corner_stress(body: Body, solver: Equilibrium) -> Array:
    """σyy in the four corners of each tetrahedron, MPa, organ order, shape (m, 4); the strains are small."""
    law = body.tissues["plate"].law
    gradient = ufl.variable(ufl.Identity(3) + ufl.grad(solver.element.state))
    stress = ufl.diff(law.energy(gradient), gradient)[1, 1]
    corners = np.vstack([np.zeros(3), np.eye(3)])
    cells = np.arange(len(body.organ.tets), dtype=np.int32)
    values = compile_expression(stress, corners).eval(body.mesh, cells).reshape(len(cells), 4)
    vertex = body.vertex_of_node[body.mesh.geometry.dofmaps[0]]
    tets = body.organ.tets[body.tet_of_cell]
    place = np.argmax(vertex[:, None, :] == tets[:, :, None], axis=2)
    return body.cells_to_organ(np.take_along_axis(values, place, axis=1))


def run() -> list[Row]:
    """σyy at D."""
    return [Row.compare("NAFEMS LE10", "σyy at D (MPa)", stress_at_d(), -5.38, 0.02, SOURCE)]
