"""Mobility: whether a body can be what it claims to be, an organ that a hand moves.

A mesh in metres or voxels, or one whose constants suit another unit, does not fail: it stands still, or falls apart,
and the person sees a picture. It is refused with a sentence instead.
"""

from __future__ import annotations

import numpy as np

from solver.body import Body
from solver.errors import SolverError
from solver.response import Response

# An organ's extent in mm; outside, the coordinates are metres, voxels or a whole body.
SMALLEST_EXTENT_MM, LARGEST_EXTENT_MM = 5.0, 1000.0
# A newton on one vertex must move it this far, or no hand could.
SMALLEST_ANSWER_MM_PER_N = 1e-3


def check_extent(body: Body) -> None:
    """Refuse a body that is not the size of an organ.

    Raises
    ------
    SolverError
        Says how large it is and what to do.
    """
    extent = float(np.ptp(body.organ.points, axis=0).max())
    if not SMALLEST_EXTENT_MM <= extent <= LARGEST_EXTENT_MM:
        raise SolverError(
            f"The organ is {extent:.3g} mm across, which no organ is; its points must be millimetres "
            f"({SMALLEST_EXTENT_MM:g} to {LARGEST_EXTENT_MM:g} mm): scale the mesh."
        )


def check_answer(body: Body, response: Response) -> None:
    """Refuse a body whose surface no hand could move.

    Parameters
    ----------
    body : Body
    response : Response
        Of the free body at rest.

    Raises
    ------
    SolverError
        Says how little it moves and what to check.
    """
    surface = np.unique(body.organ.exterior)
    sample = surface[np.linspace(0, len(surface) - 1, 12).astype(np.int64)]
    answers = []
    for vertex in sample:
        force = np.zeros_like(body.organ.points)
        force[vertex] = 1000.0 / np.sqrt(3.0)
        answers.append(float(np.linalg.norm(response.to_force(force)[vertex])))
    if max(answers) < SMALLEST_ANSWER_MM_PER_N:
        raise SolverError(
            f"The organ cannot move: a newton on its surface moves it {max(answers):.1e} mm at most; check the "
            "tissues' constants (kPa) and that attachments do not cover the whole surface."
        )
