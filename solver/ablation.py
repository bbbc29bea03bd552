"""Ablation: an applicator in the tissue as it lies, the heat it makes, and what it kills.

The grid is laid around the applicator in the present shape of the organ; tissue, perfusion and vessels are read from
the field. Heat given off per volume, each scaled so that the whole is the power that reaches the tissue:

microwave antenna
    A line source of which the wave spreads round and is absorbed on its way: at the distance r from the active
    length q ∝ 2α exp(−2α r)/(2π r). With liver's permittivity 43.0 and conductivity 1.69 S/m at 2.45 GHz (Gabriel
    1996, Phys Med Biol 41:2271) a plane wave's power falls by 2α = 0.096 /mm (Balanis, Advanced Engineering
    Electromagnetics, ch. 4).
radiofrequency electrode
    A straight electrode of the current I per length has the field E ∝ 1/r, so that Joule heat q = σ E² ∝ 1/r².

Nearer than the applicator's own surface, or half a cell, q is what it is there. Real antennas heat less evenly along
their length; charring and the shift of tissue's properties with heat are not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label

from anatomy.embedding import Embedding
from solver.errors import SolverError
from solver.heat_grid import HeatGrid, grid_points, vessel_conductance_W_mm_K
from solver.tissues import ThermalConstants, tissue_of

if TYPE_CHECKING:
    from solver.field import OperativeField
    from solver.topology import TopologyChange

Array = NDArray[np.float64]
Kind = Literal["microwave", "radiofrequency"]

KINDS: tuple[Kind, ...] = ("microwave", "radiofrequency")
ATTENUATION_1_MM = 0.096
#: Vessels at least so wide keep the tissue beside them alive (Lu 2002, AJR 178:47).
SINK_CALIBRE_MM = 3.0
#: The grid reaches so far around the active length.
REACH_MM = 36.0
EDGE_MM = 1.5


@dataclass(frozen=True)
class Applicator:
    """Where heat is given off.

    Parameters
    ----------
    kind : {"microwave", "radiofrequency"}
    tip_mm : ndarray, shape (3,)
        LPS mm, in the present shape.
    direction : ndarray, shape (3,)
        Unit vector from the tip back along the shaft.
    active_mm : float
        Length from the tip that gives off heat.
    radius_mm : float
        Of the shaft.
    power_W : float
        What reaches the tissue.
    """

    kind: Kind
    tip_mm: Array
    direction: Array
    active_mm: float
    radius_mm: float
    power_W: float

    def distance(self, points: Array) -> Array:
        """Distance of points to the active length, mm, shape (k,)."""
        away = points - self.tip_mm
        along = np.clip(away @ self.direction, 0.0, self.active_mm)
        return np.linalg.norm(away - along[:, None] * self.direction, axis=1)

    def density(self, points: Array, edge_mm: float) -> Array:
        """Heat given off per volume at points, in arbitrary units, shape (k,)."""
        r = np.maximum(self.distance(points), max(self.radius_mm, 0.5 * edge_mm))
        return np.exp(-ATTENUATION_1_MM * r) / r if self.kind == "microwave" else 1.0 / r**2


@dataclass(frozen=True, eq=False)
class Ablation:
    """An ablation under way or done; a process of the field and a value.

    Parameters
    ----------
    applicator : Applicator
    grid : HeatGrid
    structures : tuple of str
        Name of the structure of each of the grid's tissues.
    sinks : tuple of str
        Vessel systems that carried heat away.
    """

    applicator: Applicator
    grid: HeatGrid
    structures: tuple[str, ...]
    sinks: tuple[str, ...]

    def advanced(self, operated: OperativeField, seconds: float) -> Ablation:
        """The same: heat goes on with its own clock, which the act turns (`solver.actions.ablate`)."""
        return self

    def carried(self, change: TopologyChange) -> Ablation:
        """The same: the grid stays where the organ lay when it was heated."""
        return self

    def result(self) -> dict[str, Any]:
        """What was killed.

        Returns
        -------
        dict
            `lethal_ml`; `longest_mm` and `shortest_mm`, the extents of the lethal zone along and across the
            applicator; `peak_C`; and where there is a tumour within reach `tumour_ml`, `tumour_coverage` (share that
            died) and `minimal_ablative_margin_mm`: the least distance from the tumour to living tissue of the organ,
            negative by how far living tumour reaches from the lethal zone; the organ's surface limits no margin
            (Laimer 2020, Eur Radiol 30:2463).
        """
        grid = self.grid
        dead = grid.dead
        found: dict[str, Any] = {
            "lethal_ml": float(dead.sum()) * grid.cell_ml,
            "peak_C": float(grid.temperature_C.max()),
            "time_s": grid.time_s,
        }
        found["longest_mm"], found["shortest_mm"] = _extents(self, dead)
        tumour = np.isin(grid.tissue, [n for n, s in enumerate(self.structures) if "tumour" in s])
        if tumour.any():
            found |= _margin(grid, tumour, dead, self.applicator)
        return found


def prepare(
    operated: OperativeField, applicator: Applicator, edge_mm: float = EDGE_MM, reach_mm: float = REACH_MM
) -> Ablation:
    """Lay the grid of an ablation into the organ as it lies now.

    Raises
    ------
    SolverError
        If the tip is outside the organ, or a tissue has no thermal constants.
    """
    organ, positions = operated.organ, operated.live.positions
    ends = np.stack([applicator.tip_mm, applicator.tip_mm + applicator.active_mm * applicator.direction])
    tip = Embedding((positions, organ.tets), ends[:1])
    if tip.outside_mm[0] > 0.5:
        x, y, z = applicator.tip_mm
        raise SolverError(
            f"The tip at ({x:.1f}, {y:.1f}, {z:.1f}) mm is {tip.outside_mm[0]:.1f} mm outside the organ; "
            "choose a target in it."
        )
    low, high = ends.min(axis=0) - reach_mm, ends.max(axis=0) + reach_mm
    shape = tuple(int(n) for n in np.ceil((high - low) / edge_mm).astype(int) + 1)
    centres = grid_points(low, edge_mm, shape)
    inside, tet = _located(positions, organ.tets, centres)
    names = list(organ.structures.values())
    number = np.full(256, -1, dtype=np.int16)
    for at, value in enumerate(organ.structures):
        number[value] = at
    tissue = np.full(len(centres), -1, dtype=np.int16)
    tissue[inside] = number[organ.region[tet[inside]]]
    perfused = np.ones(len(centres))
    flowing = operated.tet_data.get("perfused")
    if flowing is not None:
        perfused[inside] = np.asarray(flowing, dtype=np.float64)[tet[inside]]
    sinks, systems = _sinks(operated, low, edge_mm, shape)
    density = np.where(tissue >= 0, applicator.density(centres, edge_mm), 0.0)
    power = applicator.power_W * density / density.sum()
    grid = HeatGrid(
        low, edge_mm, tissue.reshape(shape), tuple(_constants(name) for name in names),
        perfused.reshape(shape), sinks, power.reshape(shape),
    )  # fmt: skip
    return Ablation(applicator, grid, tuple(names), systems)


def _constants(structure: str) -> ThermalConstants:
    thermal = tissue_of(structure).thermal
    if thermal is None:
        raise SolverError(
            f"No thermal constants are published for '{structure}', so that it cannot be ablated."
        )
    return thermal


def _located(positions: Array, tets: NDArray[np.int64], points: Array) -> tuple[NDArray[np.bool_], Any]:
    """Which points are in tissue, and the tetrahedron of each."""
    low, high = points.min(axis=0), points.max(axis=0)
    corners = positions[tets]
    near = np.flatnonzero(((corners.max(axis=1) >= low) & (corners.min(axis=1) <= high)).all(axis=1))
    if not len(near):
        return np.zeros(len(points), dtype=bool), np.zeros(len(points), dtype=np.int64)
    # Only candidates inside the box of the near tissue can lie in it; the rest need no search.
    box_low, box_high = corners[near].min(axis=(0, 1)), corners[near].max(axis=(0, 1))
    candidate = np.flatnonzero(((points >= box_low) & (points <= box_high)).all(axis=1))
    held = Embedding((positions, tets[near]), points[candidate])
    inside = np.zeros(len(points), dtype=bool)
    tet = np.zeros(len(points), dtype=np.int64)
    inside[candidate] = held.outside_mm == 0.0
    tet[candidate] = near[held.tet]
    return inside, tet


def _sinks(
    operated: OperativeField, origin: Array, edge: float, shape: tuple[int, ...]
) -> tuple[Array, tuple[str, ...]]:
    """Conductance of each cell to vessels wide enough in which blood flows, W/K, and the systems they are of."""
    sink, systems = np.zeros(shape), []
    for name, tree in operated.vessels.items():
        points, parent, radius = tree.points(operated.live.positions), np.asarray(tree.parent), tree.radius
        flows = (parent >= 0) & (2.0 * np.asarray(radius) >= SINK_CALIBRE_MM) & tree.flowing
        begins, ends = points[parent[flows]], points[flows]
        lengths = np.linalg.norm(ends - begins, axis=1)
        count = np.maximum(1, np.ceil(lengths / edge).astype(int))
        row = np.repeat(np.arange(len(count)), count)
        part = (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + 0.5) / count[row]
        at = begins[row] + part[:, None] * (ends - begins)[row]
        wide = np.asarray(radius)[flows][row]
        taken = vessel_conductance_W_mm_K(2.0 * wide) * (lengths / count)[row]
        cells, conductance = _lumen(at, wide, taken, origin, edge, shape)
        if len(cells):
            systems.append(name)
            np.add.at(sink, tuple(cells.T), conductance)
    return sink, tuple(systems)


def _lumen(
    at: Array, radius: Array, conductance: Array, origin: Array, edge: float, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], Array]:
    """Cells in the lumen around points of vessels, shape (k, 3), and the share of the conductance each takes."""
    cells, shares = [], []
    for point, wide, taken in zip((at - origin) / edge, radius / edge, conductance, strict=True):
        low, high = np.ceil(point - wide).astype(int), np.floor(point + wide).astype(int)
        axes = [np.arange(low[axis], high[axis] + 1) for axis in range(3)]
        around = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        around = around[((around - point) ** 2).sum(axis=1) <= wide**2]
        if not len(around):
            around = np.rint(point).astype(int)[None]
        kept = around[((around >= 0) & (around < shape)).all(axis=1)]
        cells.append(kept)
        shares.append(np.full(len(kept), taken / len(around)))
    if not cells:
        return np.zeros((0, 3), dtype=np.int64), np.zeros(0)
    return np.concatenate(cells), np.concatenate(shares)


def _extents(ablation: Ablation, dead: NDArray[np.bool_]) -> tuple[float, float]:
    """Extent of the lethal zone along and across the applicator, mm."""
    if not dead.any():
        return 0.0, 0.0
    grid, applicator = ablation.grid, ablation.applicator
    away = grid.origin_mm + grid.edge_mm * np.argwhere(dead) - applicator.tip_mm
    along = away @ applicator.direction
    across = np.linalg.norm(away - along[:, None] * applicator.direction, axis=1)
    return float(np.ptp(along) + grid.edge_mm), float(2.0 * across.max() + grid.edge_mm)


def _margin(
    grid: HeatGrid, tumour: NDArray[np.bool_], dead: NDArray[np.bool_], applicator: Applicator
) -> Mapping[str, float]:
    """Coverage and minimal ablative margin of the tumour nearest to the active length."""
    pieces, count = label(tumour)
    distance = applicator.distance(grid.centres()).reshape(tumour.shape)
    nearest = min(range(1, count + 1), key=lambda piece: float(distance[pieces == piece].min()))
    mine = pieces == nearest
    living = (grid.tissue >= 0) & ~dead
    edge = grid.edge_mm
    if living.any():
        to_living = distance_transform_edt(~living) * edge
        margin = float(to_living[mine].min())
        if (mine & living).any():
            # Negative: the deepest living tumour from the lethal zone.
            to_dead = distance_transform_edt(~dead) * edge if dead.any() else distance * 0 + np.inf
            margin = -float(np.min([to_dead[mine & living].max(), 1e3]))
    else:
        margin = float("nan")
    return {
        "tumour_ml": float(mine.sum()) * grid.cell_ml,
        "tumour_coverage": float((mine & dead).sum() / mine.sum()),
        "minimal_ablative_margin_mm": margin,
    }
