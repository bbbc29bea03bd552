"""Needle: a straight, stiff needle that is pushed into tissue, and what the tissue does to its aim.

The force along a needle is that of the capsule before it is punctured, then of cutting at the tip and of friction along
the shaft (Okamura, Simone & O'Leary 2004, IEEE Trans Biomed Eng 51:1707). Here

* at a surface the tip holds the tissue until its force reaches the puncture force of the capsule; the indentation that
  this takes is the tissue's own answer (of a mesh coarser than the needle, a lower bound);
* inside, the tip carries the tissue before it along until the force is that of cutting, toughness times the width of
  the crack, taken as the needle's diameter (Azar & Hayward 2008, EuroHaptics; Gokgol et al. 2012, Med Eng Phys 34:882);
* along the shaft every place that was crossed sticks to the needle until friction gives way (stick and slip, Coulomb's
  law with a constant force for each length), and cannot leave the needle's axis (DiMaio & Salcudean 2003, IEEE Trans
  Robot Autom 19:864).

Sticking is elastic within `ELASTIC_MM` of slip. Within a step a force at its limit is a potential of its own, Huber's
function of the slip; where it slipped, the place sticks anew when the step is accepted. The needle does not bend, and
forces do not depend on speed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.anchors import Anchors, located, surface_crossed
from solver.body import Body
from solver.live_load import LiveLoad
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Where = Literal["outside", "surface", "inside"]

# Slip at which friction and cutting are at their limit, mm.
ELASTIC_MM = 0.1
# The same before a surface, where far more force comes with it: many times less than the surface is taken along.
SURFACE_ELASTIC_MM = 0.5
# Stiffness with which a place is kept on the axis, mN/mm: many times that of the tissue around it.
GUIDING_MN_MM = 10000.0
# A surface moves no farther than this in one step, mm.
MOVING_MM = 2.0
# The shaft holds the tissue at places this far apart, mm; each stands for the way to the next.
SPACING_MM = 3.0
# 18 gauge, the needle of most biopsies.
GAUGE_18_MM = 1.27

# Energy of a crack in tissue of which none is published, J/m² (mN/mm): that of liver, see tissues.toml.
TOUGHNESS_J_M2 = 164.0
# Tension at which the capsule of the liver tears, mN/mm of width (300 ± 300; Brunon et al. 2010, J Biomech 43:2221). It
# tears around the needle, pulling along its axis: derived, and an upper bound as far as it pulls at an angle.
CAPSULE_MN_MM = 300.0
# Friction for each length of an 18-gauge needle in bovine liver, mN/mm: the dynamic friction given by Okamura, Simone &
# O'Leary 2004. Confidence: low, the table was not at hand when this was written.
FRICTION_MN_MM = 10.57


@dataclass(frozen=True, eq=False)
class NeedleForces:
    """Forces that a needle meets, mN.

    Parameters
    ----------
    cutting_mN, puncture_mN : ndarray, shape (256,), float64
        By label value of the tissue.
    friction_mN_mm : float
        For each length of the shaft in tissue.
    """

    cutting_mN: Array
    puncture_mN: Array
    friction_mN_mm: float

    @staticmethod
    def of(
        body: Body,
        diameter_mm: float,
        cutting_N: float | None = None,
        puncture_N: float | None = None,
        friction_N_mm: float | None = None,
    ) -> NeedleForces:
        """Of the tissues of a body, from their toughness and capsule; a value that is given replaces all of a kind."""
        cutting, puncture = np.zeros(256), np.zeros(256)
        for value, name in body.organ.structures.items():
            tissue = body.tissues.get(name)
            tough = tissue.toughness.energy_J_m2 if tissue and tissue.toughness else TOUGHNESS_J_M2
            cutting[value] = tough * diameter_mm if cutting_N is None else 1000.0 * cutting_N
            capsule = CAPSULE_MN_MM * np.pi * diameter_mm if tissue and tissue.capsule else 0.0
            puncture[value] = max(capsule, cutting[value]) if puncture_N is None else 1000.0 * puncture_N
        friction = (
            FRICTION_MN_MM * diameter_mm / GAUGE_18_MM if friction_N_mm is None else 1000.0 * friction_N_mm
        )
        return NeedleForces(cutting, puncture, friction)


@dataclass(frozen=True, eq=False)
class Puncture:
    """One passage of the tip through the surface of the tissue.

    Parameters
    ----------
    leaving : bool
        Whether the tip went out.
    force_N : float
        Along the needle, at that moment.
    place_mm : ndarray, shape (3,)
        LPS.
    indentation_mm : float
        How far the tip had taken the surface along.
    """

    leaving: bool
    force_N: float
    place_mm: Array
    indentation_mm: float


@dataclass(frozen=True, eq=False)
class Needle(LiveLoad):
    """A needle on its way.

    Parameters
    ----------
    name : str
        Of the tool.
    organ : OrganMesh
    origin_mm, direction : ndarray, shape (3,)
        The axis, LPS; unit direction.
    depth_mm : float
        Of the tip along the axis.
    forces : NeedleForces
    where : {"outside", "surface", "inside"}
        Of the tip: in the open, before a surface that holds, or in tissue.
    tip : Anchors
        The place the tip holds; none in the open.
    touched_mm : float
        Where on the axis the tip met the surface before it.
    leaving : bool
        Whether the surface is seen from inside.
    shaft : Anchors
        Places that were crossed, from the entry on.
    length_mm : ndarray, shape (k,), float64
        Length each stands for.
    slip_mm : ndarray, shape (k,), float64
        Depth of the tip beyond each place when it last began to stick.
    punctures : tuple of Puncture
    peak_N : float
        Largest force along the needle so far.
    seen_mm : float
        Depth of the tip when the last step was accepted.
    withdrawing : bool
        Whether it is being drawn back.
    """

    coupled: ClassVar[bool] = True

    name: str
    organ: OrganMesh
    origin_mm: Array
    direction: Array
    depth_mm: float
    forces: NeedleForces
    where: Where
    tip: Anchors
    touched_mm: float
    leaving: bool
    shaft: Anchors
    length_mm: Array
    slip_mm: Array
    punctures: tuple[Puncture, ...] = ()
    peak_N: float = 0.0
    seen_mm: float = 0.0
    withdrawing: bool = False

    @staticmethod
    def before(
        name: str, organ: OrganMesh, origin_mm: Array, direction: Array, depth_mm: float, forces: NeedleForces
    ) -> Needle:
        """In the open, its tip at a depth."""
        none = Anchors(np.zeros(0, dtype=np.int64), np.zeros((0, 4), dtype=np.int64), np.zeros((0, 4)))
        return Needle(
            name, organ, origin_mm, direction, depth_mm, forces, "outside",
            none, 0.0, False, none, np.zeros(0), np.zeros(0), seen_mm=depth_mm,
        )  # fmt: skip

    def pushed(self, depth_mm: float, withdrawing: bool = False) -> Needle:
        """Pushed, or drawn back, to a depth."""
        return replace(self, depth_mm=depth_mm, withdrawing=withdrawing)

    @property
    def tip_mm(self) -> Array:
        """Where the tip is, LPS, mm."""
        return np.asarray(self.origin_mm + self.depth_mm * self.direction)

    def axis_entry_mm(self, positions: Array) -> float:
        """Depth at which the axis enters the tissue now, mm: the first place that was crossed, or the tip."""
        crossed = self._along(self.shaft.points(positions))
        return float(min([self.depth_mm, *crossed]))

    def tools_mm(self) -> dict[str, Array]:
        """Where the tip is."""
        return {self.name: self.tip_mm}

    # ------------------------------------------------------------------ forces

    def _along(self, places: Array) -> Array:
        return np.asarray((places - self.origin_mm) @ self.direction)

    @property
    def _tip_limit(self) -> float:
        """Force at which the place before the tip gives way, mN."""
        if not len(self.tip):
            return 0.0
        table = self.forces.puncture_mN if self.where == "surface" else self.forces.cutting_mN
        return float(table[self.organ.region[self.tip.tet[0]]])

    @property
    def _tip_elastic(self) -> float:
        return SURFACE_ELASTIC_MM if self.where == "surface" else ELASTIC_MM

    def _slips(self, positions: Array) -> tuple[Array, Array, Array]:
        """Slip, limit and stiffness along the axis of the shaft's places and, last, of the tip's."""
        slip = self.depth_mm - self.slip_mm - self._along(self.shaft.points(positions))
        limit = self.forces.friction_mN_mm * self.length_mm
        elastic = np.full(len(limit), ELASTIC_MM)
        if len(self.tip):
            ahead = self.depth_mm - self._along(self.tip.points(positions))
            slip = np.append(slip, np.maximum(ahead, 0.0))
            limit = np.append(limit, self._tip_limit)
            elastic = np.append(elastic, self._tip_elastic)
        return slip, limit, limit / elastic

    def _places(self) -> Anchors:
        return self.shaft.joined(self.tip)

    def _push(self, positions: Array) -> Array:
        """Force on each place along the axis, mN."""
        slip, limit, stiffness = self._slips(positions)
        return np.clip(stiffness * slip, -limit, limit)

    def axial_N(self, positions: Array) -> float:
        """Force with which the needle is pushed, N."""
        return float(self._push(positions).sum()) / 1000.0

    def _aside(self, positions: Array) -> Array:
        """Way of each place from the axis, mm, shape (k, 3)."""
        away = self._places().points(positions) - self.origin_mm
        return np.asarray(away - np.outer(away @ self.direction, self.direction))

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy of sticking, cutting and guiding, and its gradient."""
        slip, limit, stiffness = self._slips(positions)
        push = np.clip(stiffness * slip, -limit, limit)
        elastic = np.where(stiffness > 0, push / np.maximum(stiffness, 1e-300), 0.0)
        aside = self._aside(positions)
        energy = float(np.sum(0.5 * push * elastic + push * (slip - elastic)))
        energy += 0.5 * GUIDING_MN_MM * float((aside**2).sum())
        gradient = GUIDING_MN_MM * aside - np.outer(push, self.direction)
        return energy, self._places().spread(gradient, len(positions))

    def coupled_stiffness(self, positions: Array, convex: bool = False) -> tuple[Ints, Array]:
        """Of places that stick along the axis, and of all across it."""
        slip, limit, stiffness = self._slips(positions)
        sticks = np.abs(stiffness * slip) < limit
        if len(self.tip) and slip[-1] <= 0.0:
            sticks[-1] = False
        axis = np.outer(self.direction, self.direction)
        block = np.where(sticks, stiffness, 0.0)[:, None, None] * axis + GUIDING_MN_MM * (np.eye(3) - axis)
        between = np.zeros((len(block), 3, len(block), 3))
        rows = np.arange(len(block))
        between[rows, :, rows, :] = block
        vertices, matrix = self._places().stiffness(between)
        felt = np.flatnonzero(self.evaluate(positions)[1][vertices].any(axis=1))
        place = (3 * felt[:, None] + np.arange(3)).ravel()
        return vertices[felt], matrix[np.ix_(place, place)]

    def forces_N(self, positions: Array) -> dict[str, Array]:
        """With which the needle pushes the tissue, N."""
        push = self._push(positions).sum() * self.direction
        aside = -GUIDING_MN_MM * self._aside(positions).sum(axis=0)
        return {self.name: (push + aside) / 1000.0}

    # ------------------------------------------------------------------ what is crossed

    def committed(self, positions: Array, time_s: float) -> Needle:
        """Stuck anew where it slipped, and the tip where it has come to in the tissue."""
        peak = max(self.peak_N, abs(self.axial_N(positions)))
        needle = replace(self._stuck(positions), peak_N=peak)
        if self.withdrawing:
            needle = needle._drawn_back(positions)
        elif self.where == "outside":
            needle = needle._meeting(positions)
        elif self.where == "surface":
            needle = needle._piercing(positions)
        else:
            needle = needle._cutting(positions)
        return replace(needle, seen_mm=self.depth_mm)

    def _stuck(self, positions: Array) -> Needle:
        at = self._along(self.shaft.points(positions))
        slip = self.depth_mm - self.slip_mm - at
        return replace(self, slip_mm=self.depth_mm - at - np.clip(slip, -ELASTIC_MM, ELASTIC_MM))

    def _meeting(self, positions: Array) -> Needle:
        """Whether the tip has met a surface since it was last seen, or a surface that moves has met the tip."""
        since = min(self.seen_mm, self.depth_mm) - MOVING_MM
        found = surface_crossed(
            self.organ, positions, self.origin_mm, self.direction, since, self.depth_mm, entering=True
        )
        if found is None:
            return self
        at, anchor = found
        return replace(self, where="surface", tip=anchor, touched_mm=at, leaving=False)

    def _piercing(self, positions: Array) -> Needle:
        """Whether the surface before the tip gives way; it may also have left the tip."""
        ahead = self.depth_mm - float(self._along(self.tip.points(positions))[0])
        if ahead < -SPACING_MM:
            return (
                self if self.leaving else replace(self, where="outside", tip=self.tip.taken(np.zeros(0, int)))
            )
        if ahead < SURFACE_ELASTIC_MM * (1 - 1e-6):
            return self
        through = Puncture(
            self.leaving, self.axial_N(positions), self.tip_mm, max(self.depth_mm - self.touched_mm, 0.0)
        )
        pierced = self._crossed(positions, self.tip)
        pierced = replace(pierced, punctures=(*self.punctures, through))
        if self.leaving:
            return replace(pierced, where="outside", tip=self.tip.taken(np.zeros(0, int)))
        return replace(pierced, where="inside")

    def _cutting(self, positions: Array) -> Needle:
        """The tip is where the place before it is at the limit of cutting; what it passed is crossed."""
        behind = float(self._along(self.tip.points(positions))[0])
        front = self.depth_mm - ELASTIC_MM
        if front <= behind:
            return self
        exit_ = surface_crossed(
            self.organ, positions, self.origin_mm, self.direction, behind + 1e-6, front, entering=False
        )
        reached = front if exit_ is None else exit_[0]
        needle = self
        last = float(self._along(self.shaft.points(positions)[-1:])[0]) if len(self.shaft) else behind
        for at in np.arange(last + SPACING_MM, reached, SPACING_MM):
            place = located(self.organ, positions, self.origin_mm + at * self.direction)
            if place is not None:
                needle = needle._rubbing(positions, at)._crossed(positions, place)
        needle = needle._rubbing(positions, reached)
        if exit_ is not None:
            return replace(needle, where="surface", tip=exit_[1], touched_mm=exit_[0], leaving=True)
        tip = located(self.organ, positions, self.origin_mm + front * self.direction)
        return needle if tip is None else replace(needle, tip=tip)

    def _rubbing(self, positions: Array, until: float) -> Needle:
        """Every place of the shaft stands for the tissue from there to the next, the last to a depth, mm."""
        if not len(self.shaft):
            return self
        at = np.append(self._along(self.shaft.points(positions)), until)
        stands = self.length_mm > 0
        stands[-1] = True
        # A place at which the needle left the tissue stands for nothing.
        return replace(self, length_mm=np.where(stands, np.maximum(np.diff(at), 1e-6), 0.0))

    def _crossed(self, positions: Array, place: Anchors) -> Needle:
        """With one more place on the shaft, which sticks from now on."""
        slip = self.depth_mm - self._along(place.points(positions))
        return replace(
            self,
            shaft=self.shaft.joined(place),
            length_mm=np.append(self.length_mm, 0.0),
            slip_mm=np.append(self.slip_mm, slip),
        )

    def _drawn_back(self, positions: Array) -> Needle:
        """The places the tip has left are free."""
        stays = self._along(self.shaft.points(positions)) <= self.depth_mm
        return replace(
            self,
            where="inside" if stays.any() else "outside",
            tip=self.tip.taken(np.zeros(0, dtype=np.int64)),
            shaft=self.shaft.taken(stays),
            length_mm=self.length_mm[stays],
            slip_mm=self.slip_mm[stays],
        )

    def carried(self, change: TopologyChange) -> Needle:
        """In what is left of the tissue."""
        shaft, tip = self.shaft.carried(change), self.tip.carried(change)
        stays = ~shaft.lost
        return replace(
            self,
            organ=change.after,
            shaft=shaft.taken(stays),
            length_mm=self.length_mm[stays],
            slip_mm=self.slip_mm[stays],
            tip=tip.taken(~tip.lost),
            where="outside" if tip.lost.any() else self.where,
        )
