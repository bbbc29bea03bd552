"""OperationMeter: what an operation costs, measured on any state of an operative field.

`live` is cheap enough for every frame; `measured` adds margins, energy and stretch. What the numbers mean is in the
table of `twin.metrics`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from anatomy.vessels import VesselTree
from twin.errors import TwinError
from twin.margins import PEDICLED, TUMOUR, Margin, cut_faces, find_tumours, margin, organ_of, surroundings

if TYPE_CHECKING:
    from solver.circulation import Circulation
    from solver.field import OperativeField
    from solver.frame import Frame

Array = NDArray[np.float64]

#: Kinds of events that say that tissue was at its limit.
LIMITS = ("limit", "tear", "pull-through", "crush")


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of the organ: its cut faces, and what margins were measured in its scanned shape, by tumour."""

    organ: OrganMesh
    faces: NDArray[np.int64]
    margins: dict[int, Margin | None]


class OperationMeter:
    """Measures an operation from its beginning.

    Parameters
    ----------
    field : OperativeField
        As `twin.operating` makes it, before anything is done.
    trees : mapping of str to VesselTree, optional
        The case's vessels, for their distances from tumours.

    Raises
    ------
    TwinError
        If the field does not know its tumours.
    """

    def __init__(self, field: OperativeField, trees: Mapping[str, VesselTree] | None = None) -> None:
        if TUMOUR not in field.tet_data:
            raise TwinError("The field was not made by twin.operating, so that it does not know its tumours.")
        self.field, self.trees = field, dict(trees or {})
        self.whole = field.organ
        self.tumours = find_tumours(self.whole)[0]
        self._number = field.tet_data[TUMOUR]
        self._whole_ml = _by_structure([self.whole])
        self._pieces: dict[int, _Piece] = {}
        self._rest_mJ = self.peak_strain_energy_mJ = field.live.strain_energy_mJ

    def watch(self, frame: Frame) -> None:
        """Take note of a frame of a replay: what is only known while it happens."""
        self.peak_strain_energy_mJ = max(self.peak_strain_energy_mJ, self.field.live.strain_energy_mJ)

    # ------------------------------------------------------------------ measures

    def live(self) -> dict[str, Any]:
        """Time, volumes, perfusion, bleeding and tools, JSON-ready."""
        found: dict[str, Any] = {"time_s": self.field.live.time_s, "organs": self._organs()}
        blood = self._blood()
        if blood is not None:
            found |= self._bleeding(blood)
        found["tools"] = self.field.effort.describe()
        return found

    def measured(self, undos: int = 0, acts: int | None = None) -> dict[str, Any]:
        """All measures of the present state, JSON-ready.

        Parameters
        ----------
        undos : int
            How often the rehearsal was taken back, by its log.
        acts : int, optional
            Acts of the present plan.
        """
        events = Counter(event.kind for event in self.field.events)
        energy = self.field.live.strain_energy_mJ
        return {
            **self.live(),
            "acts": acts,
            "undos": undos,
            "specimens": [
                {"volume_ml": _ml(one.organ), "structures": _by_structure([one.organ]), "time_s": one.time_s}
                for one in self.field.specimens
            ],
            "tumours": {name: self._tumour(number, name) for number, name in enumerate(self.tumours)},
            "tissue": {
                "strain_energy_mJ": energy,
                "strain_energy_gain_mJ": energy - self._rest_mJ,
                "peak_strain_energy_gain_mJ": max(energy, self.peak_strain_energy_mJ) - self._rest_mJ,
                "largest_stretch": self._largest_stretch(),
                "limits_exceeded": sum(events[kind] for kind in LIMITS),
            },
            "events": dict(sorted(events.items())),
        }

    def _organs(self) -> dict[str, dict[str, float | None]]:
        """Volumes by organ, tumours in it included."""
        left = _by_structure([self.field.organ])
        blood = self._blood()
        found = {}
        for organ in dict.fromkeys(organ_of(name) for name in self._whole_ml):
            parts = [name for name in self._whole_ml if organ_of(name) == organ]
            tissue = [name for name in parts if name == organ]
            whole, remnant = (sum(of.get(n, 0.0) for n in parts) for of in (self._whole_ml, left))
            healthy, future = (sum(of.get(n, 0.0) for n in tissue) for of in (self._whole_ml, left))
            works = organ in PEDICLED or len(parts) > 1
            found[organ] = {
                "whole_ml": whole,
                "remnant_ml": remnant,
                "remnant_percent": _percent(remnant, whole),
                "specimen_ml": whole - remnant,
                "specimen_percent": _percent(whole - remnant, whole),
                "future_remnant_ml": future if works else None,
                "future_remnant_percent": _percent(future, healthy) if works else None,
                **_served(self.field.organ, organ, blood, healthy),
            }
        return found

    def _blood(self) -> Circulation | None:
        """The circulation with the present state worked out."""
        process = self.field.processes.get("circulation")
        return None if process is None else process.seen(self.field)  # type: ignore[attr-defined]

    def _bleeding(self, blood: Circulation) -> dict[str, Any]:
        carried, bound = blood.flows_ml_min
        bleeds = {(stump.system, stump.node): stump for stump in blood.stumps}
        divided = []
        for system, tree in self.field.vessels.items():
            for node in sorted(tree.divided):
                stump = bleeds.get((system, node))
                divided.append(
                    {
                        "system": system,
                        "node": node,
                        "calibre_mm": tree.calibre_mm(node),
                        "bleeding_ml_min": stump.carried_ml_min if stump else 0.0,
                        "bleeding_bound_ml_min": stump.bound_ml_min if stump else 0.0,
                    }
                )
        divided.sort(key=lambda one: (-one["calibre_mm"], one["system"], one["node"]))
        least = blood.haemodynamics.least_calibre_mm
        return {
            "perfusion": blood.perfusion.describe() if blood.perfusion else None,
            "vessels_divided": {
                "counted_from_mm": least,
                "count": sum(one["calibre_mm"] >= least for one in divided),
                "widest_mm": divided[0]["calibre_mm"] if divided else None,
                "vessels": [one for one in divided if one["calibre_mm"] >= least],
            },
            "bleeding": {
                "stumps": len(blood.stumps),
                "flow_ml_min": carried,
                "flow_bound_ml_min": bound,
                "lost_ml": blood.lost_ml,
                "lost_bound_ml": blood.lost_bound_ml,
                "ischaemia_s": blood.ischaemic_s,
                "ischaemia_ml_min": blood.ischaemic_ml_min,
            },
        }

    # ------------------------------------------------------------------ tumours

    @cached_property
    def surroundings(self) -> dict[str, dict[str, Any]]:
        """Distance of each tumour to the capsule and to vessels before the operation."""
        return {
            name: surroundings(self.whole, np.flatnonzero(self._number == number), self.trees)
            for number, name in enumerate(self.tumours)
        }

    def _tumour(self, number: int, name: str) -> dict[str, Any]:
        """What became of a tumour: how much is left, and its margins where it is."""
        field = self.field
        volume = float(self.whole.tet_volumes[self._number == number].sum()) / 1000.0
        inside = field.tet_data[TUMOUR] == number
        left = float(field.organ.tet_volumes[inside].sum()) / 1000.0
        taken = [
            (one.organ, one.organ.points + one.displacement, one.tet_data[TUMOUR] == number)
            for one in field.specimens
        ]
        taken = [piece for piece in taken if piece[2].any()]
        pieces = [*taken, (field.organ, field.live.positions, inside)] if inside.any() else taken
        margins: dict[str, Any] = {}
        for shape in ("scanned", "deformed"):
            found = [
                self._scanned_margin(organ, number, own)
                if shape == "scanned"
                else margin(moved, organ.tets[own], self._piece(organ).faces)
                for organ, moved, own in pieces
            ]
            known = [one for one in found if one is not None]
            # Where it was cut through, the piece with the smaller margin counts.
            least = min(known, key=lambda one: (one.minimum_mm, one.p5_mm), default=None)
            margins[shape] = None if least is None else least.describe()
        return {
            "volume_ml": volume,
            "left_ml": left,
            "cut_through": bool(len(pieces) > 1),
            "margin": margins,
            **self.surroundings[name],
        }

    def _scanned_margin(self, organ: OrganMesh, number: int, own: NDArray[np.bool_]) -> Margin | None:
        """Margin of a tumour in the scanned shape of a piece, which does not change: measured once."""
        piece = self._piece(organ)
        if number not in piece.margins:
            piece.margins[number] = margin(organ.points, organ.tets[own], piece.faces)
        return piece.margins[number]

    def _piece(self, organ: OrganMesh) -> _Piece:
        """What is known of a piece for good, found once."""
        kept = self._pieces.get(id(organ))
        if kept is None or kept.organ is not organ:
            kept = _Piece(organ, cut_faces(organ, self.whole), {})
            there = {id(one) for one in self._present()}
            self._pieces = {key: value for key, value in self._pieces.items() if key in there}
            self._pieces[id(organ)] = kept
        return kept

    def _present(self) -> Iterable[OrganMesh]:
        return [self.field.organ, *(one.organ for one in self.field.specimens)]

    # ------------------------------------------------------------------ tissue

    def _largest_stretch(self) -> float:
        """Largest principal stretch of any tetrahedron against the stress-free shape."""
        live = self.field.live
        rest, now = (points[self.field.organ.tets] for points in (live.body.reference_points, live.positions))
        first, then = (np.moveaxis(x[:, 1:] - x[:, :1], 1, 2) for x in (rest, now))
        gradient = then @ np.linalg.inv(first)
        squared = _largest_eigenvalue(np.swapaxes(gradient, 1, 2) @ gradient)
        return float(np.sqrt(squared.max()))


