"""Circulation: which tissue is fed and drained, what divided vessels bleed, and how much blood that comes to.

*Territories.* `field.tet_data[system]` holds the node of the system's tree that feeds (or drains) each tetrahedron, −1
where none does. Tissue is perfused while a feeding system's node is joined to its root, and drained while the
draining one's is. Where a case has no arterial tree, the arteries are taken to run with the portal branches in one
sheath (the Glissonean pedicle; Takasaki 1998, J Hepatobiliary Pancreat Surg 5:286), so that closing a portal branch
takes all inflow from its territory. Collaterals between territories are not known and not counted.

*Bleeding.* Every divided piece has two stumps. The one towards the root bleeds while nothing closes the vessel
upstream; the one of a vein towards the tissue lets out what is still fed to the tissue it drained. Two numbers are
given for each:

- *carried*: the flow that the vessel carried before, its share of the organ's volume times the organ's flow;
- *bound*: what pressure drives through the tree up to the stump, by Poiseuille's law along the way and with all of
  the kinetic energy lost at the mouth, Δp = Q Σ 8 µ l / (π r⁴) + ½ ρ Q² / A² (Fung 1997, Biomechanics: Circulation,
  2nd ed.), against no pressure outside, and at most the whole flow of the system. The bed beyond the stump no longer
  resists, so that the truth lies between the two.

A vein's central stump carried nothing outwards; it bleeds back from the vena cava, and only its bound is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.carried_vessels import CarriedTree
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Name of the field's data that says which tetrahedra have inflow; tissue of which no vessel is known has.
PERFUSED = "perfused"

MMHG_KPA = 0.133322387415
# mm³/s in ml/min.
_ML_MIN = 60.0 / 1000.0


@dataclass(frozen=True)
class Supply:
    """What stands behind a vessel system.

    Parameters
    ----------
    pressure_mmHg : float
        At the root, above that of the abdomen.
    flow_ml_min : float
        Flow of the whole system; of a draining one what can come back from the great vein at most.
    """

    pressure_mmHg: float
    flow_ml_min: float


@dataclass(frozen=True)
class Haemodynamics:
    """Pressures and flows of the liver's vessels.

    Parameters
    ----------
    supplies : mapping of str to Supply
        By vessel system. *Portal vein*: 864 ml/min (SD 188, 45 healthy people lying down, duplex ultrasound; Brown et
        al. 1989, Gut 30:503) at 9 mmHg (Guyton & Hall, Textbook of Medical Physiology, "The liver as an organ").
        *Hepatic artery*: a third of that, since 75 to 80 % of the liver's blood is portal (Eipel et al. 2010, World J
        Gastroenterol 16:6046), at a mean arterial pressure of 93 mmHg (120/80). *Hepatic vein*: a central venous
        pressure of 5 mmHg, above which resections bleed more (Melendez et al. 1998, J Am Coll Surg 187:620), and at
        most a cardiac output of 5 l/min (Guyton & Hall).
    viscosity_mPa_s, density_kg_m3 : float
        Of blood at the shear rates of large vessels (Fung 1997).
    least_calibre_mm : float
        Narrower vessels do not count as bleeding. A convention: scans hardly show them, and dissectors that
        coagulate close them as they go.
    """

    supplies: Mapping[str, Supply] = field(
        default_factory=lambda: {
            "portal_vein": Supply(9.0, 864.0),
            "hepatic_artery": Supply(93.0, 288.0),
            "hepatic_vein": Supply(5.0, 5000.0),
        }
    )
    viscosity_mPa_s: float = 3.5
    density_kg_m3: float = 1060.0
    least_calibre_mm: float = 2.0

    def driven_ml_min(self, tree: CarriedTree, node: int) -> float:
        """Flow that pressure drives out of a vessel cut open at a node, ml/min: the bound of the module's text.

        Parameters
        ----------
        tree : CarriedTree
        node : int
            Its piece is cut through at its beginning.
        """
        supply = self.supplies[tree.system]
        way = tree.way(node)
        # A vessel is no narrower than what it feeds: where the tree says so, two forks lie too close to measure it.
        radius = np.maximum.accumulate(tree.radius[way])[1:]
        length = tree.length_mm[way][1:]
        viscosity = self.viscosity_mPa_s * 1e-6  # kPa·s
        density = self.density_kg_m3 * 1e-9  # kg/mm³
        resistance = 8.0 * viscosity / np.pi * float((length / radius**4).sum())
        inertia = 0.5 * density / (np.pi * tree.radius[node] ** 2) ** 2
        pressure = supply.pressure_mmHg * MMHG_KPA
        # Of the two forms of the root of the square equation, the one that does not cancel.
        flow = 2.0 * pressure / (resistance + np.sqrt(resistance**2 + 4.0 * inertia * pressure))
        return min(float(flow) * _ML_MIN, supply.flow_ml_min)


@dataclass(frozen=True)
class Stump:
    """A divided vessel that bleeds.

    Parameters
    ----------
    system : str
    node : int
        Its piece is divided.
    calibre_mm : float
    carried_ml_min : float
        Flow that it carried to or from the tissue, ml/min.
    bound_ml_min : float
        What it may bleed at most, ml/min; never below the other.
    """

    system: str
    node: int
    calibre_mm: float
    carried_ml_min: float
    bound_ml_min: float


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


def bleeding(
    found: Perfusion,
    vessels: Mapping[str, CarriedTree],
    tet_data: Mapping[str, NDArray[Any]],
    shares: Mapping[str, Array],
    served_ml: Mapping[str, float],
    haemodynamics: Haemodynamics,
) -> tuple[Stump, ...]:
    """Every stump that bleeds.

    Parameters
    ----------
    found : Perfusion
        Of the present state.
    vessels, tet_data : mapping
        As of `perfusion`.
    shares : mapping of str to ndarray, shape (n,)
        Share of the whole organ that each node of a tree served, with all beyond it, before anything was done.
    served_ml : mapping of str to float
        Volume that each tree served before anything was done, ml.
    haemodynamics : Haemodynamics
    """
    stumps = []
    known = haemodynamics.supplies
    fed_ml_min = sum(supply.flow_ml_min for name, supply in known.items() if name != "hepatic_vein")
    for name, tree in vessels.items():
        if name not in known:
            continue
        node = tet_data[name]
        fed = (node >= 0) & found.perfused
        # What reaches the tissue behind each closed piece: behind a divided vein it comes out of the stump.
        behind = np.where(fed, tree.barrier[node], -1)
        volume = np.bincount(behind[behind >= 0], found.volume_ml[behind >= 0], minlength=len(tree))
        for cut in sorted(tree.divided - tree.clamped):
            if tree.calibre_mm(cut) < haemodynamics.least_calibre_mm:
                continue
            up = int(tree.parent[cut])
            root_side = up < 0 or (bool(tree.flowing[up]) and bool(tree.present[up]))
            carried = bound = 0.0
            if root_side:
                bound = haemodynamics.driven_ml_min(tree, cut)
                if not tree.outflow:
                    carried = haemodynamics.supplies[name].flow_ml_min * float(shares[name][cut])
            if tree.outflow and tree.present[cut]:
                out = fed_ml_min * float(volume[cut]) / served_ml[name]
                carried, bound = carried + out, bound + out
            if bound > 0.0:
                stumps.append(Stump(name, cut, tree.calibre_mm(cut), carried, max(carried, bound)))
    return tuple(stumps)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a state's flows were worked out from, so that nothing is worked out twice."""

    organ: OrganMesh
    trees: tuple[CarriedTree, ...]
    perfusion: Perfusion
    stumps: tuple[Stump, ...]

    def of(self, field: OperativeField) -> bool:
        return self.organ is field.organ and all(
            a is b for a, b in zip(self.trees, field.vessels.values(), strict=True)
        )


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
        return replace(self, _seen=_Seen(operated.organ, tuple(vessels.values()), found, stumps))

    def _told(self, operated: OperativeField) -> Circulation:
        """As `seen`; new bleeding and the end of all bleeding are told, and the field learns what is perfused."""
        now = self.seen(operated)
        if now is not self and now.perfusion is not None:
            operated.tet_data = operated.tet_data | {
                PERFUSED: now.perfusion.perfused | ~now.perfusion.supplied
            }
            before = {(stump.system, stump.node) for stump in self.stumps}
            for stump in now.stumps:
                if (stump.system, stump.node) not in before:
                    _tell_bleeding(operated, stump)
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

    def flows_ml_min(self) -> tuple[float, float]:
        """Bleeding of all stumps together, ml/min: by carried flows, and at most; no system gives more than it has."""
        carried = bound = 0.0
        for name, supply in self.haemodynamics.supplies.items():
            own = [stump for stump in self.stumps if stump.system == name]
            carried += min(sum(stump.carried_ml_min for stump in own), supply.flow_ml_min)
            bound += min(sum(stump.bound_ml_min for stump in own), supply.flow_ml_min)
        return carried, bound

    def advanced(self, operated: OperativeField, seconds: float) -> Circulation:
        """The circulation after some more time."""
        now = self._told(operated)
        if seconds <= 0.0 or now.perfusion is None:
            return now
        carried, bound = now.flows_ml_min()
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


def _tell_bleeding(operated: OperativeField, stump: Stump) -> None:
    words = stump.system.replace("_", " ")
    operated.tell(
        "bleeding",
        f"A branch of the {words} of {stump.calibre_mm:.1f} mm is divided and not closed: it bleeds about "
        f"{stump.carried_ml_min:.0f} ml/min, {stump.bound_ml_min:.0f} ml/min at most.",
        system=stump.system,
        node=stump.node,
        calibre_mm=stump.calibre_mm,
        carried_ml_min=stump.carried_ml_min,
        bound_ml_min=stump.bound_ml_min,
    )
