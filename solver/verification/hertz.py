"""Hertz: a rigid ball pressed into a deep elastic block (Hertz 1882, J Reine Angew Math 92:156; Johnson 1985, Contact
Mechanics, § 4.2): F = 4/3 E/(1 − ν²) √R δ^1.5.

A quarter of the block, fine under the ball and coarser away from it in Kuhn tetrahedra, slides on its two planes of
symmetry and stands on a fixed floor; neo-Hookean tissue that is all but incompressible, without friction. The theory is
one of small strains in a half-space; the block is 40 contact radii deep and wide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.body import Body
from solver.contact import Contact
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.materials import Compressibility, NeoHookean
from solver.rigid import Sphere
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

Array = NDArray[np.float64]

YOUNG_KPA, RADIUS_MM = 5.0, 5.0
BULK_TO_SHEAR = 1000.0
SIZE_MM = 90.0


def hertz_force(depth_mm: float, poisson: float = 0.5) -> float:
    """Force of the theory, mN."""
    return 4 / 3 * YOUNG_KPA / (1 - poisson**2) * np.sqrt(RADIUS_MM) * depth_mm**1.5


def _graded(steps: int, fine: float) -> Array:
    """Positions from 0 to the size of the block: half of the cells of one size, the others growing geometrically."""
    even = np.arange(steps // 2 + 1) * fine
    low, high = 1.0, 20.0
    count, rest = steps - steps // 2, SIZE_MM - even[-1]
    for _ in range(60):
        ratio = (low + high) / 2
        low, high = (ratio, high) if fine * sum(ratio ** np.arange(1, count + 1)) < rest else (low, ratio)
    grown = even[-1] + fine * np.cumsum(ratio ** np.arange(1, count + 1))
    grown[-1] = SIZE_MM
    return np.r_[even, grown]


def indented(depth_mm: float, cells: int, element: ElementName = "P2-P1") -> float:
    """Force on the ball at a depth, mN, with so many cells along every edge of the quarter."""
    plain = kuhn_block((1, 1, 1), (cells, cells, cells), {1: "block"})
    at = _graded(cells, 1.5 * np.sqrt(RADIUS_MM * depth_mm) / (cells // 2))
    points = at[np.rint(plain.points * cells).astype(np.int64)]
    points[:, 2] = SIZE_MM - points[:, 2]
    organ = OrganMesh(points, plain.tets[:, [1, 0, 2, 3]], plain.region, plain.structures)
    mu = YOUNG_KPA / 3
    tissue = Tissue("block", NeoHookean(mu), Compressibility(BULK_TO_SHEAR * mu), 1e-6, "verification")
    corners = organ.points[organ.exterior]
    top = organ.exterior[
        (corners[:, :, 2] == SIZE_MM).all(axis=1) & (corners[:, :, :2] < 10).all(axis=(1, 2))
    ]
    body = Body(organ, {"block": tissue}, [], (0, 0, 0), patches={"top": top})
    above = Sphere((0, 0, SIZE_MM + RADIUS_MM), RADIUS_MM)
    ball = Contact("ball", "top", above, tolerance_mm=0.005 * depth_mm)
    solver = Equilibrium(body, element, [ball])
    ball.move((0, 0, -depth_mm))
    solver.solve(_held(organ), steps=3)
    return -4 * float(solver.element.bound[0].force_mN[2])


def _held(organ: OrganMesh) -> tuple[NDArray[np.int64], Array]:
    """Vertices of the floor and of the planes of symmetry, and what is prescribed there."""
    move = np.full(organ.points.shape, np.nan)
    for axis in (0, 1):
        move[organ.points[:, axis] == 0, axis] = 0
    move[organ.points[:, 2] == 0] = 0
    held = np.flatnonzero(np.isfinite(move).any(axis=1))
    return held, move[held]


def run() -> list[Row]:
    """Force at 1 mm on a coarse mesh."""
    return [_row(1.0, 6)]


def run_full() -> list[Row]:
    """Forces at other depths and on a finer mesh."""
    return [_row(0.5, 6), _row(0.25, 8), _row(0.5, 8), _row(1.0, 8)]


def _row(depth_mm: float, cells: int) -> Row:
    quantity = f"force at {depth_mm:g} mm, {cells} cells along an edge (mN)"
    return Row.compare(
        "Hertz", quantity, indented(depth_mm, cells), hertz_force(depth_mm), 0.03, "Hertz 1882"
    )