def _largest_eigenvalue(matrix: Array) -> Array:
    """Largest eigenvalue of symmetric matrices (m, 3, 3), shape (m,), in closed form (Smith 1961, Commun ACM 4:168)."""
    mean = np.trace(matrix, axis1=1, axis2=2) / 3.0
    shifted = matrix - mean[:, None, None] * np.eye(3)
    size = np.sqrt(np.einsum("mij,mij->m", shifted, shifted) / 6.0)
    ratio = np.linalg.det(shifted) / np.maximum(2.0 * size**3, 1e-300)
    return mean + 2.0 * size * np.cos(np.arccos(np.clip(ratio, -1.0, 1.0)) / 3.0)


def _served(
    organ: OrganMesh, name: str, blood: Circulation | None, healthy_ml: float
) -> dict[str, float | None]:
    """What of an organ's tissue left in the body is fed, and what of that drained."""
    if blood is None or blood.perfusion is None:
        return {}
    found = blood.perfusion
    mine = organ.region == organ.value_of(name)
    mine = mine & found.supplied
    if not mine.any():
        return {}
    body = found.describe(
        np.isin(organ.region, [v for v, s in organ.structures.items() if organ_of(s) == name])
    )
    perfused, drained = found.ml(mine & found.perfused), found.ml(mine & found.perfused & found.drained)
    return {
        "future_remnant_perfused_ml": perfused,
        "future_remnant_perfused_percent": _percent(perfused, healthy_ml),
        "future_remnant_drained_ml": drained,
        "future_remnant_drained_percent": _percent(drained, healthy_ml),
        "ischaemic_ml": body["ischaemic_ml"],
        "congested_ml": body["congested_ml"],
    }


def _ml(organ: OrganMesh) -> float:
    return float(organ.tet_volumes.sum()) / 1000.0


def _by_structure(organs: Iterable[OrganMesh]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for organ in organs:
        total.update(organ.volumes_ml)
    return {name: float(volume) for name, volume in total.items()}


def _percent(part: float, whole: float) -> float | None:
    return 100.0 * part / whole if whole > 0 else None
