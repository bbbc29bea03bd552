"""Pointing: acts that are told by pointing at tissue: a click for each point they need, or a stroke along a path.

A `Plan` says what an act asks of a person: clicks with a hint each, or one stroke, and a few numbers; and how an act
is made of the answers. What can be pointed at depends on the act: the surface, or the vessels and tumours inside, which
the eye sees through translucent tissue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from solver.actions import (
    Ablate,
    Act,
    Clamp,
    Declamp,
    Desufflate,
    Divide,
    Incise,
    InsertNeedle,
    Insufflate,
    Mobilise,
    Palpate,
    Probe,
    Release,
    Resect,
    Respond,
    Staple,
    Suture,
    Tilt,
    WithdrawNeedle,
)
from solver.actions.act import Vector
from solver.errors import SolverError
from viewer.camera import Eye
from viewer.picking import Hit
from viewer.scene import Scene

#: Points of a stroke are so far apart at least, mm.
STROKE_STEP_MM = 4.0


@dataclass(frozen=True)
class Number:
    """A number an act asks for.

    Parameters
    ----------
    name : str
        What a person calls it.
    unit : str
    value, low, high, step : float
        Default and bounds.
    """

    name: str
    unit: str
    value: float
    low: float
    high: float
    step: float = 1.0


Maker = Callable[[Sequence[Hit], Mapping[str, float], int], Act]


@dataclass(frozen=True)
class Plan:
    """What an act asks of a person, and how it is made.

    Parameters
    ----------
    name : str
        As in the menu.
    make : callable
        From what was pointed at, the numbers by name, and a running number for names of tools, to the act.
    hints : tuple of str
        One for each click; for a stroke one.
    stroke : bool
        Whether it is drawn along a path.
    numbers : tuple of Number
    inside : tuple of bool
        For each click, whether it is at a vessel or tumour rather than at the surface.
    """

    name: str
    make: Maker
    hints: tuple[str, ...] = ()
    stroke: bool = False
    numbers: tuple[Number, ...] = ()
    inside: tuple[bool, ...] = field(default=())


def _at(hit: Hit) -> Vector:
    x, y, z = (float(v) for v in hit.point_mm)
    return x, y, z


def _plane(hits: Sequence[Hit]) -> Act:
    points = np.array([hit.point_mm for hit in hits])
    normal = np.cross(points[1] - points[0], points[2] - points[0])
    x, y, z = (float(v) for v in normal / max(float(np.linalg.norm(normal)), 1e-9))
    return Resect(by="plane", point_mm=_at(hits[0]), normal=(x, y, z), keep_mm=_at(hits[3]))


_DEPTH = Number("Depth", "mm", 20.0, 1.0, 100.0)

#: Every act but grasp and pull, in the order of the menu; None is a separator.
PLANS: tuple[Plan | None, ...] = (
    Plan(
        "Probe",
        lambda hits, n, k: Probe(f"probe {k}", n["Depth"], point_mm=_at(hits[0])),
        ("Click where to press",),
        numbers=(Number("Depth", "mm", 8.0, 1.0, 40.0),),
    ),
    Plan(
        "Palpate",
        lambda hits, n, k: Palpate(f"probe {k}", tuple(map(_at, hits)), depth_mm=n["Depth"]),
        ("Draw the probe's way over the surface",),
        stroke=True,
        numbers=(Number("Depth", "mm", 4.0, 0.5, 20.0, 0.5),),
    ),
    None,
    Plan(
        "Incise",
        lambda hits, n, k: Incise("scalpel", tuple(map(_at, hits)), n["Depth"]),
        ("Draw the cut over the surface",),
        stroke=True,
        numbers=(_DEPTH,),
    ),
    Plan(
        "Resect by a plane",
        lambda hits, n, k: _plane(hits),
        (
            "Click a first point of the plane",
            "Click a second point of the plane",
            "Click a third point of the plane",
            "Click the side that stays",
        ),
    ),
    Plan(
        "Resect around a tumour",
        lambda hits, n, k: Resect(
            "margin", structure=hits[0].structure, margin_mm=n["Margin"], point_mm=_at(hits[0])
        ),
        ("Click the tumour",),
        numbers=(Number("Margin", "mm", 10.0, 1.0, 40.0),),
        inside=(True,),
    ),
    Plan(
        "Resect what the clamps cut off",
        lambda hits, n, k: Resect(by="territory", system=hits[0].structure),
        ("Click the vessel that is clamped",),
        inside=(True,),
    ),
    None,
    Plan(
        "Clamp a vessel",
        lambda hits, n, k: Clamp(f"clamp {k}", system=hits[0].structure, point_mm=_at(hits[0])),
        ("Click the vessel",),
        inside=(True,),
    ),
    Plan("Clamp all inflow (Pringle)", lambda hits, n, k: Clamp("Pringle", pringle=True)),
    Plan(
        "Divide a vessel",
        lambda hits, n, k: Divide(hits[0].structure, point_mm=_at(hits[0])),
        ("Click the vessel",),
        inside=(True,),
    ),
    None,
    Plan(
        "Insert a needle",
        lambda hits, n, k: InsertNeedle(f"needle {k}", _at(hits[0]), _at(hits[1])),
        ("Click where it enters", "Click the target"),
        inside=(False, True),
    ),
    Plan(
        "Ablate",
        lambda hits, n, k: Ablate(f"antenna {k}", _at(hits[1]), _at(hits[0]), n["Power"], 60.0 * n["Time"]),
        ("Click where the antenna enters", "Click the target"),
        numbers=(Number("Power", "W", 60.0, 5.0, 150.0, 5.0), Number("Time", "min", 5.0, 0.5, 30.0, 0.5)),
        inside=(False, True),
    ),
    None,
    Plan(
        "Suture",
        lambda hits, n, k: Suture(f"suture {k}", tuple(map(_at, hits)), n["Tension"]),
        ("Click one side", "Click the other side"),
        numbers=(Number("Tension", "N", 1.0, 0.1, 10.0, 0.1),),
    ),
    Plan(
        "Staple",
        lambda hits, n, k: Staple(f"staples {k}", tuple(map(_at, hits))),
        ("Draw the line of staples along the cut",),
        stroke=True,
    ),
    None,
    Plan(
        "Insufflate",
        lambda hits, n, k: Insufflate(n["Pressure"]),
        numbers=(Number("Pressure", "mmHg", 12.0, 1.0, 30.0),),
    ),
    Plan("Let the gas out", lambda hits, n, k: Desufflate()),
    Plan(
        "Tilt head up",
        lambda hits, n, k: Tilt(n["Tilt"], "reverse trendelenburg"),
        numbers=(Number("Tilt", "°", 20.0, 1.0, 90.0),),
    ),
    Plan(
        "Tilt left side down",
        lambda hits, n, k: Tilt(n["Tilt"], "left side down"),
        numbers=(Number("Tilt", "°", 20.0, 1.0, 90.0),),
    ),
    None,
    Plan("Tissue moves in time", lambda hits, n, k: Respond("dynamic")),
    Plan("Tissue answers at once", lambda hits, n, k: Respond("quasi-static")),
)


def mobilising(name: str) -> Plan:
    """The plan to divide one attachment."""
    return Plan(f"Divide the {name}", lambda hits, n, k: Mobilise((name,)))


def putting_away(acts: Iterable[Act]) -> list[Plan]:
    """Plans to take away what acts have left on the organ: probes, needles and clamps, the newest first."""
    there: dict[str, Act] = {}
    for act in acts:
        match act:
            case Probe() | Palpate():
                there[f"Take {act.tool} away"] = Release(act.tool)
            case InsertNeedle():
                there[f"Withdraw {act.tool}"] = WithdrawNeedle(act.tool)
            case Clamp():
                there[f"Open {act.tool}"] = Declamp(act.tool)
            case Release() | WithdrawNeedle() | Declamp():
                there = {
                    words: left
                    for words, left in there.items()
                    if not (isinstance(left, type(act)) and left.tool == act.tool)
                }
            case _:
                pass
    return [Plan(words, _always(left)) for words, left in reversed(there.items())]


def _always(act: Act) -> Maker:
    """Make one act, whatever was pointed at."""
    return lambda hits, n, k: act


class Pointing:
    """An act being pointed out.

    Parameters
    ----------
    scene : Scene
        What is pointed at.
    plan : Plan
    numbers : callable
        Gives the numbers by name, when all points are known.
    count : int
        Running number for the names of tools.
    perform : callable
        Takes the act when all is said.
    refuse : callable
        Takes a sentence where no act can be made of what was pointed at.
    """

    def __init__(
        self,
        scene: Scene,
        plan: Plan,
        numbers: Callable[[], Mapping[str, float]],
        count: int,
        perform: Callable[[Act], None],
        refuse: Callable[[str], None],
    ) -> None:
        self.scene, self.plan, self.count = scene, plan, count
        self._numbers = numbers
        self._perform, self._refuse = perform, refuse
        self.hits: list[Hit] = []
        self.hit: Hit | None = None
        self.dragging = self.finished = False

    holds = False

    @property
    def hint(self) -> str:
        """What a person is to do next."""
        return "" if self.finished else self.plan.hints[0 if self.plan.stroke else len(self.hits)]

    def press(self, eye: Eye, x: float, y: float, along: bool = False) -> bool:
        """A click: the next point, or the beginning of the stroke; False leaves it to the camera."""
        hit = self._pick(eye, x, y)
        if hit is None:
            return False
        self._add(hit)
        self.dragging = self.plan.stroke
        if not self.plan.stroke and len(self.hits) == len(self.plan.hints):
            self._finish()
        return True

    def drag(self, eye: Eye, x: float, y: float, along: bool = False) -> None:
        """The stroke goes on."""
        hit = self._pick(eye, x, y)
        if self.dragging and hit is not None:
            way = float(np.linalg.norm(hit.point_mm - self.hits[-1].point_mm))
            if way >= STROKE_STEP_MM:
                self._add(hit)

    def notch(self, eye: Eye, steps: float) -> bool:
        """The wheel is the camera's."""
        return False

    def let_go_of_mouse(self) -> None:
        """The end of the stroke; one of a single point is begun again."""
        self.dragging = False
        if len(self.hits) >= 2:
            self._finish()
        else:
            self.cancel()

    def cancel(self) -> None:
        """Forget what was pointed at."""
        self.hits.clear()
        self.scene.mark([])

    def _pick(self, eye: Eye, x: float, y: float) -> Hit | None:
        wanted = self.plan.inside[len(self.hits)] if self.plan.inside and not self.plan.stroke else False
        return self.scene.pick_inside(*eye.ray(x, y)) if wanted else self.scene.pick(*eye.ray(x, y))

    def _add(self, hit: Hit) -> None:
        self.hit = hit
        self.hits.append(hit)
        points: list[NDArray[np.float64]] = [each.point_mm for each in self.hits]
        self.scene.mark(points, joined=self.plan.stroke)

    def _finish(self) -> None:
        self.finished = True
        try:
            act = self.plan.make(self.hits, self._numbers(), self.count)
        except SolverError as error:
            self._refuse(str(error))
        else:
            self._perform(act)
        self.scene.mark([])
