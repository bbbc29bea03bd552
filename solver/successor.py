"""Successor: the live tissue on another topology, made ready while frames go on with the present one.

A cut leaves every part of the state a rule to follow (`TopologyChange`): the body keeps tissues, attachments and its
stress-free shape, the displacement is carried, the discretisation and its factored tangent are made anew for the new
mesh. All of it is computed from values that are not changed any more, so that another thread can do it; what the tools
have done in the meantime is carried when the successor is adopted (`Interactive.adopt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solver.averaged import Averaged
from solver.body import Body
from solver.errors import SolverError
from solver.factor import Factor, definite_factor
from solver.live_load import LiveLoad
from solver.response import Response
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

HELD_STIFFNESS = 10.0


@dataclass(frozen=True, eq=False)
class Successor:
    """What `Interactive` needs to go on after a change.

    Parameters
    ----------
    change : TopologyChange
    body : Body
    averaged : Averaged
    factor : Factor
        Of the tangent at `at`.
    response : Response
        By it, with what the tools held when it was made.
    at : ndarray, shape (n', 3), float64
        Displacement from the stress-free shape at which the tangent was factored, mm.
    """

    change: TopologyChange
    body: Body
    averaged: Averaged
    factor: Factor
    response: Response
    at: Array


def make_successor(
    change: TopologyChange,
    averaged: Averaged,
    factor: Factor,
    displacement: Array,
    patches: Mapping[str, Ints],
    loads: Mapping[str, LiveLoad],
    floor: float,
    body: Body | None = None,
) -> Successor:
    """The live tissue after a change of topology.

    Parameters
    ----------
    change : TopologyChange
    averaged : Averaged
        Of the body before.
    factor : Factor
        Of its tangent; its order of elimination is kept where that serves.
    displacement : ndarray, shape (n, 3), float64
        From the stress-free shape, mm.
    patches : mapping of str to ndarray of int64
        Vertices each tool holds.
    loads : mapping of str to LiveLoad
    floor : float
        Smallest volume ratio a tetrahedron may have.
    body : Body, optional
        After the change, where there is one already, known to be held.

    Raises
    ------
    SolverError
        If a piece would be held by nothing, or the change folds the tissue.
    """
    held = {name: change.carried_between(vertices) for name, vertices in patches.items()}
    if body is None:
        body = averaged.body.changed(change)
        body.check_supported(np.concatenate([np.zeros(0, dtype=np.int64), *held.values()]))
    after = Averaged(body)
    at = change.interpolate(displacement)
    check_unfolded(after, at, floor)
    empty = factor.extended(after.pattern, after.node, after.points, after.negative, change.parents)
    carried = [load.carried(change) for load in loads.values()]
    try:
        filled, response = factored(after, empty, at, held, carried)
    except SolverError:
        # Where the tissue buckles now, its tangent at the scanned shape still tells the stiff directions.
        at = body.scanned_displacement
        filled, response = factored(after, empty, at, held, [])
    return Successor(change, body, after, filled, response, at)


def check_unfolded(averaged: Averaged, displacement: Array, floor: float) -> None:
    """Refuse a displacement under which a tetrahedron keeps less than a share of its volume.

    Raises
    ------
    SolverError
    """
    energy, _, smallest = averaged.evaluate(displacement, floor)
    if not np.isfinite(energy):
        raise SolverError(
            f"The cut would leave a tetrahedron at {smallest:.2g} of its volume; let the tissue come to rest first, "
            "or cut beside it."
        )


def factored(
    averaged: Averaged,
    factor: Factor,
    displacement: Array,
    patches: dict[str, Ints],
    loads: list[LiveLoad],
) -> tuple[Factor, Response]:
    """The tangent at a displacement, factored, and the answer by it.

    Parameters
    ----------
    averaged : Averaged
    factor : Factor
        Of its pattern; its values do not matter.
    displacement : ndarray, shape (n, 3), float64
        From the stress-free shape, mm.
    patches : dict of str to ndarray of int64
        Vertices each tool holds.
    loads : list of LiveLoad

    Raises
    ------
    SolverError
        If the tangent is not definite, however stiffened.
    """
    values = averaged.tangent(displacement)
    for load in loads:
        averaged.add_blocks(values, *load.stiffness(averaged.points + displacement))
    # Held displacements are fixed, so stiffness added to them changes no answer, but it keeps the matrix
    # definite where only the tools hold the tissue in shape.
    held = np.concatenate([np.zeros(0, dtype=np.int64), *patches.values()])
    diagonal = averaged.pattern.indptr[: displacement.size]
    values[diagonal[(3 * held[:, None] + np.arange(3)).ravel()]] *= HELD_STIFFNESS
    filled = definite_factor(factor, values, diagonal)
    return filled, Response(filled, averaged.vertices, patches).prepared()
