"""Cook's membrane at large strain, nearly incompressible (Cook 1974, J Struct Div ASCE 100:1851; finite strain as
in Simo & Armero 1992): a tapered panel, clamped at one end, sheared at the other.

Corners (0, 0), (48, 44), (48, 60), (0, 44) mm; plane strain; neo-Hookean µ = 80.194, K = 400889.8 with K/2
(ln J)²; a force of 100 on the free end per thickness of 1. The plane is one layer of tetrahedra without
displacement across.
"""

from __future__ import annotations

import numpy as np

from anatomy.mesh import OrganMesh
from solver.body import Body
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.loads import Traction
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

MU, BULK, FORCE = 80.194, 400889.8, 100.0
LOCKING: tuple[ElementName, ...] = ("P1", "P2")
SOURCE = "computed with DOLFINx 0.11"


def end_displacement(cells: int, element: ElementName) -> tuple[float, float]:
    """Vertical displacement of the corner (48, 60) and of the middle of the free end, mm, with `cells` bricks along
    each edge.
    """
    thickness = 48.0 / cells
    brick = kuhn_block((1, 1, 1), (cells, cells, 1), {1: "panel"})
    s, t, z = brick.points.T
    points = np.column_stack([48 * s, 44 * s + t * (44 * (1 - s) + 16 * s), z * thickness])
    organ = OrganMesh(points, brick.tets, brick.region, brick.structures)
    end = organ.exterior[(points[organ.exterior][:, :, 0] > 48 - 1e-9).all(axis=1)]
    panel = Tissue("panel", NeoHookean(MU), Compressibility(BULK, "logarithmic"), 1e-6, "verification")
    body = Body(organ, {"panel": panel}, [], (0, 0, 0), patches={"end": end})
    move = np.full(points.shape, np.nan)
    move[:, 2] = 0.0
    move[s == 0] = 0.0
    load = Traction("end", (0.0, FORCE / 16.0, 0.0))
    state = Equilibrium(body, element, [load]).solve((np.arange(len(points)), move), steps=4)
    corner, middle = (int(np.argmin(np.linalg.norm(points - [48, y, 0], axis=1))) for y in (60, 52))
    return float(state.displacement[corner, 1]), float(state.displacement[middle, 1])


def _mixed(cells: int, reference: float) -> list[Row]:
    """P2–P1 against the value on its own mesh and against the limit."""
    corner, middle = end_displacement(cells, "P2-P1")
    mesh, name = f"P2-P1, n = {cells}", "Cook's membrane"
    return [
        Row.compare(name, f"{mesh}: u_y at (48, 60) (mm)", corner, reference, 0.005, "computed"),
        Row.compare(name, f"{mesh}: u_y at (48, 60) against the limit (mm)", corner, 6.930, 0.01, "P3–P2"),
        Row.compare(name, f"{mesh}: u_y in mid-edge against the limit (mm)", middle, 6.958, 0.01, "P3–P2"),
    ]


def run() -> list[Row]:
    """Displacements with P2–P1."""
    return _mixed(16, 6.861)


def run_full() -> list[Row]:
    """The same on a finer mesh, and what other elements lose to locking."""
    rows = _mixed(64, 6.915)
    share = {name: 100 * end_displacement(16, name)[0] / 6.930 for name in LOCKING}
    lost = "P1, n = 16: displacement lost to locking (%)"
    rows.append(Row.compare("Cook's membrane", lost, 100 - share["P1"], 68.0, 0.01, SOURCE))
    kept = "P2, n = 16: displacement that locking leaves, at least (%)"
    rows.append(Row.at_least("Cook's membrane", kept, share["P2"], 96.0, 0.0, SOURCE))
    return rows
