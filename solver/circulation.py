"""Circulation: which tissue is fed and drained, and how much blood divided vessels cost in time.

*Territories.* `field.tet_data[system]` holds the node of the system's tree that feeds (or drains) each tetrahedron, −1
where none does. Tissue is perfused while a feeding system's node is joined to its root, and drained while the
draining one's is. Where a case has no arterial tree, the arteries are taken to run with the portal branches in one
sheath (the Glissonean pedicle; Takasaki 1998, J Hepatobiliary Pancreat Surg 5:286), so that closing a portal branch
takes all inflow from its territory. Collaterals between territories are not known and not counted.

What bleeds, and how much, is `solver.haemodynamics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.carried_vessels import CarriedTree
from solver.haemodynamics import Haemodynamics, Stump, bleeding, flows_ml_min
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Name of the field's data that says which tetrahedra have inflow; tissue of which no vessel is known has.
PERFUSED = "perfused"


@dataclass(frozen=True, eq=False)
class Perfusion:
    """What tissue is fed and drained in a state.

    Parameters
    ----------
    supplied : ndarray, shape (m,), bool
        Tetrahedra that belong to the territory of a vessel at all.
    perfused, drained : ndarray, shape (m,), bool
        Of these, what has inflow, and what has outflow (also where no draining tree is known).
    volume_ml : ndarray, shape (m,), float64
        Of each tetrahedron in the scanned shape.
    """

    supplied: Mask
    perfused: Mask
    drained: Mask
    volume_ml: Array

    def ml(self, tets: Mask) -> float:
        """Volume of some tetrahedra, ml."""
        return float(self.volume_ml[tets].sum())

    def describe(self, among: Mask | None = None) -> dict[str, float]:
        """Volumes in ml and their share of the supplied tissue in the body, %: no inflow, inflow but no outflow.

        Parameters
        ----------
        among : ndarray, shape (m,), bool, optional
            Only of these tetrahedra.
        """
        mine = self.supplied if among is None else self.supplied & among
        total = self.ml(mine)
        ischaemic = self.ml(mine & ~self.perfused)
        congested = self.ml(mine & self.perfused & ~self.drained)
        percent = 100.0 / total if total else 0.0
        return {
            "supplied_ml": total,
            "ischaemic_ml": ischaemic,
            "ischaemic_percent": percent * ischaemic,
            "congested_ml": congested,
            "congested_percent": percent * congested,
        }


def perfusion(
    organ: OrganMesh, vessels: Mapping[str, CarriedTree], tet_data: Mapping[str, NDArray[Any]]
) -> Perfusion:
    """What is fed and drained in an organ whose tetrahedra know their nodes (`tet_data` by vessel system)."""
    count = len(organ.tets)
    supplied, perfused, drained, tied = (np.zeros(count, dtype=bool) for _ in range(4))
    for name, tree in vessels.items():
        node = tet_data[name]
        joined = (node >= 0) & tree.flowing[node]
        supplied |= node >= 0
        if tree.outflow:
            drained, tied = drained | joined, tied | (node >= 0)
        else:
            perfused |= joined
    return Perfusion(supplied, perfused, supplied & (drained | ~tied), organ.tet_volumes / 1000.0)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a state's flows were worked out from, so that nothing is worked out twice."""

    organ: OrganMesh
    trees: tuple[CarriedTree, ...]
    perfusion: Perfusion
    stumps: tuple[Stump, ...]
    flows_ml_min: tuple[float, float]

    def of(self, field: OperativeField) -> bool:
        now = tuple(field.vessels.values())
        same = len(now) == len(self.trees) and all(a is b for a, b in zip(self.trees, now, strict=True))
        return same and self.organ is field.organ


