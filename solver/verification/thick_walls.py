"""Thick neo-Hookean sphere and tube under inner pressure, incompressible (Green & Zerna 1968; Ogden 1984, § 5.3).

Inner radius A = 1, outer B = 2, µ = 1. By symmetry a thin wedge around one radius is enough: its sides may
slide in their own planes, held there by stiff normal springs, and its inner face is moved outwards. The
pressure is the force on that face over its deformed area. The wedge is so narrow that its flat faces are as
good as round ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.attachments import Attachment
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

Array = NDArray[np.float64]
HALF_ANGLE = 0.01
RADIAL_CELLS = 24
SLIDING_KPA_MM = 1e7
BULK_KPA = 1e5
STRETCHES = (1.1, 1.5, 2.0)


def sphere_pressure(stretch: float) -> float:
    """Closed form for the sphere: P = 2µ [1/λ + 1/(4 λ⁴)] between λa and λb, λb³ = 1 + (λa³ − 1)/8."""
    outer = (1 + (stretch**3 - 1) / 8) ** (1 / 3)

    def primitive(x: float) -> float:
        return 1 / x + 1 / (4 * x**4)

    return 2 * (primitive(outer) - primitive(stretch))


def tube_pressure(stretch: float) -> float:
    """Closed form for the tube without axial stretch: P = µ [ln(λa/λb) + ½ (λb⁻² − λa⁻²)], λb² = 1 + (λa² − 1)/4."""
    outer = (1 + (stretch**2 - 1) / 4) ** 0.5
    return float(np.log(stretch / outer)) + 0.5 * (outer**-2 - stretch**-2)


def wedge_pressure(stretch: float, spherical: bool) -> float:
    """Inner pressure of the wedge, kPa, when its inner face has moved from radius 1 to `stretch`."""
    brick = kuhn_block((1, 2, 2), (RADIAL_CELLS, 1, 1), {1: "wall"})
    radius = 1 + brick.points[:, 0]
    across = (brick.points[:, 1] - 1) * HALF_ANGLE * radius
    along = (brick.points[:, 2] - 1) * HALF_ANGLE * (radius if spherical else 1.0)
    points = np.column_stack([radius, across, along])
    organ = OrganMesh(points, brick.tets, brick.region, brick.structures)
    body = Body(organ, {"wall": _wall()}, _sides(organ, brick.points, spherical), (0, 0, 0))
    inner = np.flatnonzero(brick.points[:, 0] == 0)
    move = np.full(points.shape, np.nan)
    if not spherical:
        move[:, 2] = 0.0
    move[inner, 0] = points[inner, 0] * (stretch - 1)
    held = np.flatnonzero(np.isfinite(move).any(axis=1))
    state = Equilibrium(body, "P2-P1").solve((held, move[held]), steps=4)
    force = state.reaction_mN[np.isin(held, inner), 0].sum()
    width = np.ptp(points[inner], axis=0)
    area = width[1] * stretch * width[2] * (stretch if spherical else 1.0)
    return float(force / area)


def _wall() -> Tissue:
    return Tissue("wall", NeoHookean(1.0), Compressibility(BULK_KPA), 1e-6, "verification")


def _sides(organ: OrganMesh, brick: Array, spherical: bool) -> list[Attachment]:
    """Sliding sides of the wedge."""
    sides = []
    for axis in (1, 2) if spherical else (1,):
        for end in (0.0, 2.0):
            facets = organ.exterior[(brick[organ.exterior][:, :, axis] == end).all(axis=1)]
            sides.append(Attachment(f"side {axis} {end:g}", facets, SLIDING_KPA_MM, 0.0))
    return sides


def run() -> list[Row]:
    """Inner pressures at three stretches."""
    rows = []
    for stretch in STRETCHES:
        for name, spherical, exact in (("sphere", True, sphere_pressure), ("tube", False, tube_pressure)):
            value = wedge_pressure(stretch, spherical)
            quantity = f"inner pressure at stretch {stretch} (kPa)"
            rows.append(Row.compare(f"thick {name}", quantity, value, exact(stretch), 1e-3, "closed form"))
    return rows
