"""From a label map to one conforming tetrahedral mesh of all its structures.

A body-centred cubic lattice is laid over the labels in patient space, its vertices are snapped to the smooth
interfaces between labels and its edges cut where they still cross them (`anatomy.lattice`). Nothing is drawn
by chance: the same label map and parameters give the same mesh to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.lattice import cleaning, octree, stuffing
from anatomy.lattice.fields import Fields, label_fields
from anatomy.lattice.quality import dihedral_angles, improved
from anatomy.lattice.report import measure
from anatomy.lattice.sizing import graded_lattice
from anatomy.lattice.topology import neighbours_of, volumes_of
from anatomy.mesh import FACETS_OF_TET, OrganMesh
from anatomy.progress import Progress, silent

#: Typical edge where neither an edge nor a budget is asked for, mm.
EDGE_MM = 6.0
#: The range in which all dihedral angles lie, degrees.
DIHEDRAL_DEG = (12.0, 140.0)

# Mean edge of a body-centred lattice per edge of its cubes: per tetrahedron two edges of 1 and four of √3/2.
_MEAN_EDGE = (2 + 4 * np.sqrt(3) / 2) / 6
# Edges that the thickness of a structure must hold before its cubes are small enough.
_EDGES_ACROSS = 2.0
# Sizes of cubes, each half the one before.
_LEVELS = 4
# A piece below this share of a cube of the typical edge is a speck.
_SPECK = 0.25
# Cuts of the lattice, each after moving the interfaces towards the label map's volumes.
_VOLUME_PASSES = 7
# How far an interface moves at once, in units of the fields' blur; in all it moves twice as far at most.
_LARGEST_STEP = 0.6
_VOLUME_TOLERANCE = 0.002
# Share of the budget that is aimed at, the least that is good enough, and how often an edge is tried for it.
_BUDGET_AIM, _BUDGET_LEAST, _BUDGET_TRIES = 0.92, 0.8, 6
# Tetrahedra of a mesh for each of its lattice that reaches into a label: 0.87 to 0.93 on organs.
_PER_LATTICE = 0.88


def mesh_labels(
    labels: LabelMap,
    edge_mm: float | None = None,
    budget_tets: int | None = None,
    progress: Progress = silent,
    max_loss: float = 0.3,
    finest_mm: float | None = None,
) -> OrganMesh:
    """Mesh all structures of a label map as one conforming tetrahedral mesh.

    Parameters
    ----------
    labels : LabelMap
        The structures; values up to 255.
    edge_mm : float, optional
        Typical edge length far from thin structures, mm. If None, the edge that makes the most of the budget,
        or 6 mm without one.
    budget_tets : int, optional
        Largest number of tetrahedra; an edge that is given grows until the mesh fits.
    progress : Progress
        Called with the stage and its fraction.
    max_loss : float
        Share of its volume in the label map that a structure may lose, or gain, before the mesh is refused.
    finest_mm : float, optional
        Shortest typical edge in thin structures, mm; half of `edge_mm` if None.

    Returns
    -------
    OrganMesh
        Regions are the label values; `report` is described in `anatomy.lattice.report.measure`, with
        `edge_mm`, `seconds` and `held_vertices` besides.

    Raises
    ------
    AnatomyError
        If a knob makes no sense, or a structure would lose, or gain, more than `max_loss` of its volume.
    """
    _check_knobs(labels, edge_mm, budget_tets, max_loss, finest_mm)
    started = time.perf_counter()
    progress("smoothing the labels", 0.0)
    fields = label_fields(labels.image, sorted(labels.names))
    mesher = _Mesher(labels, fields, finest_mm, max_loss, progress)
    organ = mesher.at_edge(edge_mm or EDGE_MM) if budget_tets is None else mesher.within(budget_tets, edge_mm)
    report = {**organ.report, "seconds": round(time.perf_counter() - started, 3)}
    progress("meshing", 1.0)
    return OrganMesh(organ.points, organ.tets, organ.region, organ.structures, report)


def _check_knobs(
    labels: LabelMap,
    edge_mm: float | None,
    budget_tets: int | None,
    max_loss: float,
    finest_mm: float | None,
) -> None:
    for name, length in (("an edge", edge_mm), ("a finest edge", finest_mm)):
        if length is not None and not 0 < length < np.inf:
            raise AnatomyError(f"{name} of {length} mm cannot be meshed: give a length above 0, such as 6 mm")
    if budget_tets is not None and budget_tets < 100:
        raise AnatomyError(
            f"a budget of {budget_tets} tetrahedra is too small for an organ: give at least 100"
        )
    if not 0 < max_loss <= 1:
        raise AnatomyError(f"max_loss is a share between 0 and 1, not {max_loss}")
    if max(labels.names) > 255:
        raise AnatomyError(
            f"the mesh keeps label values up to 255; the map has {max(labels.names)}: renumber it"
        )


@dataclass(frozen=True)
class _Mesher:
    """One label map with its smooth fields, to be meshed at one or several edge lengths."""

    labels: LabelMap
    fields: Fields
    finest_mm: float | None
    max_loss: float
    progress: Progress

    @cached_property
    def voxel_mm3(self) -> NDArray[np.float64]:
        """Volume of each label in the label map, by index; the background's too."""
        voxels = np.bincount(self.labels.array.ravel(), minlength=256)[self.fields.values]
        return np.asarray(voxels * float(np.prod(self.labels.spacing_mm)))

    def at_edge(self, edge_mm: float) -> OrganMesh:
        """Mesh at one edge length; refuse what loses too much."""
        organ = self.cut(self.lattice(edge_mm), edge_mm)
        _check_losses(organ.report["labels"], self.max_loss, edge_mm)  # type: ignore[arg-type]
        return organ

    def within(self, budget: int, edge_mm: float | None) -> OrganMesh:
        """The finest mesh within a budget, at `edge_mm` or coarser if that is given."""
        finest = edge_mm or 0.0
        edge_mm = edge_mm or EDGE_MM
        per_lattice, best = _PER_LATTICE, None
        for _ in range(_BUDGET_TRIES):
            edge_mm, lattice = self._edge_for(budget * _BUDGET_AIM / per_lattice, edge_mm, finest)
            organ = self.cut(lattice, edge_mm)
            count = len(organ.tets)
            if count <= budget and (best is None or count > len(best.tets)):
                best = organ
            if count <= budget and (count >= _BUDGET_LEAST * budget or edge_mm <= finest):
                break
            per_lattice = count / self._size(lattice)
        while best is None:
            edge_mm *= 1.05
            organ = self.cut(self.lattice(edge_mm), edge_mm)
            best = organ if len(organ.tets) <= budget else None
        _check_losses(best.report["labels"], self.max_loss, float(best.report["edge_mm"]))  # type: ignore[arg-type]
        return best

    def _edge_for(self, wanted: float, edge_mm: float, finest: float) -> tuple[float, stuffing.Lattice]:
        """An edge, not below `finest`, whose lattice has about `wanted` tetrahedra in labels; and the lattice."""
        for _ in range(_BUDGET_TRIES):
            lattice = self.lattice(edge_mm)
            ratio = self._size(lattice) / wanted
            better = max(finest, edge_mm * ratio ** (1 / 3))
            if abs(ratio - 1) < 0.05 or better == edge_mm:
                break
            edge_mm = better
        return edge_mm, lattice

    def _size(self, lattice: stuffing.Lattice) -> int:
        """Tetrahedra of a lattice that reach into a label: about as many as the mesh will have."""
        solid = self.fields.winner(lattice.points) > 0
        return max(1, int(solid[lattice.tets].any(axis=1).sum()))

    def lattice(self, edge_mm: float) -> stuffing.Lattice:
        """The graded lattice of an edge length."""
        self.progress("laying the lattice", 0.1)
        finest = self.finest_mm or edge_mm / 2
        edges_mm = [
            edge_mm / 2**level
            for level in range(_LEVELS)
            if level == 0 or edge_mm / 2**level >= 0.99 * finest
        ]
        tree = graded_lattice(self.fields, edge_mm / _MEAN_EDGE, edges_mm, _EDGES_ACROSS)
        coordinates, tets = octree.tetrahedra(tree)
        lattice = stuffing.prepare(coordinates, tree.to_mm(coordinates), tets, self.fields)
        if not len(lattice.tets):
            raise _nothing_left(edge_mm)
        return lattice

    def cut(self, lattice: stuffing.Lattice, edge_mm: float) -> OrganMesh:
        """Cut a lattice along the interfaces, hold it where pieces stay badly shaped, and measure the mesh."""
        held = np.zeros(len(lattice.points), dtype=bool)
        fields = _at_volumes(lattice, self.fields, self.voxel_mm3, self.progress)
        while True:
            self.progress("cleaning", 0.6)
            cut = stuffing.stuff(lattice, fields, held)
            label, pinched = _cleaned(cut, edge_mm)
            keep = label > 0
            if not keep.any():
                raise _nothing_left(edge_mm)
            used = np.zeros(len(cut.points), dtype=bool)
            used[cut.tets[keep]] = True
            tets = (np.cumsum(used) - 1)[cut.tets[keep]]
            self.progress("improving the shape of tetrahedra", 0.8)
            points = improved(cut.points[used], tets, label[keep])
            angles = dihedral_angles(points, tets)
            bad = (angles[:, 0] < DIHEDRAL_DEG[0]) | (angles[:, 1] > DIHEDRAL_DEG[1])
            if not bad.any():
                break
            _hold(held, lattice, cut.parent[keep][bad])
        self.progress("measuring", 0.9)
        names = [self.labels.names[value] for value in self.fields.values[1:].tolist()]
        report: dict[str, Any] = {"edge_mm": round(edge_mm, 4), "held_vertices": int(held.sum())}
        label = label[keep]
        report |= measure(points, tets, label, self.fields, names, self.voxel_mm3, edge_mm, pinched)
        region = self.fields.values[label].astype(np.uint8)
        return OrganMesh(points, tets, region, self.labels.names, report)


