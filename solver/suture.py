"""Suture: threads and staples that draw places in the tissue together.

A thread runs freely through its bites, so that one tension S acts along all of it: with the length L(x) of the way
through its points and the free length l of thread between the ends, S = k (L − l) while taut and 0 while slack. While
it is pulled tight, the hand gives no more than a chosen tension; then the knot fixes l such that this tension is kept,
and what pulls the tissue apart later raises it. A staple is the same, closed to its height by a machine whose force is
not limited.

A thread that is pulled too hard cuts through the tissue. What it stands was measured as the thread's tension when the
tissue failed; beyond it, the surgeon is warned, once for each thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.anchors import Anchors
from solver.live_load import LiveLoad
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Stiffness of a thread in its bites, mN/mm. Alone, rapid polyglactin 910 of size 3-0 would have 35,000 over 10 mm
# (initial modulus 9320 MPa, Naleway et al. 2015, J Biomed Mater Res B 103:735; 0.22 mm across), a thousand times that
# of the tissue around a bite, and is slow to converge with; at a tenth of it 1 N stretches a stitch by 0.3 mm.
STIFFNESS_MN_MM = 3500.0
# The direction of a thread between two points is blurred within this distance, mm.
BLUR_MM = 0.05


@dataclass(frozen=True)
class PullThrough:
    """Tension of a thread at which it cuts through the tissue.

    Parameters
    ----------
    simple_N : float
        A plain stitch.
    reinforced_N : float
        Over a clip or pledget that spreads the force.
    source, confidence : str
    """

    simple_N: float
    reinforced_N: float
    source: str
    confidence: str


_KIDNEY = (
    3.62,
    11.06,
    "Zanghi et al. 2020, J Robot Surg 14: porcine kidney, medians before the tissue failed, running and over clips",
)


def pull_through(structure: str) -> PullThrough:
    """What a stitch stands in a structure.

    Parameters
    ----------
    structure : str
        Anything but kidney takes the value of kidney, the only parenchyma of which one was found: "transferred".
    """
    return PullThrough(*_KIDNEY, "measured" if structure.startswith("kidney") else "transferred")


@dataclass(frozen=True, eq=False)
class Threads(LiveLoad):
    """Threads or staples of one act.

    Parameters
    ----------
    name : str
        Of the act, for forces and messages.
    anchors : Anchors
        Places the threads run through, those of one thread after another.
    thread : ndarray, shape (k,), int64
        Thread of each place, ascending from 0.
    free_mm : ndarray, shape (t,), float64
        Free length of each thread.
    stiffness_mN_mm : ndarray, shape (t,), float64
    limit_mN : ndarray, shape (t,), float64
        Tension the hand gives at most; infinite once tied.
    strength_N : ndarray, shape (t,), float64
        Tension at which each cuts through.
    tying : bool
        Whether the knot is tied when the present step is accepted.
    """

    coupled: ClassVar[bool] = True

    name: str
    anchors: Anchors
    thread: Ints
    free_mm: Array
    stiffness_mN_mm: Array
    limit_mN: Array
    strength_N: Array
    tying: bool = False

    @staticmethod
    def through(
        name: str, anchors: Anchors, thread: Ints, positions: Array, limit_N: float, strength_N: Array
    ) -> Threads:
        """Threads that lie loose along the ways between places at some positions, shape (n, 3), mm."""
        limit = np.full(int(thread.max()) + 1, 1000.0 * limit_N)
        loose = Threads(name, anchors, thread, np.zeros_like(limit), np.ones_like(limit), limit, strength_N)
        length = loose.lengths_mm(positions)
        return replace(loose, free_mm=length, stiffness_mN_mm=np.full(len(length), STIFFNESS_MN_MM))

    def drawn(self, free_mm: Array, last: bool) -> Threads:
        """The threads drawn to free lengths, shape (t,), mm; the last draw is followed by the knot."""
        return replace(self, free_mm=free_mm, tying=last)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Threads of which a place was cut away, shape (t,); they pull no more."""
        return np.bincount(self.thread[self.anchors.lost], minlength=len(self.free_mm)) > 0

    def _segments(self, positions: Array) -> tuple[Ints, Array, Array]:
        """First place of each segment, its vector (s, 3) and its blurred length (s,)."""
        first = np.flatnonzero(self.thread[1:] == self.thread[:-1])
        points = self.anchors.points(positions)
        way = points[first + 1] - points[first]
        return first, way, np.sqrt((way**2).sum(axis=1) + BLUR_MM**2)

    def lengths_mm(self, positions: Array) -> Array:
        """Length of the way through the places of each thread, shape (t,), mm."""
        first, _, length = self._segments(positions)
        return np.bincount(self.thread[first], length, minlength=len(self.free_mm))

    def tensions_N(self, positions: Array) -> Array:
        """Tension of each thread, N, shape (t,)."""
        return self._tension(self.lengths_mm(positions)) / 1000.0

    def _tension(self, length: Array) -> Array:
        taut = np.maximum(self.stiffness_mN_mm * (length - self.free_mm), 0.0)
        return np.where(self.lost, 0.0, np.minimum(taut, self.limit_mN))

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Σ ∫ S dL and its gradient."""
        first, way, length = self._segments(positions)
        total = np.bincount(self.thread[first], length, minlength=len(self.free_mm))
        tension = self._tension(total)
        beyond = np.where(tension > 0, total - self.free_mm - tension / self.stiffness_mN_mm, 0.0)
        energy = float(np.sum(0.5 * tension**2 / self.stiffness_mN_mm + tension * np.maximum(beyond, 0.0)))
        pull = (tension[self.thread[first]] / length)[:, None] * way
        force = np.zeros((len(self.thread), 3))
        np.add.at(force, first + 1, pull)
        np.add.at(force, first, -pull)
        return energy, self.anchors.spread(force, len(positions))

    def coupled_stiffness(self, positions: Array, convex: bool = False) -> tuple[Ints, Array]:
        """k along each taut thread that the hand does not let slip, and what its tension holds across it."""
        first, way, length = self._segments(positions)
        total = np.bincount(self.thread[first], length, minlength=len(self.free_mm))
        tension = self._tension(total)
        if not tension.any():
            return np.zeros(0, dtype=np.int64), np.zeros((0, 0))
        count = len(self.thread)
        unit = way / length[:, None]
        slope = np.zeros((len(self.free_mm), count, 3))
        np.add.at(slope, (self.thread[first], first + 1), unit)
        np.add.at(slope, (self.thread[first], first), -unit)
        stiff = np.where((tension > 0) & (tension < self.limit_mN), self.stiffness_mN_mm, 0.0)
        between = np.einsum("t,tki,tlj->kilj", stiff, slope, slope, optimize=True)
        across = np.eye(3) - unit[:, :, None] * unit[:, None, :]
        across *= (tension[self.thread[first]] / length)[:, None, None]
        block = np.zeros((count, count, 3, 3))
        np.add.at(block, (first, first), across)
        np.add.at(block, (first + 1, first + 1), across)
        np.add.at(block, (first, first + 1), -across)
        np.add.at(block, (first + 1, first), -across)
        return self.anchors.stiffness(between + block.transpose(0, 2, 1, 3))

    def forces_N(self, positions: Array) -> dict[str, Array]:
        """Nothing: a suture is held by no hand, its forces cancel."""
        return {}

    def committed(self, positions: Array, time_s: float) -> Threads:
        """Tied, where that was to be: of such a length that the tension is kept."""
        if not self.tying:
            return self
        length = self.lengths_mm(positions)
        slipped = np.isfinite(self.limit_mN)
        kept = length - np.where(slipped, self.limit_mN, 0.0) / self.stiffness_mN_mm
        free = np.where(slipped, np.maximum(self.free_mm, kept), self.free_mm)
        return replace(self, free_mm=free, limit_mN=np.full(len(free), np.inf), tying=False)

    def carried(self, change: TopologyChange) -> Threads:
        """On what is left of the tissue."""
        return replace(self, anchors=self.anchors.carried(change))


@dataclass(frozen=True)
class ThreadWatch:
    """Process that says when a thread is about to cut through, and when it went with the tissue that held it.

    Parameters
    ----------
    load : str
        Name of the `Threads`.
    warned, gone : frozenset of int
        Threads that were spoken of.
    """

    load: str
    warned: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()

    def advanced(self, operated: OperativeField, seconds: float) -> ThreadWatch:
        """Look at every thread as it is now."""
        threads = operated.live.loads.get(self.load)
        if not isinstance(threads, Threads):
            return self
        gone = frozenset(np.flatnonzero(threads.lost).tolist())
        for number in sorted(gone - self.gone):
            operated.tell(
                "suture-lost",
                f"Thread {number + 1} of '{threads.name}' is gone: the tissue that held it was cut away.",
                thread=number + 1,
            )
        tension = threads.tensions_N(operated.live.positions)
        over = frozenset(np.flatnonzero(tension > threads.strength_N).tolist())
        for number in sorted(over - self.warned):
            operated.tell(
                "pull-through",
                f"Thread {number + 1} of '{threads.name}' pulls with {tension[number]:.2f} N and will cut through: "
                f"the tissue stands {threads.strength_N[number]:.2f} N.",
                thread=number + 1,
                tension_N=float(tension[number]),
                strength_N=float(threads.strength_N[number]),
            )
        return replace(self, warned=self.warned | over, gone=gone)

    def carried(self, change: TopologyChange) -> ThreadWatch:
        """The same: the threads themselves are carried."""
        return self


def strengths_N(
    organ: OrganMesh, anchors: Anchors, thread: Ints, reinforced: bool, given_N: float | None
) -> Array:
    """Tension each thread stands, N, shape (t,): the least of its places."""
    found = np.full(int(thread.max()) + 1, np.inf)
    for number, region in zip(thread, organ.region[anchors.tet], strict=True):
        own = pull_through(organ.structures[int(region)])
        strength = own.reinforced_N if reinforced else own.simple_N
        found[number] = min(found[number], strength if given_N is None else given_N)
    return found