@dataclass(frozen=True, eq=False)
class Circulation:
    """The process that tells what bleeds and adds it up.

    Parameters
    ----------
    shares : mapping of str to ndarray
        As of `bleeding`.
    served_ml : mapping of str to float
        As of `bleeding`.
    haemodynamics : Haemodynamics
    lost_ml, lost_bound_ml : float
        Blood lost so far, by the carried flows and by their bounds, ml.
    ischaemic_s : float
        Time during which some tissue in the body had no inflow, s.
    ischaemic_ml_min : float
        Volume without inflow, integrated over time, ml·min.
    """

    shares: Mapping[str, Array]
    served_ml: Mapping[str, float]
    haemodynamics: Haemodynamics = field(default_factory=Haemodynamics)
    lost_ml: float = 0.0
    lost_bound_ml: float = 0.0
    ischaemic_s: float = 0.0
    ischaemic_ml_min: float = 0.0
    _seen: _Seen | None = None

    @classmethod
    def of(
        cls, organ: OrganMesh, vessels: Mapping[str, CarriedTree], tet_data: Mapping[str, Any]
    ) -> Circulation:
        """The circulation of an organ to which nothing has been done; arguments as of `perfusion`."""
        found = perfusion(organ, vessels, tet_data)
        shares, served = {}, {}
        for name, tree in vessels.items():
            own = tet_data[name] >= 0
            volume = np.bincount(tet_data[name][own], found.volume_ml[own], minlength=len(tree))
            served[name] = float(volume.sum())
            shares[name] = tree.gathered(volume) / max(served[name], 1e-300)
        return cls(shares, served)

    def seen(self, operated: OperativeField) -> Circulation:
        """The same, with the flows of the field's present state worked out."""
        if self._seen is not None and self._seen.of(operated):
            return self
        vessels = operated.vessels
        found = perfusion(operated.organ, vessels, operated.tet_data)
        stumps = bleeding(found, vessels, operated.tet_data, self.shares, self.served_ml, self.haemodynamics)
        flows = flows_ml_min(stumps, vessels, self.haemodynamics)
        return replace(self, _seen=_Seen(operated.organ, tuple(vessels.values()), found, stumps, flows))

    def _told(self, operated: OperativeField) -> Circulation:
        """As `seen`; new bleeding and the end of all bleeding are told, and the field learns what is perfused."""
        now = self.seen(operated)
        if now is not self and now.perfusion is not None:
            operated.tet_data = operated.tet_data | {
                PERFUSED: now.perfusion.perfused | ~now.perfusion.supplied
            }
            before = {(stump.system, stump.node) for stump in self.stumps}
            new = [stump for stump in now.stumps if (stump.system, stump.node) not in before]
            if new:
                _tell_bleeding(operated, new, self.haemodynamics)
            if before and not now.stumps:
                operated.tell("haemostasis", "No divided vessel bleeds any more.")
        return now

    @property
    def stumps(self) -> tuple[Stump, ...]:
        """What bleeds in the state last looked at."""
        return self._seen.stumps if self._seen else ()

    @property
    def perfusion(self) -> Perfusion | None:
        """What is fed and drained in the state last looked at."""
        return self._seen.perfusion if self._seen else None

    @property
    def flows_ml_min(self) -> tuple[float, float]:
        """Bleeding of all stumps together in that state, ml/min: by carried flows, and at most."""
        return self._seen.flows_ml_min if self._seen else (0.0, 0.0)

    def advanced(self, operated: OperativeField, seconds: float) -> Circulation:
        """The circulation after some more time."""
        now = self._told(operated)
        if seconds <= 0.0 or now.perfusion is None:
            return now
        carried, bound = now.flows_ml_min
        ischaemic = now.perfusion.ml(now.perfusion.supplied & ~now.perfusion.perfused)
        return replace(
            now,
            lost_ml=now.lost_ml + carried * seconds / 60.0,
            lost_bound_ml=now.lost_bound_ml + bound * seconds / 60.0,
            ischaemic_s=now.ischaemic_s + seconds * (ischaemic > 0.0),
            ischaemic_ml_min=now.ischaemic_ml_min + ischaemic * seconds / 60.0,
        )

    def carried(self, change: TopologyChange) -> Circulation:
        """The same: flows are worked out anew for the state after the change."""
        return self


def _tell_bleeding(operated: OperativeField, new: Sequence[Stump], haemodynamics: Haemodynamics) -> None:
    """Note vessels that have begun to bleed, in one sentence however many a cut has opened."""
    carried, bound = flows_ml_min(new, operated.vessels, haemodynamics)
    widest = max(new, key=lambda stump: stump.calibre_mm)
    systems = " and ".join(sorted({stump.system.replace("_", " ") for stump in new}))
    if len(new) == 1:
        what = f"A branch of the {systems} of {widest.calibre_mm:.1f} mm is divided and not closed: it bleeds"
    else:
        what = (
            f"{len(new)} branches of the {systems}, up to {widest.calibre_mm:.1f} mm wide, are divided and not "
            "closed: they bleed"
        )
    operated.tell(
        "bleeding",
        f"{what} about {carried:.0f} ml/min, {bound:.0f} ml/min at most.",
        stumps=len(new),
        widest_mm=widest.calibre_mm,
        carried_ml_min=carried,
        bound_ml_min=bound,
    )
