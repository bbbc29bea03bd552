"""The live tier on a soft block the size of a liver's lobe: time a frame, and distance to the converged answer.

A pull of 30 mm in 3 seconds at 30 frames a second, at most three quasi-Newton iterations a frame, as a replay does
it. The error is measured at ten instants against Newton's method on the same mesh and element.
"""

from __future__ import annotations

import time

import numpy as np

from anatomy.mesh import OrganMesh
from anatomy.progress import Progress
from benchmarks import Row
from solver import Body, Interactive
from solver.interactive import reference_error
from solver.verification.blocks import kuhn_block

#: Cells of the block along x, y, z: about 5,000 and 20,000 tetrahedra.
BLOCKS = ((13, 9, 7), (21, 15, 11))
SIZE_MM = (180.0, 130.0, 100.0)
FRAMES, INSTANTS, PULL_MM = 90, 10, 30.0


def run(progress: Progress) -> list[Row]:
    """Pull on blocks of two sizes."""
    rows: list[Row] = []
    for done, cells in enumerate(BLOCKS):
        progress("Pulling live tissue", done / len(BLOCKS))
        rows += _pulled(kuhn_block(SIZE_MM, cells))
    progress("Pulling live tissue", 1.0)
    return rows


def _pulled(block: OrganMesh) -> list[Row]:
    what = f"{len(block.tets):,} tetrahedra"
    began = time.perf_counter()
    live = Interactive(Body(block))
    ready = time.perf_counter() - began
    start = block.points[np.argmin(block.points @ np.array([-0.2, 1.0, 1.0]))]
    live.grasp("grasper", start, radius_mm=15.0)
    seconds, errors = [], []
    for frame in range(1, FRAMES + 1):
        live.move("grasper", start + np.array([0.0, -PULL_MM * frame / FRAMES, 0.0]))
        seconds.append(live.step(iterations=3, advance_s=1 / 30).seconds)
        if frame % (FRAMES // INSTANTS) == 0:
            errors.append(reference_error(live))
    mean, largest = np.max(errors, axis=0)
    numbers = (
        ("time until ready, stress-free shape included", ready, "s"),
        ("frame, median", 1000 * float(np.median(seconds)), "ms"),
        ("frame, 99th percentile", 1000 * float(np.percentile(seconds, 99)), "ms"),
        ("distance to the converged state, mean over the vertices, worst of ten instants", float(mean), "mm"),
        ("distance to the converged state, farthest vertex, worst of ten instants", float(largest), "mm"),
    )
    return [Row("interactive", f"{what}: {name}", value, unit) for name, value, unit in numbers]
