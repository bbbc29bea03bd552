"""A thousand random strokes over real organs: does the mesh stay sound, and how long does one cut take.

A liver and a kidney of a real CT (TotalSegmentator's reference files, in ../shared/scans) are meshed, deformed at
random (turned, moved and bent smoothly), and cut by strokes, planes, spline sheets, margins and levels, twenty one
after the other before a fresh copy. After every cut the surface must be a closed manifold, every tetrahedron positive
in the scanned, the stress-free and the deformed shape, and the volume that of the whole. The stress-free shape is
another smooth deformation. Cutting with a plane or a closed margin must also part the organ in two.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anatomy import OrganMesh, mesh_labels
from anatomy.lattice.quality import dihedral_angles
from anatomy.lattice.topology import edges_of, volumes_of
from anatomy.manifold import pinched_edges, pinched_vertices
from anatomy.progress import Progress
from benchmarks import Row
from benchmarks.real_labels import real_labels
from solver.cutting import BladeStroke, Offset, Plane, SplineSheet, Values, cut, pieces, without
from solver.cutting.incision import FLOOR
from solver.cutting.snapping import mean_ratios
from solver.errors import SolverError
from solver.topology import TopologyChange

Array = NDArray[np.float64]

STROKES, ON_ONE_ORGAN, SEED = 1000, 20, 20260
#: Structures, and the budget of tetrahedra of each mesh.
ORGANS = {
    "liver": (["liver"], 20_000),
    "liver with its vessels": (["liver", "portal_vein_and_splenic_vein", "inferior_vena_cava"], 20_000),
    "kidney": (["kidney_right"], 8_000),
}


@dataclass
class Outcome:
    """What was counted over all cuts of an organ."""

    cuts: int = 0
    refused: int = 0
    exceptions: int = 0
    open_surfaces: int = 0
    inverted: int = 0
    planes: int = 0
    not_parted: int = 0
    lost_volume: float = 0.0
    least_dihedral_deg: float = 180.0
    least_mean_ratio: float = 1.0
    shortest_mm: float = np.inf
    most_tets: int = 0
    off_share: list[Array] = field(default_factory=list)
    said: dict[str, int] = field(default_factory=dict)
    seconds: list[tuple[float, float]] = field(default_factory=list)


def run(progress: Progress) -> list[Row]:
    """Cut the organs."""
    organs = real_organs()
    cut(organs["kidney"], organs["kidney"].points, Plane(organs["kidney"].points.mean(axis=0), (1, 0, 0)))
    rows: list[Row] = []
    each = -(-STROKES // len(organs))
    for number, (name, organ) in enumerate(organs.items()):
        told = lambda done, number=number, name=name: progress(  # noqa: E731
            f"Cutting: {name}", (number + done) / len(organs)
        )
        rows += _rows(name, organ, strokes(organ, each, SEED + number, told))
    progress("Cutting", 1.0)
    return rows


def real_organs() -> dict[str, OrganMesh]:
    """The organs, meshed.

    Raises
    ------
    ViewerError
        If the real scans are not there.
    """
    everything = real_labels("cutting")
    return {
        name: mesh_labels(everything.select(structures), budget_tets=budget)
        for name, (structures, budget) in ORGANS.items()
    }


def strokes(organ: OrganMesh, count: int, seed: int, told: object = None) -> Outcome:
    """Cut an organ `count` times at random, from a fresh copy after every twenty cuts."""
    rng = np.random.default_rng(seed)
    found = Outcome()
    whole = float(organ.tet_volumes.sum())
    edge = mean_edge(organ)
    now, deformed, free = organ, organ.points, organ.points
    for number in range(count):
        if number % ON_ONE_ORGAN == 0:
            now, deformed, free = organ, bent(organ, rng), bent(organ, rng, 0.5)
            if callable(told):
                told(number / count)
        sheet = random_sheet(now, deformed, rng)
        began, worked = time.perf_counter(), time.thread_time()
        try:
            change = cut(now, deformed, sheet, FLOOR * edge, (free,))
        except SolverError as error:
            found.refused += 1
            found.said[str(error)[:60]] = found.said.get(str(error)[:60], 0) + 1
            continue
        except Exception as error:
            found.exceptions += 1
            found.said[repr(error)[:60]] = found.said.get(repr(error)[:60], 0) + 1
            continue
        found.seconds.append((time.perf_counter() - began, time.thread_time() - worked))
        now, deformed, free = change.after, change.interpolate(deformed), change.interpolate(free)
        if not isinstance(sheet, Values):
            face = deformed[np.unique(change.raw)]
            found.off_share.append(np.abs(sheet.distance(face)) / edge)
        _look(found, change, (deformed, free), whole)
        if isinstance(sheet, Plane):
            found.planes += 1
            found.not_parted += _across(change, deformed, sheet, 0.5 * edge) > 0.003 * whole
    return found


def mean_edge(organ: OrganMesh) -> float:
    """Mean length of the edges, mm."""
    edges = edges_of(organ.tets)[0]
    return float(np.linalg.norm(organ.points[edges[:, 0]] - organ.points[edges[:, 1]], axis=1).mean())


def bent(organ: OrganMesh, rng: np.random.Generator, strength: float = 1.0) -> Array:
    """Positions of the vertices after a turn, a shift and a smooth bend that inverts no tetrahedron."""
    centre = organ.points.mean(axis=0)
    size = float(np.ptp(organ.points, axis=0).max())
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    local = (organ.points - centre) / size
    while True:
        wave = np.zeros_like(local)
        for _ in range(4):
            direction = rng.normal(size=3)
            wave += np.outer(np.sin(local @ rng.normal(size=3) * 3.0 + rng.uniform(0, 6)), direction)
        positions = centre + (local + 0.04 * strength * wave) * size @ turn.T + rng.uniform(-50, 50, 3)
        if (volumes_of(positions, organ.tets) > 0.05 * organ.tet_volumes).all():
            return np.asarray(positions)
        strength *= 0.8


def random_sheet(
    organ: OrganMesh, positions: Array, rng: np.random.Generator
) -> BladeStroke | Plane | SplineSheet | Offset | Values:
    """A cut that meets the organ: mostly strokes from its surface inwards, now and then something else."""
    surface = organ.exterior[rng.integers(len(organ.exterior))]
    start = positions[surface].mean(axis=0)
    inwards = -np.cross(*(positions[surface[1:]] - positions[surface[0]]))
    inwards /= np.linalg.norm(inwards)
    kind = rng.uniform()
    middle = positions[organ.tets[rng.integers(len(organ.tets))]].mean(axis=0)
    if kind < 0.04:
        return Plane(middle, rng.normal(size=3))
    if kind < 0.08:
        flat = np.stack([*(rng.uniform(-40, 40, (2, 7))), rng.uniform(-6, 6, 7)], axis=1)
        return SplineSheet(middle + flat @ np.linalg.qr(rng.normal(size=(3, 3)))[0].T)
    if kind < 0.12:
        near = np.linalg.norm(positions[organ.tets].mean(axis=1) - middle, axis=1)
        tets = organ.tets[np.argsort(near)[:20]]
        used, local = np.unique(tets, return_inverse=True)
        towards = start - middle if rng.uniform() < 0.5 else None
        return Offset(positions[used], local.reshape(-1, 4), rng.uniform(4, 10), towards)
    if kind < 0.16:
        return Values(np.linalg.norm(organ.points - organ.points[surface[0]], axis=1), rng.uniform(15, 40))
    direction = inwards + rng.normal(size=3) * 0.3
    across = np.cross(direction, rng.normal(size=3))
    across /= np.linalg.norm(across)
    bend = rng.normal(size=3) * rng.uniform(0, 15)
    share = np.linspace(-0.5, 0.5, 9)[:, None]
    path = start + share * across * rng.uniform(15, 90) + (share**2 - 0.1) * bend
    return BladeStroke(path, direction, rng.uniform(8, 60), rounded=bool(rng.uniform() < 0.5))


def _across(change: TopologyChange, positions: Array, plane: Plane, beyond_mm: float) -> float:
    """Largest volume, mm³, of a piece beyond a plane when more of it lies before it, and the other way round."""
    organ = change.after
    distance = plane.distance(positions[organ.tets].mean(axis=1))
    label = pieces(organ)
    ahead = np.bincount(label, weights=organ.tet_volumes * (distance > beyond_mm))
    behind = np.bincount(label, weights=organ.tet_volumes * (distance < -beyond_mm))
    return float(np.minimum(ahead, behind).max())


def _closed(organ: OrganMesh) -> bool:
    return not len(pinched_edges(organ.exterior)) and not len(pinched_vertices(organ.exterior))


def _look(found: Outcome, change: TopologyChange, shapes: tuple[Array, ...], whole: float) -> None:
    """Check the mesh after a cut."""
    organ = change.after
    found.cuts += 1
    found.open_surfaces += not _closed(organ)
    found.inverted += sum(int((volumes_of(x, organ.tets) <= 0).sum()) for x in (organ.points, *shapes))
    label = pieces(organ)
    parted = bool(label.max() > pieces(change.before).max())
    found.lost_volume = max(found.lost_volume, abs(float(organ.tet_volumes.sum()) / whole - 1.0))
    if parted:
        specimen, remnant = without(organ, label == 0).after, without(organ, label > 0).after
        both = float(specimen.tet_volumes.sum() + remnant.tet_volumes.sum())
        found.lost_volume = max(found.lost_volume, abs(both / whole - 1.0))
        found.open_surfaces += not (_closed(specimen) and _closed(remnant))
    found.least_dihedral_deg = min(
        found.least_dihedral_deg, float(dihedral_angles(organ.points, organ.tets)[:, 0].min())
    )
    found.least_mean_ratio = min(found.least_mean_ratio, float(mean_ratios(organ.points, organ.tets).min()))
    corner = organ.points[organ.tets]
    edges = np.linalg.norm(corner[:, [0, 0, 0, 1, 1, 2]] - corner[:, [1, 2, 3, 2, 3, 3]], axis=2)
    found.shortest_mm = min(found.shortest_mm, float(edges.min()))
    found.most_tets = max(found.most_tets, len(organ.tets))


def _rows(name: str, organ: OrganMesh, found: Outcome) -> list[Row]:
    wall, worked = 1000.0 * np.array(found.seconds).T
    off = np.concatenate(found.off_share)
    before = dihedral_angles(organ.points, organ.tets)[:, 0].min()
    quantities = (
        ("cuts", found.cuts, "1"),
        ("cuts refused in words (they miss, or open no whole facet)", found.refused, "1"),
        ("exceptions", found.exceptions, "1"),
        ("surfaces open or not manifold", found.open_surfaces, "1"),
        ("tetrahedra inverted in any shape", found.inverted, "1"),
        ("planes among them", found.planes, "1"),
        ("planes with more than 0.3 % of the organ hanging across", found.not_parted, "1"),
        ("largest change of volume", found.lost_volume, "1"),
        ("tetrahedra before", len(organ.tets), "1"),
        ("most tetrahedra after", found.most_tets, "1"),
        ("least dihedral angle before", float(before), "°"),
        ("least dihedral angle after", found.least_dihedral_deg, "°"),
        ("least mean ratio after", found.least_mean_ratio, "1"),
        ("shortest edge after", found.shortest_mm, "mm"),
        ("distance of the cut face from its sheet, mean", float(off.mean()), "edges"),
        ("distance of the cut face from its sheet, 95th percentile", float(np.percentile(off, 95)), "edges"),
        ("one cut, median", float(np.median(wall)), "ms"),
        ("one cut, 99th percentile", float(np.percentile(wall, 99)), "ms"),
        ("one cut, worst", float(wall.max()), "ms"),
        ("one cut, processor time, median", float(np.median(worked)), "ms"),
        ("one cut, processor time, worst", float(worked.max()), "ms"),
    )
    return [Row("cutting", f"{name}: {quantity}", float(value), unit) for quantity, value, unit in quantities]
