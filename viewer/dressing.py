"""Dressing: what is to be seen of an operation besides the tissue's shape, as plain values.

Clamps, needles, applicators, threads and specimens, tissue without blood and tissue that is dead: read from an operative
field at one moment, kept with the frame of that moment, and drawn by `viewer.props` and `viewer.scene`. Nothing in it
knows VTK or a solver, so that it can be kept by the hundred and sent from one process to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from solver.field import OperativeField
    from solver.specimen import Specimen

Array = NDArray[np.float64]

#: Jaws of a clamp are drawn as wide as the vessel and this much more, mm; and at least so wide.
_CLAMP_BESIDE_MM, _CLAMP_LEAST_MM = 3.0, 5.0
#: Length of a needle or applicator that is drawn, mm.
_SHAFT_MM = 170.0


@dataclass(frozen=True, eq=False)
class Shaft:
    """A needle or an applicator.

    Parameters
    ----------
    name : str
    tip_mm, towards_hand : ndarray, shape (3,)
        LPS; a unit vector.
    radius_mm, length_mm : float
    active_mm : float
        Length from the tip that gives off heat; 0 for a needle.
    """

    name: str
    tip_mm: Array
    towards_hand: Array
    radius_mm: float
    length_mm: float = _SHAFT_MM
    active_mm: float = 0.0


@dataclass(frozen=True, eq=False)
class ClampOn:
    """A clamp on a vessel: where, along which way the vessel runs, and how wide its jaws are, mm."""

    name: str
    point_mm: Array
    along: Array
    width_mm: float


@dataclass(frozen=True, eq=False)
class Zone:
    """Cells of tissue that an ablation has killed or not: damage integral of each, shape (a, b, c); 1 is dead."""

    origin_mm: Array
    edge_mm: float
    damage: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Dressing:
    """What is to be seen besides the shape.

    Parameters
    ----------
    shafts, clamps, zones : tuple
    threads : tuple of ndarray, shape (k, 3)
        Each thread or staple by the places it runs through, LPS mm.
    specimens : tuple of Specimen
    bloodless : ndarray of bool, shape (m,), or None
        Tetrahedra of the mesh of that moment that have lost their inflow.
    congested : ndarray of bool, shape (m,), or None
        Those that have lost their outflow alone.
    """

    shafts: tuple[Shaft, ...] = ()
    clamps: tuple[ClampOn, ...] = ()
    zones: tuple[Zone, ...] = ()
    threads: tuple[Array, ...] = ()
    specimens: tuple[Specimen, ...] = ()
    bloodless: NDArray[np.bool_] | None = None
    congested: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, field: OperativeField, before: Dressing | None = None) -> Dressing:
        """Read it from a field; `before` is what was read last, parts of which are used again where they still hold."""
        from solver.ablation import Ablation

        bloodless, congested = _blood(field)
        if before is not None:
            bloodless = before.bloodless if _same(bloodless, before.bloodless) else bloodless
            congested = before.congested if _same(congested, before.congested) else congested
        ablations = [process for process in field.processes.values() if isinstance(process, Ablation)]
        return cls(
            shafts=(*_needles(field), *(_applicator(name, one) for name, one in _named(field, Ablation))),
            clamps=tuple(_clamps(field)),
            zones=tuple(_zone(one) for one in ablations),
            threads=tuple(_threads(field)),
            specimens=field.specimens,
            bloodless=bloodless,
            congested=congested,
        )


def _same(first: Any, second: Any) -> bool:
    return first is not None and second is not None and np.array_equal(first, second)


def _named(field: OperativeField, kind: type) -> list[tuple[str, Any]]:
    return [(name, process) for name, process in field.processes.items() if isinstance(process, kind)]


def _needles(field: OperativeField) -> list[Shaft]:
    from solver.needle import Needle

    needles = [load for load in field.live.loads.values() if isinstance(load, Needle)]
    return [
        Shaft(one.name, one.origin_mm + one.depth_mm * one.direction, -one.direction, 0.9) for one in needles
    ]


def _applicator(name: str, ablation: Any) -> Shaft:
    one = ablation.applicator
    return Shaft(name, one.tip_mm, one.direction, max(one.radius_mm, 1.0), _SHAFT_MM, one.active_mm)


def _zone(ablation: Any) -> Zone:
    grid = ablation.grid
    damage = np.where(grid.tissue >= 0, np.minimum(grid.damage, 4.0), 0.0)
    return Zone(grid.origin_mm, grid.edge_mm, damage.astype(np.float32))


def _clamps(field: OperativeField) -> list[ClampOn]:
    positions, found = field.live.positions, []
    for tree in field.vessels.values():
        if not tree.seen or not tree.clamps:
            continue
        points = tree.points(positions)
        for name, node in tree.clamps:
            if not tree.present[node]:
                continue
            other = tree.parent[node] if tree.parent[node] >= 0 else min(node + 1, len(points) - 1)
            along = points[node] - points[other]
            along = along / max(float(np.linalg.norm(along)), 1e-9)
            width = max(_CLAMP_LEAST_MM, tree.calibre_mm(node) + _CLAMP_BESIDE_MM)
            found.append(ClampOn(name, points[node], along, width))
    return found


def _threads(field: OperativeField) -> list[Array]:
    from solver.suture import Threads

    found = []
    for load in field.live.loads.values():
        if isinstance(load, Threads):
            places, lost = load.anchors.points(field.live.positions), load.lost
            found += [
                places[load.thread == number] for number in np.unique(load.thread) if not lost[number]
            ]
    return found


def _blood(field: OperativeField) -> tuple[Any, Any]:
    """Tetrahedra without inflow, and those with inflow but without outflow; None where all have theirs."""
    process: Any = field.processes.get("circulation")
    found = None if process is None else process.seen(field).perfusion
    if found is None:
        return None, None
    dry = found.supplied & ~found.perfused
    full = found.supplied & found.perfused & ~found.drained
    return dry if dry.any() else None, full if full.any() else None
