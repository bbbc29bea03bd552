"""The live tier on real organs: frames a second, and how far each frame is from where it should be.

Livers of 5,000, 20,000 and 100,000 tetrahedra and a kidney (`benchmarks.live_scenes`) are pulled 30 mm in 3 s and
palpated, in as many frames a second as are aimed at and one quasi-Newton iteration a frame, as a replay does it. Two
errors are kept apart. How far the *iteration* is: at ten instants the state is taken to convergence on the same mesh
and element, and after 1 s an independent Newton's method confirms it on the smallest mesh. How far the
*discretisation* is: `benchmarks.live_discretisation`. What others do with the same mesh: `benchmarks.peers_soft_body`.

A back-solve can be no faster than memory delivers the factor twice. The bandwidth is measured in the same run by adding
up an array as large as the factor, with as many threads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from anatomy.progress import Progress
from benchmarks import Row, live_discretisation, peers_soft_body
from benchmarks.live_scenes import LABELS, SECONDS, Array, Movement, labels_of, organ_mesh, palpation, pull
from solver import Body, Interactive, pairs
from solver.averaged import Averaged
from solver.errors import SolverError
from solver.factor import Factor, definite_factor
from solver.live_error import reference_error

#: Organ, largest number of tetrahedra, frames a second of the script (which is what is aimed at).
CASES = (("liver", 5_000, 120), ("liver", 20_000, 60), ("liver", 100_000, 15), ("kidney", 20_000, 60))
INSTANTS, CONVERGED_MM = 10, 1e-3
CONFIRMED_TETS = 5_000


def run(progress: Progress) -> list[Row]:
    """Every case, the comparison of discretisations, and the peers."""
    cases = [case for case in CASES if case[0] == "liver" or LABELS.is_file()]
    rows = [Row("interactive", "cores this process may use", float(pairs.THREADS), "1")]
    rows.append(Row("interactive", "load of this machine as the run began", os.getloadavg()[0], "1"))
    for done, (organ, tets, rate) in enumerate(cases):
        mesh = organ_mesh(organ, tets)
        what = f"{organ} of {labels_of(organ)[1]}, {len(mesh.tets):,} tetrahedra"
        progress(f"Moving the {what}", 0.6 * done / len(cases))
        began = time.perf_counter()
        live = Interactive(Body(mesh))
        ready = time.perf_counter() - began
        rows.append(Row("interactive", f"{what}: time until ready, stress-free shape included", ready, "s"))
        for movement in (pull(mesh), palpation(mesh)):
            confirm = tets <= CONFIRMED_TETS and movement.name == "pull"
            rows += moved(live, movement, rate, f"{what}, {movement.name} at {rate} frames/s", confirm)
        rows += solve_costs(mesh, what)
    progress("Comparing discretisations", 0.6)
    rows += live_discretisation.rows()
    progress("Letting the peers pull", 0.9)
    rows += peers_soft_body.rows()
    progress("Moved live tissue", 1.0)
    return rows


def moved(live: Interactive, movement: Movement, rate: int, what: str, confirm: bool) -> list[Row]:
    """Rows of one movement."""
    live.reset()
    live.grasp("tool", movement.point_mm, movement.radius_mm)
    frames = int(SECONDS * rate)
    seconds, processor, iterations, errors = [], [], [], []
    refused: list[str] = []
    confirmed: list[float] = []
    for k in range(1, frames + 1):
        live.move("tool", movement.point_mm + movement.path(SECONDS * k / frames))
        began, spent = time.perf_counter(), time.process_time()
        frame = live.step(iterations=1, advance_s=1 / rate)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - spent)
        iterations.append(frame.iterations)
        if confirm and k == frames // 3:
            before = live.snapshot()
            live.settle(CONVERGED_MM)
            confirmed.append(reference_error(live)[1])
            live.restore(before)
        if k % (frames // INSTANTS) == 0:
            try:
                errors.append(_iteration_error(live, frame.forces_N["tool"]))
            except SolverError as error:
                refused.append(f"at {SECONDS * k / frames:.1f} s: {error}")
                break
    largest_force = max(e[3] for e in errors)
    mean, farthest = max(e[0] for e in errors), max(e[1] for e in errors)
    force = max(e[2] for e in errors) / largest_force
    worst = float(np.percentile(seconds, 99))
    numbers = [
        ("frames a second, median", 1 / float(np.median(seconds)), "1/s"),
        ("frames a second, worst 1 %", 1 / worst, "1/s"),
        ("frame, median", 1000 * float(np.median(seconds)), "ms"),
        ("frame, 99th percentile", 1000 * worst, "ms"),
        ("processor time a frame, all threads, median", 1000 * float(np.median(processor)), "ms"),
        ("iterations a frame, mean", float(np.mean(iterations)), "1"),
        ("largest force", largest_force, "N"),
        ("iteration error, mean over vertices, worst of ten instants", mean, "mm"),
        ("iteration error, farthest vertex, worst of ten instants", farthest, "mm"),
        ("iteration error of the force, worst of ten instants, of the largest force", 100 * force, "%"),
    ]
    numbers += [(f"ended before its time, {told}", float(len(errors)), "1") for told in refused]
    if confirmed:
        check = "farthest vertex from an independent Newton's method, once converged, after 1 s"
        numbers.append((check, confirmed[0], "mm"))
    live.reset()
    return [Row("interactive", f"{what}: {name}", value, unit) for name, value, unit in numbers]


def _iteration_error(live: Interactive, force: Array) -> tuple[float, float, float, float]:
    """Mean and largest distance to the converged state, mm, error of the force and the force, N."""
    before, u = live.snapshot(), live.displacement
    converged = live.settle(CONVERGED_MM)
    error = np.linalg.norm(live.displacement - u, axis=1)
    goal = converged.forces_N["tool"]
    live.restore(before)
    return (
        float(error.mean()), float(error.max()),
        float(np.linalg.norm(force - goal)), float(np.linalg.norm(goal)),
    )  # fmt: skip


def solve_costs(mesh: OrganMesh, what: str) -> list[Row]:
    """What a factorisation, an order kept through a cut, an evaluation and a back-solve take."""
    averaged = Averaged(Body(mesh))
    empty = Factor(averaged.pattern, averaged.node, averaged.points, averaged.negative)
    rest = np.zeros_like(averaged.points)
    diagonal = averaged.pattern.indptr[: rest.size]
    values = averaged.tangent(rest)
    factor = definite_factor(empty, values, diagonal)
    same = np.repeat(np.arange(averaged.vertices)[:, None], 2, axis=1)
    system = averaged.pattern, averaged.node, averaged.points, averaged.negative
    right = np.zeros(len(factor.order))
    right[: rest.size] = averaged.weight.ravel()
    megabytes = factor.megabytes
    solve = best(lambda: factor.solve(right), 30)
    bandwidth = read_bandwidth(megabytes)
    bound = 2 * megabytes / 1000 / bandwidth
    numbers = (
        ("factor", megabytes, "MB"),
        ("factoring the tangent", 1000 * best(lambda: definite_factor(empty, values, diagonal), 3), "ms"),
        ("keeping the order through a cut", 1000 * best(lambda: empty.extended(*system, same), 3), "ms"),
        ("tangent", 1000 * best(lambda: averaged.tangent(rest), 3), "ms"),
        ("energy and forces", 1000 * best(lambda: averaged.evaluate(rest, 0.1), 20), "ms"),
        ("back-solve", 1000 * solve, "ms"),
        ("memory bandwidth, reading as much as the factor", bandwidth, "GB/s"),
        ("back-solve, bound by that bandwidth", 1000 * bound, "ms"),
        ("back-solve over its bound", solve / bound, "1"),
    )
    return [Row("interactive", f"{what}: {name}", value, unit) for name, value, unit in numbers]


def best(work: Callable[[], object], times: int) -> float:
    """Shortest wall time of several runs after a first one, s."""
    work()
    found = np.inf
    for _ in range(times):
        began = time.perf_counter()
        work()
        found = min(found, time.perf_counter() - began)
    return found


def read_bandwidth(megabytes: float) -> float:
    """GB/s at which arrays of this size together are read: the most of one thread and as many as a back-solve has."""
    most = 0.0
    for threads in range(1, pairs.THREADS + 1):
        parts = [np.ones(int(megabytes * 1e6 / 4 / threads), dtype=np.float32) for _ in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            seconds = best(partial(_read, parts, pool), 12)
        most = max(most, sum(part.nbytes for part in parts) / 1e9 / seconds)
    return most


def _read(parts: list[NDArray[np.float32]], pool: ThreadPoolExecutor) -> None:
    """Read one part here and the others beside it."""
    others = [pool.submit(_total, part) for part in parts[1:]]
    _total(parts[0])
    for other in others:
        other.result()


@numba.njit(nogil=True, fastmath=True)
def _total(values):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for value in values:
        total += value
    return total
