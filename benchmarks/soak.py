"""Soak: half an hour of random handling of a real organ: nothing breaks, nothing drifts, memory stays flat.

Hands take hold at random places of the free surface, pull at random up to 35 mm, hold, press with a probe, let go, two
at a time at most, at 30 frames a second of the rehearsal and three iterations a frame, as a replay does it. Every
frame is looked at. Every few acts everything is let go, and the organ has to come back to where it rested.
`ORGANTWIN_SOAK_MINUTES` sets another length; a shorter one runs in the tests.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anatomy.progress import Progress, silent
from benchmarks import Row
from benchmarks.live_scenes import labels_of, organ_mesh
from solver import Body, Interactive
from solver.actions import Act, Grasp, Hold, Probe, Pull, Release
from solver.errors import SolverError
from solver.field import OperativeField

MINUTES = 30.0
#: After so many acts all tools let go.
ROUND = 8
FARTHEST_MM = 35.0


@dataclass
class Watched:
    """What was seen of a soak."""

    frames: int = 0
    rounds: int = 0
    acts: int = 0
    refused: int = 0
    infinite: int = 0
    lowest_jacobian: float = 1.0
    drift_mm: float = 0.0
    memory_MB: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    refusals: set[str] = field(default_factory=set)


def run(progress: Progress) -> list[Row]:
    """Handle the liver of the real abdomen at 20,000 tetrahedra, the sample patient's where that is absent."""
    organ, whose = organ_mesh("liver", 20_000), f"liver of {labels_of('liver')[1]}"
    minutes = float(os.environ.get("ORGANTWIN_SOAK_MINUTES", MINUTES))
    began = time.perf_counter()
    seen = soak(OperativeField(Interactive(Body(organ))), minutes, seed=1, progress=progress)
    what = f"{whose}, {len(organ.tets):,} tetrahedra"
    grown = seen.memory_MB[-1] - seen.memory_MB[len(seen.memory_MB) // 5]
    numbers = (
        ("time of the rehearsal", minutes, "min"),
        ("wall time", (time.perf_counter() - began) / 60.0, "min"),
        ("frames", seen.frames, "1"),
        ("acts", seen.acts, "1"),
        ("acts refused with a sentence", seen.refused, "1"),
        ("frames that were not finite", seen.infinite, "1"),
        ("smallest volume ratio of any tetrahedron in any frame", seen.lowest_jacobian, "1"),
        ("returns to rest", seen.rounds, "1"),
        ("farthest vertex from rest after the worst of them", seen.drift_mm, "mm"),
        ("memory at the end", seen.memory_MB[-1], "MB"),
        ("memory gained in the last four fifths", grown, "MB"),
        ("frame, median", 1000.0 * float(np.median(seen.seconds)), "ms"),
        ("frame, worst", 1000.0 * float(np.max(seen.seconds)), "ms"),
    )
    return [Row("soak", f"{what}: {name}", float(value), unit) for name, value, unit in numbers]


def soak(operated: OperativeField, minutes: float, seed: int, progress: Progress = silent) -> Watched:
    """Handle an organ at random.

    Parameters
    ----------
    operated : OperativeField
        At rest.
    minutes : float
        Of the rehearsal.
    seed : int
    progress : Progress
    """
    rng, seen = np.random.default_rng(seed), Watched()
    rest = operated.live.displacement.copy()
    while operated.live.time_s < 60.0 * minutes:
        for _ in range(ROUND):
            _carry_out(operated, _random_act(operated, rng), seen)
            progress("handling the organ", min(0.999, operated.live.time_s / (60.0 * minutes)))
        for tool in list(operated.live.tools):
            _carry_out(operated, Release(tool, 0.3), seen)
        for name in list(operated.live.loads):
            operated.live.remove_load(name)
        _carry_out(operated, Hold(0.5), seen)
        operated.live.settle()
        seen.rounds += 1
        away = float(np.linalg.norm(operated.live.displacement - rest, axis=1).max())
        seen.drift_mm = max(seen.drift_mm, away)
        seen.memory_MB.append(_memory_MB())
        operated.events = ()
    progress("handling the organ", 1.0)
    return seen


def _carry_out(operated: OperativeField, act: Act, seen: Watched) -> None:
    """One act, frame by frame; a refusal changes nothing and is counted."""
    before = operated.snapshot()
    seen.acts += 1
    try:
        for frame in act.run(operated):
            seen.frames += 1
            seen.infinite += not np.isfinite(frame.displacement).all()
            seen.lowest_jacobian = min(seen.lowest_jacobian, frame.minimum_jacobian)
            seen.seconds.append(frame.seconds)
    except SolverError as error:
        seen.refused += 1
        seen.refusals.add(f"{act.act}: {error}")
        operated.restore(before)


def _random_act(operated: OperativeField, rng: np.random.Generator) -> Act:
    """What a restless hand does next."""
    live, holding = operated.live, list(operated.live.tools)
    choice = rng.random()
    if len(holding) < 2 and (not holding or choice < 0.3):
        return Grasp(_free(holding), point_mm=_place(operated, rng), radius_mm=float(rng.uniform(6.0, 14.0)))
    tool = holding[int(rng.integers(len(holding)))]
    if choice < 0.7:
        start = live.position_of(tool)
        goal = start + rng.normal(size=3) * 12.0
        home = operated.organ.points[live.held_by(tool)].mean(axis=0)
        way = goal - home
        goal = home + way * min(1.0, FARTHEST_MM / max(float(np.linalg.norm(way)), 1e-9))
        x, y, z = (float(v) for v in goal - start)
        return Pull(tool, (x, y, z), float(rng.uniform(0.3, 1.5)))
    if choice < 0.8:
        return Hold(float(rng.uniform(0.1, 0.6)))
    if choice < 0.9:
        return Probe(
            f"probe {rng.integers(1_000_000)}", float(rng.uniform(2.0, 8.0)), point_mm=_place(operated, rng)
        )
    return Release(tool, float(rng.uniform(0.0, 0.6)))


def _free(holding: list[str]) -> str:
    return next(name for name in ("left hand", "right hand") if name not in holding)


def _place(operated: OperativeField, rng: np.random.Generator) -> tuple[float, float, float]:
    """A random place on the outer surface."""
    facet = operated.organ.exterior[int(rng.integers(len(operated.organ.exterior)))]
    x, y, z = (float(v) for v in operated.live.positions[facet].mean(axis=0))
    return x, y, z


def _memory_MB() -> float:
    """What the process occupies now; where that cannot be read, its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return pages * resource.getpagesize() / 1e6
