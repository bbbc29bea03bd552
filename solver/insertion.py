"""Insertion: what is noted while a needle goes in: surfaces and vessels crossed, and how far it is from its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solver.anchors import Anchors
from solver.needle import Needle
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]

# Corrections end when the tip is level with the target within this, or after so many steps.
LEVEL_MM, CORRECTIONS = 0.1, 300


@dataclass(frozen=True, eq=False)
class Insertion:
    """Process beside a needle.

    Parameters
    ----------
    load : str
        Name of the `Needle`.
    target : Anchors
        The place it is to reach.
    target_mm : ndarray, shape (3,)
        Where that was when it set out.
    depth_mm : float
        How far the needle's way has been looked at.
    told : int
        Punctures that were spoken of.
    crossed : frozenset of (str, int)
        Vessels met: system and node of the piece.
    vessels : int
        Vessels met, pieces that hang together counted once.
    speed_mm_s : float
        With which the needle is pushed on once it has arrived, until its tip is level with the target; 0 leaves it.
    arrived : bool
        Whether it was pushed as far as it was meant to.
    arrived_error_mm : float or None
        Distance from the tip to the target when it arrived.
    steps : int
        That it was pushed on.
    reported : bool
        Whether it was told what became of it.
    """

    load: str
    target: Anchors
    target_mm: Array
    depth_mm: float
    told: int = 0
    crossed: frozenset[tuple[str, int]] = frozenset()
    vessels: int = 0
    speed_mm_s: float = 0.0
    arrived: bool = False
    arrived_error_mm: float | None = None
    steps: int = 0
    reported: bool = False

    def advanced(self, operated: OperativeField, seconds: float) -> Insertion:
        """Look at what the needle has done since."""
        needle = operated.live.loads.get(self.load)
        if not isinstance(needle, Needle):
            return self
        for puncture in needle.punctures[self.told :]:
            way = "left" if puncture.leaving else "entered"
            operated.tell(
                "puncture",
                f"'{needle.name}' {way} the tissue at {puncture.force_N:.2f} N, having taken the surface along by "
                f"{puncture.indentation_mm:.1f} mm.",
                force_N=puncture.force_N,
                indentation_mm=puncture.indentation_mm,
                place_mm=[round(float(v), 2) for v in puncture.place_mm],
            )
        seen = replace(self, told=len(needle.punctures), depth_mm=max(self.depth_mm, needle.depth_mm))
        seen = seen._meeting_vessels(operated, needle, self.depth_mm)
        return seen._arriving(operated, needle, seconds)

    def _arriving(self, operated: OperativeField, needle: Needle, seconds: float) -> Insertion:
        """Push the needle on where it is to be corrected, and tell what became of it when it has come to its end."""
        if not self.arrived or self.reported or needle.seen_mm != needle.depth_mm:
            return self
        if self.target.lost.any():
            return replace(self, reported=True)
        vector, along, _ = self.miss(operated)
        first = self.arrived_error_mm
        at = replace(self, arrived_error_mm=float(np.linalg.norm(vector)) if first is None else first)
        if self.speed_mm_s and along >= LEVEL_MM and self.steps < CORRECTIONS:
            if seconds > 0:
                step = min(along, self.speed_mm_s * seconds)
                operated.live.add_load(self.load, needle.pushed(needle.depth_mm + step))
                return replace(at, steps=self.steps + 1)
            return at
        at._report(operated)
        return replace(at, reported=True)

    def _meeting_vessels(self, operated: OperativeField, needle: Needle, since: float) -> Insertion:
        if needle.where != "inside" or needle.depth_mm <= since:
            return self
        start = needle.origin_mm + since * needle.direction
        crossed, count = self.crossed, self.vessels
        for system, tree in operated.vessels.items():
            for node in pieces_met(tree, operated.live.positions, start, needle.tip_mm):
                near = {(system, node), (system, int(tree.parent[node]))}
                near |= {(system, int(child)) for child in np.flatnonzero(tree.parent == node)}
                near |= {(system, int(k)) for k in np.flatnonzero(tree.parent == tree.parent[node])}
                if not near & crossed:
                    count += 1
                    calibre = 2.0 * float(tree.radius[node])
                    operated.tell(
                        "vessel-crossed",
                        f"'{needle.name}' has pierced a vessel of {calibre:.1f} mm ({system.replace('_', ' ')}).",
                        system=system,
                        node=node,
                        calibre_mm=calibre,
                    )
                crossed = crossed | {(system, node)}
        return replace(self, crossed=crossed, vessels=count)

    def miss(self, operated: OperativeField) -> tuple[Array, float, float]:
        """From the tip to where the target is now, mm: the vector, its part along the needle, and across."""
        needle = operated.live.loads[self.load]
        assert isinstance(needle, Needle)
        vector = self.target.points(operated.live.positions)[0] - needle.tip_mm
        along = float(vector @ needle.direction)
        return vector, along, float(np.linalg.norm(vector - along * needle.direction))

    def _report(self, operated: OperativeField) -> None:
        """Tell what became of the needle."""
        needle = operated.live.loads[self.load]
        assert isinstance(needle, Needle)
        vector, along, across = self.miss(operated)
        moved = float(np.linalg.norm(self.target.points(operated.live.positions)[0] - self.target_mm))
        error = float(np.linalg.norm(vector))
        counted = f"{len(needle.punctures)} capsule puncture{'s' * (len(needle.punctures) != 1)}"
        vessels = f"{self.vessels} vessel{'s' * (self.vessels != 1)} crossed"
        operated.tell(
            "needle",
            f"The tip of '{needle.name}' is {error:.1f} mm from its target ({abs(along):.1f} mm "
            f"{'short' if along >= 0 else 'beyond'}, {across:.1f} mm beside), which has moved by {moved:.1f} mm; "
            f"{counted}, {vessels}, peak force {needle.peak_N:.2f} N.",
            targeting_error_mm=error,
            along_mm=along,
            across_mm=across,
            target_moved_mm=moved,
            punctures=len(needle.punctures),
            vessels_crossed=self.vessels,
            peak_force_N=needle.peak_N,
            **({"uncorrected_error_mm": self.arrived_error_mm} if self.speed_mm_s else {}),
        )

    def carried(self, change: TopologyChange) -> Insertion:
        """With the target in what is left of the tissue."""
        return replace(self, target=self.target.carried(change))


def pieces_met(tree: Any, positions: Array, start: Array, end: Array) -> Sequence[int]:
    """Nodes of the pieces of a vessel tree that a straight way comes closer to than their radius.

    Parameters
    ----------
    tree
        With `points(positions)` (n, 3), NaN where a node is gone, `parent` (n,) and `radius` (n,).
    positions : ndarray, shape (m, 3)
        Of the tissue's vertices, mm.
    start, end : ndarray, shape (3,)
    """
    points = np.asarray(tree.points(positions))
    nodes = np.flatnonzero(tree.parent >= 0)
    upper = points[tree.parent[nodes]]
    distance = segment_distance(start, end, upper, points[nodes])
    return [int(node) for node in nodes[distance <= tree.radius[nodes]]]


def segment_distance(start: Array, end: Array, first: Array, second: Array) -> Array:
    """Distance between one segment and others, first and second (k, 3), shape (k,); NaN where an end is NaN.

    Ericson 2005, Real-Time Collision Detection, § 5.1.9.
    """
    d1, d2, r = end - start, second - first, start - first
    a, e = float(d1 @ d1), np.einsum("ij,ij->i", d2, d2)
    f, c, b = np.einsum("ij,ij->i", d2, r), r @ d1, d2 @ d1
    safe_a, safe_e = max(a, 1e-300), np.maximum(e, 1e-300)
    denominator = a * e - b * b
    s = np.where(denominator > 1e-12, (b * f - c * e) / np.maximum(denominator, 1e-300), 0.0)
    s = np.clip(s, 0.0, 1.0)
    t = np.clip((b * s + f) / safe_e, 0.0, 1.0)
    s = np.clip((b * t - c) / safe_a, 0.0, 1.0)
    return np.asarray(np.linalg.norm(r + s[:, None] * d1 - t[:, None] * d2, axis=1))
