"""How far the live element is from the truth of the continuum: one organ, one mesh, four elements.

A liver of about 20,000 tetrahedra is pulled. The truth is the equilibrium of quadratic displacements and linear
pressure ("P2-P1") on the same tetrahedra, which resolves seven times as many unknowns, follows the same held vertices
and lies in the same surface, so that nothing but the element differs; it is warm-started from instant to instant. The
live element (nodal-averaged linear tetrahedra) is compared at ten instants. Plain linear tetrahedra on the same mesh,
and quadratic ones without pressure on a coarse mesh of as many unknowns as the live one has, are compared where the
pull ends: what the live tier could have been built on instead.

The tissue is without weight here: every element then rests in the scanned shape, and what differs is the answer to the
pull alone. The coarse mesh has another surface, and holds the vertices within the same ball.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomy.embedding import Embedding
from anatomy.mesh import OrganMesh
from anatomy.progress import Progress, silent
from benchmarks import Row
from benchmarks.live_scenes import SECONDS, Array, Movement, labels_of, organ_mesh, pull
from solver import Body, Equilibrium, Interactive
from solver.equilibrium import State
from solver.errors import SolverError

#: Largest numbers of tetrahedra of the live mesh and of the coarse quadratic one.
TETS, COARSE_TETS = 20_000, 3_000
INSTANTS = 10
WEIGHTLESS = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Pulled:
    """Displacements from rest, mm, shape (i, n, 3), and forces, N, shape (i, 3), at the instants that were reached."""

    moves: Array
    forces: Array
    unknowns: int
    refused: str = ""


def rows(progress: Progress = silent, organ: str = "liver", tets: int = TETS) -> list[Row]:
    """Errors of each element against P2–P1."""
    mesh = organ_mesh(organ, tets)
    movement = pull(mesh)
    live = Interactive(Body(mesh, gravity_mm_s2=WEIGHTLESS), resting=False)
    truth = pulled(live.body, "P2-P1", movement, range(1, INSTANTS + 1), progress)
    what = f"{organ} of {labels_of(organ)[1]}, {len(mesh.tets):,} tetrahedra, pull"
    found = [Row("interactive", f"{what}: unknowns of the P2–P1 reference", float(truth.unknowns), "1")]
    reached = len(truth.moves)
    if truth.refused:
        told = f"{what}: the reference ends at {reached} of {INSTANTS} instants ({truth.refused})"
        found.append(Row("interactive", told, float(reached), "1"))
    if not reached:
        return found
    mine = live_pulled(live, movement, reached)
    found += _errors(f"{what}: live element", truth, mine, range(reached))
    last = range(reached, reached + 1)
    plain = pulled(live.body, "P1", movement, last)
    found += _errors(f"{what}: plain linear tetrahedra", truth, plain, [reached - 1])
    coarse = Body(organ_mesh(organ, COARSE_TETS), gravity_mm_s2=WEIGHTLESS)
    other = pulled(coarse, "P2", movement, last)
    carried = Embedding(coarse.organ, mesh.points)
    at_mine = np.array([carried.matrix @ move for move in other.moves])
    name = f"{what}: quadratic tetrahedra on {len(coarse.organ.tets):,}, {other.unknowns:,} unknowns"
    return found + _errors(name, truth, Pulled(at_mine, other.forces, other.unknowns), [reached - 1])


def pulled(
    body: Body, element: str, movement: Movement, instants: range, progress: Progress = silent
) -> Pulled:
    """Equilibria of an element at some of the ten instants, as far as there are any."""
    solver = Equilibrium(body, element, linear="direct")  # type: ignore[arg-type]
    rest = solver.solve(start=np.zeros_like(body.organ.points))
    held = held_by(body.organ, movement)
    moves, forces, state, refused = [], [], rest, ""
    for k in instants:
        progress(f"Reference at instant {k} of {INSTANTS}", k / INSTANTS)
        goal = rest.displacement[held] + movement.path(SECONDS * k / INSTANTS)
        try:
            state = solver.solve(prescribed=(held, goal), start=state)
        except SolverError as error:
            refused = str(error).split(";")[0]
            break
        moves.append(state.displacement - rest.displacement)
        forces.append(_force(state))
    return Pulled(np.array(moves), np.array(forces), rest.unknowns, refused)


def held_by(mesh: OrganMesh, movement: Movement) -> NDArray[np.int64]:
    """Vertices the movement holds."""
    near = np.linalg.norm(mesh.points - movement.point_mm, axis=1) <= movement.radius_mm
    return np.flatnonzero(near)


def live_pulled(live: Interactive, movement: Movement, instants: int) -> Pulled:
    """Converged states of the live tier."""
    live.reset()
    rest = live.displacement
    live.grasp("tool", movement.point_mm, movement.radius_mm)
    moves, forces = [], []
    for k in range(1, instants + 1):
        for part in range(1, 11):
            live.move("tool", movement.point_mm + movement.path(SECONDS * (k - 1 + part / 10) / INSTANTS))
            live.step(iterations=2, advance_s=SECONDS / INSTANTS / 10)
        forces.append(live.settle(1e-3).forces_N["tool"])
        moves.append(live.displacement - rest)
    return Pulled(np.array(moves), np.array(forces), live.displacement.size)


def _force(state: State) -> Array:
    return np.asarray(state.reaction_mN.sum(axis=0) / 1000.0)


def _errors(what: str, truth: Pulled, found: Pulled, instants: range | list[int]) -> list[Row]:
    peak = float(np.linalg.norm(truth.moves[list(instants)], axis=2).max())
    largest = float(np.linalg.norm(truth.forces, axis=1).max())
    error = np.linalg.norm(found.moves - truth.moves[list(instants)], axis=2)
    force = np.linalg.norm(found.forces - truth.forces[list(instants)], axis=1)
    when = "worst of the instants" if len(instants) > 1 else "at the end"
    numbers = (
        (f"discretisation error, mean over vertices, {when}", float(error.mean(axis=1).max()), "mm"),
        (f"the same, of the peak displacement of {peak:.1f} mm", 100 * float(error.mean(axis=1).max()) / peak, "%"),
        ("discretisation error, 99th percentile of vertices, of the peak",
         100 * float(np.percentile(error, 99, axis=1).max()) / peak, "%"),
        (f"discretisation error, farthest vertex, of the peak, {when}", 100 * float(error.max()) / peak, "%"),
        (f"discretisation error of the force, of the largest of {largest:.1f} N, {when}",
         100 * float(force.max()) / largest, "%"),
    )  # fmt: skip
    return [Row("interactive", f"{what}: {name}", value, unit) for name, value, unit in numbers]