def _nothing_left(edge_mm: float) -> AnatomyError:
    return AnatomyError(
        f"nothing would be left of the label map at edges of {edge_mm:.3g} mm: all its structures are too thin for "
        "them or for its voxels; make edge_mm smaller, or draw the structures on a finer grid"
    )


def _cleaned(cut: stuffing.Stuffed, edge_mm: float) -> tuple[NDArray[np.int64], int]:
    """Labels of the cut tetrahedra without specks and pinches, and how many vertices stay pinched."""
    volume = volumes_of(cut.points, cut.tets)
    across = neighbours_of(cut.tets)
    label = cleaning.without_specks(cut.label, across, volume, _SPECK * edge_mm**3)
    label = cleaning.without_pinches(cut.tets, label, across, volume)
    return label, int((cleaning.pinches(cut.tets, label, across) > 0).sum())


def _hold(held: NDArray[np.bool_], lattice: stuffing.Lattice, parents: NDArray[np.int64]) -> None:
    """Hold the vertices of lattice tetrahedra, in place; where all are held already, those around them too.

    A tetrahedron whose vertices are all held stays as the lattice has it, with angles from 45° to 120°; so in the
    end no bad one is left.
    """
    tets = lattice.tets[parents]
    while held[tets].all():
        inside = np.zeros(len(held), dtype=bool)
        inside[tets] = True
        tets = lattice.tets[inside[lattice.tets].any(axis=1)]
    held[tets] = True


