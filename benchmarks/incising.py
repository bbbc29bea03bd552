"""Cutting live tissue: what each part of a change of topology takes, and what frames do meanwhile.

A liver of a real CT (TotalSegmentator's reference files, in ../shared/scans) of 20,000 tetrahedra is held at its
lower edge and moved to and fro at 60 frames a second while a blade cuts it a dozen times. From the end of each stroke
to the frame in which the tissue is open, cut, body, discretisation and factor are made in another thread. Each part
is measured alone as well, nothing else running.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from anatomy.progress import Progress
from benchmarks import Row
from benchmarks.cutting import real_organs
from solver.actions import Incise
from solver.averaged import Averaged
from solver.body import Body
from solver.cutting import cut
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.specimen import divide
from solver.successor import factored

Array = NDArray[np.float64]
T = TypeVar("T")

CUTS, FRAME_S, DEPTH_MM, LENGTH_MM, SWING_MM, SEED = 12, 1.0 / 60.0, 25.0, 70.0, 8.0, 7


def run(progress: Progress) -> list[Row]:
    """Cut the liver live, and part by part."""
    organ = real_organs()["liver"]
    field = OperativeField(Interactive(Body(organ), progress=progress))
    name = f"liver of {len(organ.tets):,} tetrahedra"
    rng = np.random.default_rng(SEED)
    # Compiled once, before anything is measured.
    _parts(field, _stroke(field, rng))
    parts = [_parts(field, _stroke(field, rng)) for _ in range(CUTS)]
    rows = [
        Row("incising", f"{name}: {part}", 1000.0 * float(np.median([p[part] for p in parts])), "ms")
        for part in parts[0]
    ]
    waits, work, frames, idle = _live(field, rng, progress)
    rows += [
        Row(
            "incising",
            f"{name}: end of the stroke to open tissue, median",
            1000 * float(np.median(waits)),
            "ms",
        ),
        Row("incising", f"{name}: end of the stroke to open tissue, worst", 1000 * max(waits), "ms"),
        Row("incising", f"{name}: processor time of it, median", 1000 * float(np.median(work)), "ms"),
        Row("incising", f"{name}: frame meanwhile, median", 1000 * float(np.median(frames)), "ms"),
        Row("incising", f"{name}: frame meanwhile, worst", 1000 * max(frames), "ms"),
        Row("incising", f"{name}: frame otherwise, median", 1000 * float(np.median(idle)), "ms"),
    ]
    progress("Cutting live tissue", 1.0)
    return rows


def _stroke(field: OperativeField, rng: np.random.Generator) -> Incise:
    """A stroke across the present surface, at a random place."""
    exterior, positions = field.organ.exterior, field.live.positions
    facet = exterior[field.live.body.grown][rng.integers(int(field.live.body.grown.sum()))]
    a, b, c = positions[facet]
    normal = np.cross(b - a, c - a)
    along = np.cross(normal, rng.normal(size=3))
    along *= LENGTH_MM / 2 / np.linalg.norm(along)
    middle = (a + b + c) / 3
    path = (tuple((middle - along).tolist()), tuple((middle + along).tolist()))
    return Incise("scalpel", path, DEPTH_MM, tuple((-normal).tolist()))


def _parts(field: OperativeField, act: Incise) -> dict[str, float]:
    """Seconds of every part of a change, one after the other; the field stays as it is."""
    live, seconds = field.live, dict[str, float]()
    body, positions = live.body, live.positions

    def timed(part: str, job: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = job()
        seconds[part] = time.perf_counter() - started
        return result

    sheet = act.sheet(body.organ.exterior, positions)
    change = timed("cut", lambda: cut(body.organ, positions, sheet, field.floor_mm, (body.reference_points,)))
    held = np.zeros(0, dtype=np.int64)
    division = timed("body, and what is held", lambda: divide(body, change, None, held))
    assert division is not None
    after = division.body
    averaged = timed("discretisation", lambda: Averaged(after))
    at = change.interpolate(live.displacement + body.scanned_displacement)
    factor = timed(
        "order of elimination",
        lambda: live.snapshot().factor.extended(
            averaged.pattern, averaged.node, averaged.points, averaged.negative, change.parents
        ),
    )
    timed("tangent and factor", lambda: factored(averaged, factor, at, {}, []))
    return seconds


def _live(
    field: OperativeField, rng: np.random.Generator, progress: Progress
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Seconds to each open cut, of the other thread's work on it, of frames in between, and of frames otherwise."""
    point = _lowest(field.organ, field.live.positions)
    field.live.grasp("grasper", point, 15.0)
    waits: list[float] = []
    work: list[float] = []
    busy: list[float] = []
    idle: list[float] = []
    number = 0

    def frame(times: list[float]) -> None:
        nonlocal number
        number += 1
        shift = SWING_MM * np.sin(number / 20.0)
        started = time.perf_counter()
        field.live.move("grasper", point + np.array([0.0, -SWING_MM, shift]))
        field.step(budget_s=0.8 * FRAME_S, advance_s=FRAME_S)
        spent = time.perf_counter() - started
        times.append(spent)
        time.sleep(max(0.0, FRAME_S - spent))

    while len(waits) < CUTS:
        for _ in range(20):
            frame(idle)
        try:
            carry = _stroke(field, rng).begin(field)
        except SolverError:
            continue  # misses, or opens nothing
        before, spent = field.live.topology, field.live.beside(time.thread_time).result()
        started = time.perf_counter()
        carry(1.0)
        while field.live.topology == before and not _refused(field):
            frame(busy)
        waits.append(time.perf_counter() - started)
        work.append(field.live.beside(time.thread_time).result() - spent)
        progress("Cutting live tissue", len(waits) / CUTS)
    return waits, work, busy, idle


def _refused(field: OperativeField) -> bool:
    return bool(field.events) and field.events[-1].kind == "refused"


def _lowest(organ: OrganMesh, positions: Array) -> Array:
    return np.asarray(positions[organ.points[:, 2].argmin()])
