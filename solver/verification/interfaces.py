"""Interfaces: tissues that meet at a thousandfold stiffness, as capsule, vessel wall and tumour do.

A block of soft tissue is sheared and stretched, plain, with a stiff inclusion, with a stiff layer (a vessel's wall),
and in a stretch-only capsule a thousand times as stiff and a two-hundredth of its height thick. Newton's method must
take them in about as many iterations; the forces on the two held faces balance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solver.body import Body
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.materials import Compressibility, Membrane, NeoHookean
from solver.state import State
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

SOFT_KPA, RATIO = 2.0, 1000.0
# One tissue alone takes five.
MOST_ITERATIONS = 10


@dataclass(frozen=True)
class Interface:
    """Which part of the block is stiff, and whether it has a capsule."""

    name: str
    inclusion: bool = False
    layer: bool = False
    capsule: bool = False


CASES = (
    Interface("one tissue"),
    Interface("inclusion", inclusion=True),
    Interface("layer", layer=True),
    Interface("capsule", capsule=True),
)


def _tissue(name: str, mu_kPa: float, capsule: Membrane | None = None) -> Tissue:
    return Tissue(
        name, NeoHookean(mu_kPa), Compressibility(50 * mu_kPa), 1e-6, "verification", capsule=capsule
    )


def sheared(case: Interface, element: ElementName, move_mm: float = 4.0) -> State:
    """Equilibrium of the block with one end clamped and the other moved sideways and outwards."""

    def region(centroid: np.ndarray) -> np.ndarray:
        inside = (np.abs(centroid - [20, 10, 10]) < 5).all(axis=1) & case.inclusion
        between = (np.abs(centroid[:, 1] - 12.5) < 2.5) & case.layer
        return np.where(inside | between, 2, 1).astype(np.uint8)

    organ = kuhn_block((40, 20, 20), (8, 4, 4), {1: "soft", 2: "stiff"}, region)
    capsule = Membrane(RATIO * SOFT_KPA, 0.1) if case.capsule else None
    tissues = {"soft": _tissue("soft", SOFT_KPA, capsule)}
    if case.inclusion or case.layer:
        tissues["stiff"] = _tissue("stiff", RATIO * SOFT_KPA)
    body = Body(organ, tissues, [], (0, 0, 0))
    clamped, moved = (np.flatnonzero(organ.points[:, 0] == x) for x in (0, 40))
    move = np.zeros((len(clamped) + len(moved), 3))
    move[len(clamped) :] = [move_mm / 4, move_mm, 0]
    return Equilibrium(body, element).solve((np.r_[clamped, moved], move))


def run() -> list[Row]:
    """Newton iterations of each, on the live element's discretisation, and the forces that are left out of balance."""
    rows = []
    for case in CASES:
        state = sheared(case, "P1-averaged")
        off = np.abs(state.reaction_mN.sum(axis=0)).max() / np.abs(state.reaction_mN).sum()
        quantity, source = f"{case.name}: Newton iterations, at most", "twice those of one tissue"
        rows.append(
            Row.at_most("interfaces 1:1000", quantity, state.iterations, MOST_ITERATIONS, 0.0, source)
        )
        quantity = f"{case.name}: forces out of balance (share)"
        rows.append(Row.compare("interfaces 1:1000", quantity, float(off), 0.0, 1e-8, "equilibrium"))
    return rows
