"""Suture: a thread is drawn tight through places in the tissue, and tied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solver.actions.act import Act, Vector, checked_duration, checked_name, checked_number, checked_vector
from solver.anchors import Anchors
from solver.errors import SolverError
from solver.suture import Threads, ThreadWatch, strengths_N

if TYPE_CHECKING:
    from solver.field import OperativeField

# No thread of surgery holds more.
STRONGEST_N = 100.0


@dataclass(frozen=True)
class Suture(Act):
    """Draw a thread through two or more places until they are `gap_mm` apart or it pulls with `tension_N`, and tie it.

    Physics: an elastic thread that slides freely in its bites (`solver.suture`); it is drawn in evenly over
    `duration_s` while the hand gives no more than the tension, and the knot keeps what was reached. Cut faces that
    are drawn together press on each other (`solver.self_contact`); other surfaces do not. The default tension is what
    was left in a stitch of a closed wound (1.0 ± 0.3 N in abdominal fascia of pigs, Horeman et al. 2013, PLoS One
    8:e84466). A tension beyond what the tissue stands is told as "pull-through".

    Parameters
    ----------
    name : str
        Of the suture.
    points_mm : tuple of (float, float, float)
        Places of the present shape in the order the thread meets them, LPS millimetres; two make a single stitch.
    tension_N : float
        That the hand gives at most, up to 100.
    gap_mm : float
        Length of the way between two neighbouring places at which the thread is drawn no farther.
    duration_s : float
        Time it takes.
    reinforced : bool
        Whether clips or pledgets spread the force.
    pull_through_N : float, optional
        What the tissue stands, where it is known better than `solver.suture.pull_through`.

    Raises
    ------
    SolverError
        If there are fewer than two points, two neighbours are the same, or a value is out of range. When it begins:
        if a point is off the organ, or the name is taken.
    """

    act: ClassVar[str] = "suture"
    name: str
    points_mm: tuple[Vector, ...]
    tension_N: float = 1.0
    gap_mm: float = 0.5
    duration_s: float = 2.0
    reinforced: bool = False
    pull_through_N: float | None = None

    def __post_init__(self) -> None:
        checked_name(self.name, "The suture's name")
        for value in ("tension_N", "gap_mm"):
            object.__setattr__(self, value, checked_number(getattr(self, value), value, positive=True))
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))
        if self.tension_N > STRONGEST_N:
            raise SolverError(
                f"tension_N is {self.tension_N:g}; no thread holds more than {STRONGEST_N:g} N."
            )
        if self.pull_through_N is not None:
            checked = checked_number(self.pull_through_N, "pull_through_N", positive=True)
            object.__setattr__(self, "pull_through_N", checked)
        object.__setattr__(self, "points_mm", checked_points(self.points_mm, "points_mm"))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Lay the thread loosely through its places."""
        points = np.asarray(self.points_mm)
        anchors = Anchors.at(field.organ, field.live.positions, points, "Point")
        thread = np.zeros(len(points), dtype=np.int64)
        gap = np.array([self.gap_mm * (len(points) - 1)])
        return draw(
            field, self.name, anchors, thread, gap, self.tension_N, self.reinforced, self.pull_through_N
        )


def draw(
    field: OperativeField,
    name: str,
    anchors: Anchors,
    thread: np.ndarray,
    gap_mm: np.ndarray,
    tension_N: float,
    reinforced: bool,
    pull_through_N: float | None,
) -> Callable[[float], None]:
    """Lay threads loosely and return what draws them to a share of the way to their gaps."""
    live = field.live
    if name in live.loads:
        raise SolverError(f"There is already something named '{name}' on the organ; give another name.")
    strength = strengths_N(field.organ, anchors, thread, reinforced, pull_through_N)
    threads = Threads.through(name, anchors, thread, live.positions, tension_N, strength)
    start = threads.free_mm
    end = np.minimum(gap_mm, start)
    live.add_load(name, threads)
    field.processes = {**field.processes, name: ThreadWatch(name)}

    def carry(share: float) -> None:
        now = live.loads[name]
        assert isinstance(now, Threads)
        live.add_load(name, now.drawn(start + share * (end - start), share >= 1.0))

    return carry


def checked_points(value: object, what: str) -> tuple[Vector, ...]:
    """At least two points, no two neighbours the same."""
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        raise SolverError(f"{what} is {value!r}; give at least two points of three numbers each.")
    points = tuple(checked_vector(point, f"Point {i + 1} of {what}") for i, point in enumerate(value))
    same = [i for i in range(len(points) - 1) if points[i] == points[i + 1]]
    if same:
        raise SolverError(f"Points {same[0] + 1} and {same[0] + 2} of {what} are the same; leave one out.")
    return points
