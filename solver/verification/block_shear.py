"""Block shear: a clamped brick whose far end is moved sideways, the same mesh in every code.

40 × 20 × 20 mm in Kuhn tetrahedra, neo-Hookean µ = 2 kPa with K/2 (J − 1)², K = 100 kPa; x = 0 clamped, x =
40 moved 6 mm along y. DOLFINx, FElupe and CalculiX (C3D10) agree on the reaction of quadratic tetrahedra to
seven digits; the linear ones lock by the amounts recorded here.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from solver.averaging import STABILISATION
from solver.body import Body
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.materials import Compressibility, NeoHookean
from solver.state import State
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

THREE_CODES = "DOLFINx, FElupe and CalculiX agree to 7 digits"
COMPUTED = "computed with DOLFINx 0.11"
QUICK = (("P2", 4, 57.4591972, 1e-5, THREE_CODES), ("P2", 8, 55.4386021, 1e-5, THREE_CODES))
UNSTABILISED = "P1-averaged, nothing unaveraged"
LINEAR = (
    ("P1", 8, 76.29, 0.005, COMPUTED),
    ("P1-averaged", 8, 61.11, 0.005, COMPUTED),
    (UNSTABILISED, 8, 59.47, 0.005, COMPUTED),
)
LONG = (
    ("P2", 12, 54.9811768, 1e-5, THREE_CODES),
    ("P1", 12, 68.12, 0.005, COMPUTED),
    ("P1-averaged", 12, 58.10, 0.005, COMPUTED),
    (UNSTABILISED, 12, 57.20, 0.005, COMPUTED),
)


def sheared_block(
    cells: int, element: ElementName, move_mm: float = 6.0, stabilisation: float = STABILISATION
) -> tuple[State, float]:
    """Equilibrium of the block with `cells` bricks across 20 mm, and its reaction along y in mN."""
    organ = kuhn_block((40, 20, 20), (2 * cells, cells, cells), {1: "block"})
    tissue = Tissue("block", NeoHookean(2.0), Compressibility(100.0), 1e-6, "verification")
    body = Body(organ, {"block": tissue}, [], (0, 0, 0), stabilisation=stabilisation)
    x = organ.points[:, 0]
    clamped, moved = np.flatnonzero(x == 0), np.flatnonzero(x == 40)
    move = np.zeros((len(clamped) + len(moved), 3))
    move[len(clamped) :, 1] = move_mm
    state = Equilibrium(body, element).solve((np.r_[clamped, moved], move))
    return state, float(state.reaction_mN[len(clamped) :, 1].sum())


def _rows(cases: tuple[tuple[str, int, float, float, str], ...]) -> list[Row]:
    rows = []
    for name, cells, reference, tolerance, source in cases:
        element = cast(ElementName, "P1-averaged" if name == UNSTABILISED else name)
        stabilisation = 0.0 if name == UNSTABILISED else STABILISATION
        value = sheared_block(cells, element, stabilisation=stabilisation)[1]
        quantity = f"{name}, n = {cells}: reaction along y (mN)"
        rows.append(Row.compare("block shear", quantity, value, reference, tolerance, source))
    return rows


def run() -> list[Row]:
    """Reactions on meshes of 4 and 8 bricks across."""
    return _rows((*QUICK, *LINEAR))


def run_full() -> list[Row]:
    """Reactions on 12 bricks across."""
    return _rows(LONG)