def _at_volumes(
    lattice: stuffing.Lattice, fields: Fields, voxel_mm3: NDArray[np.float64], progress: Progress
) -> Fields:
    """Fields whose interfaces enclose, on this lattice, the volumes of the label map; the best attempt."""
    best, least = fields, np.inf
    nothing = np.zeros(len(lattice.points), dtype=bool)
    outward, gain = np.zeros(len(voxel_mm3)), np.ones(len(voxel_mm3))
    last, asked, system = np.zeros_like(outward), np.zeros_like(outward), None
    for attempt in range(_VOLUME_PASSES):
        progress("cutting along the interfaces", 0.2 + 0.4 * attempt / _VOLUME_PASSES)
        cut = stuffing.stuff(lattice, fields, nothing)
        volume = np.bincount(cut.label, weights=volumes_of(cut.points, cut.tets), minlength=len(voxel_mm3))
        error = np.abs(volume / voxel_mm3 - 1)[1:]
        if error.sum() < least:
            best, least = fields, float(error.sum())
        if (error < _VOLUME_TOLERANCE).all():
            break
        drowned = volume == 0
        if system is None or drowned.any():
            system = _response(cut, len(voxel_mm3))
        else:
            # Secants: how much more, or less, came of the last step than the areas promised.
            moved = np.abs(asked) > _VOLUME_TOLERANCE * voxel_mm3
            gain[moved] = np.clip(asked[moved] / _away_from_zero((volume - last)[moved]), 0.3, 3.0)
        step = _outward(system, (voxel_mm3 - volume) * gain)
        # A label without a tetrahedron has no surface to move: it rises step by step.
        step[1:][drowned[1:]] = _LARGEST_STEP
        before = outward
        reach = fields.blur_mm * np.array([[-_LARGEST_STEP], [_LARGEST_STEP]])
        outward = np.clip(before + np.clip(step, *reach), *(2 * reach))
        asked, last = system @ (outward - before), volume
        fields = fields.shifted(outward)
    return best


def _away_from_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(values) > 1e-9, values, 1e-9)


def _response(cut: stuffing.Stuffed, count: int) -> NDArray[np.float64]:
    """Volume (mm³) that each label (row) gains for each mm by which the surface of one (column) moves outwards.

    Moving the surface of label i by d_i changes its volume by Σ_j A_ij (d_i − d_j), where A_ij is the area it
    shares with label j and the background does not move.
    """
    across = neighbours_of(cut.tets)
    tet, facet = np.nonzero((across >= 0) & (cut.label[:, None] != cut.label[across]))
    a, b, c = (cut.points[cut.tets[tet, FACETS_OF_TET[facet, corner]]] for corner in range(3))
    shared = np.zeros((count, count))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    np.add.at(shared, (cut.label[tet], cut.label[across[tet, facet]]), area)
    return np.diag(shared.sum(axis=1)) - shared


def _outward(system: NDArray[np.float64], missing_mm3: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """How far (mm) each label's surface must move outwards for it to gain `missing_mm3`."""
    present = 1 + np.flatnonzero(system.diagonal()[1:])
    outward = np.zeros(len(missing_mm3))
    outward[present] = np.linalg.solve(system[np.ix_(present, present)], missing_mm3[present])
    return outward


def _check_losses(found_of: Mapping[str, Any], max_loss: float, edge_mm: float) -> None:
    for name, found in found_of.items():
        error = found["error_percent"] / 100
        change = "gain" if error > 0 else "lose"
        if abs(error) > max_loss:
            raise AnatomyError(
                f"'{name}' would {change} {100 * abs(error):.0f} % of its {found['voxel_ml']:g} ml at edges of "
                f"{edge_mm:.3g} mm (allowed: {100 * max_loss:.0f} %): it is too thin for them; "
                "make edge_mm smaller, raise the budget, or leave the structure out"
            )
