"""Training: from converged pulls on the live tissue to a reduced model of one grip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.averaged import Averaged
from solver.errors import SolverError
from solver.interactive import Interactive
from solver.reduced.grip import Grip, Range, training_moves
from solver.reduced.model import Accuracy, Answer, ReducedModel, fingerprint
from solver.reduced.sampling import Sample, choose, contributions, everything, items_of
from solver.reduced.volume import average_pressure, pressure_modes, volume_form

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Effort:
    """How much is spent on a reduced model.

    Parameters
    ----------
    rays : int
        Directions of training pulls a tool, three lengths each.
    truncation : float
        Largest share of the reach by which the modes may miss a training state.
    most_modes, control_modes : int
    pressure_loss : float
        Share of the energy of pressure the pressure modes may lose.
    sampling : float
        Misfit of the sampled training forces, relative.
    control_sampling : float
        The same of the control.
    most_points : int
    unseen : int
        Pulls, not trained on, on which the model is measured.
    tolerance_mm : float
        To which training states are converged.
    """

    rays: int = 40
    truncation: float = 1e-3
    most_modes: int = 40
    control_modes: int = 6
    pressure_loss: float = 3e-4
    sampling: float = 2e-3
    control_sampling: float = 7e-4
    most_points: int = 600
    unseen: int = 8
    tolerance_mm: float = 0.004


@dataclass(frozen=True, eq=False)
class Solutions:
    """Converged states of the live tissue.

    Parameters
    ----------
    moves : ndarray, shape (N, m, 3)
        Of the tools, mm.
    displacement : ndarray, shape (N, n, 3)
        From the tissue at rest, mm.
    forces_N : ndarray, shape (N, m, 3)
    """

    moves: Array
    displacement: Array
    forces_N: Array


def reduce_grip(
    live: Interactive, grip: Grip, seed: int = 1, effort: Effort | None = None, progress: Progress = silent
) -> ReducedModel:
    """Make a reduced model of one grip.

    Parameters
    ----------
    live : Interactive
        The tissue; reset before and after.
    grip : Grip
    seed : int
        Of the training moves and of the pulls on which the model is measured.
    effort : Effort, optional
    progress : Progress
        Ctrl-C raised in it leaves the tissue reset.

    Returns
    -------
    ReducedModel

    Raises
    ------
    SolverError
        If too few pulls converge, or too many cells would have to be sampled.
    """
    effort = Effort() if effort is None else effort
    try:
        live.reset()
        rest = live.body.scanned_displacement + live.displacement
        rays = training_moves(grip, effort.rays * grip.tools, seed)
        solved = solve_moves(live, grip, rays, effort.tolerance_mm, _part(progress, "pulling", 0.0, 0.5))
        model = _trained(live, grip, rest, solved, effort, progress)
        unseen = Range.around(model.moves).draw(effort.unseen, seed + 1)
        told = _part(progress, "measuring on unseen pulls", 0.8, 1.0)
        truth = solve_moves(live, grip, [move[None] for move in unseen], effort.tolerance_mm, told)
        return _measured(model, Averaged(live.body), truth)
    finally:
        live.reset()


def _part(progress: Progress, stage: str, low: float, high: float) -> Progress:
    return lambda _, share: progress(stage, low + (high - low) * share)


def solve_moves(
    live: Interactive, grip: Grip, rays: list[Array], tolerance_mm: float, progress: Progress = silent
) -> Solutions:
    """Converged states of the live tissue along rays of moves.

    Parameters
    ----------
    live : Interactive
    grip : Grip
    rays : list of ndarray, shape (k, m, 3)
        Each from near to far, mm; a move the tissue cannot follow ends its ray.
    tolerance_mm : float
    progress : Progress

    Returns
    -------
    Solutions
    """
    live.reset()
    rest = live.displacement
    for tool in range(grip.tools):
        live.grasp(str(tool), grip.points_mm[tool], grip.radius_mm)
        if not np.array_equal(live.held_by(str(tool)), grip.patches[tool]):
            raise SolverError(
                "The resting tissue is not where the grip was taken; make the grip of this body."
            )
    begun = live.snapshot()
    moves, fields, forces = [], [], []
    for number, ray in enumerate(rays):
        live.restore(begun)
        for move in ray:
            progress("pulling", number / len(rays))
            for tool in range(grip.tools):
                live.move(str(tool), grip.points_mm[tool] + move[tool])
            try:
                frame = live.settle(tolerance_mm)
            except SolverError:
                break
            moves.append(move)
            fields.append(live.displacement - rest)
            forces.append([frame.forces_N[str(tool)] for tool in range(grip.tools)])
    live.reset()
    progress("pulling", 1.0)
    if not moves:
        raise SolverError("The tissue follows no pull here; reduce the reach or choose another place.")
    return Solutions(np.array(moves), np.array(fields), np.array(forces))


def _trained(
    live: Interactive, grip: Grip, rest: Array, solved: Solutions, effort: Effort, progress: Progress
) -> ReducedModel:
    progress("finding modes", 0.5)
    basis, coordinates, size = modes_of(solved, grip, effort)
    averaged = Averaged(live.body)
    pressures = np.array([average_pressure(averaged, rest + u) for u in (0 * rest, *solved.displacement)])
    pressure = pressure_modes(averaged, pressures, effort.pressure_loss, most=size)
    progress("summing the change of volume", 0.52)
    wide = basis.astype(np.float64)
    volume = volume_form(averaged, rest, wide, size, pressure)
    flat = wide.reshape(len(wide), -1)
    supported = averaged.supports @ flat.T
    stiffness = _stiffness(averaged, rest, wide)
    progress("choosing cells", 0.6)
    sample, control = _samples(averaged, rest, wide, coordinates, size, stiffness, effort, progress)
    return ReducedModel(
        grip, fingerprint(live.body), rest, basis, size, volume,
        flat @ supported, rest.ravel() @ supported - flat @ averaged.weight.ravel(), stiffness,
        sample, control, solved.moves, Accuracy(0, 0, 0, 0, 0, 0, 0, 1.0, 1.0),
    )  # fmt: skip


def modes_of(solved: Solutions, grip: Grip, effort: Effort) -> tuple[NDArray[np.float32], Array, int]:
    """Fields of the moves, then modes of what moves leave, each of 1 mm at its farthest vertex.

    Returns
    -------
    basis : ndarray, shape (d', n, 3), float32
    coordinates : ndarray, shape (N, d')
        Of the solutions.
    size : int
        d, without the control.
    """
    count = len(solved.moves)
    moves = solved.moves.reshape(count, -1)
    flat = solved.displacement.reshape(count, -1)
    carried = np.linalg.lstsq(moves, flat, rcond=None)[0]
    for tool, patch in enumerate(grip.patches):
        # Exact to the last bit: each patch follows its own tool and no other.
        field = carried.reshape(len(carried), -1, 3)
        field[:, patch] = 0.0
        for axis in range(3):
            field[3 * tool + axis, patch, axis] = 1.0
    left = flat - moves @ carried
    _, _, modes = np.linalg.svd(left, full_matrices=False)
    misses = [_miss(left, modes[:r]) for r in range(1, min(len(modes), effort.most_modes) + 1)]
    enough = np.flatnonzero(np.array(misses) < effort.truncation * grip.reach_mm)
    r = int(enough[0]) + 1 if len(enough) else len(misses)
    chosen = modes[: r + effort.control_modes].reshape(-1, *solved.displacement.shape[1:])
    chosen = chosen / np.linalg.norm(chosen, axis=2).max(axis=1)[:, None, None]
    for patch in grip.patches:
        chosen[:, patch] = 0.0
    basis = np.concatenate([carried.reshape(len(carried), -1, 3), chosen]).astype(np.float32)
    found = basis[len(carried) :].reshape(len(chosen), -1).astype(np.float64)
    amplitudes = np.linalg.lstsq(found.T, left.T, rcond=None)[0].T
    return basis, np.concatenate([moves, amplitudes], axis=1), len(carried) + r


def _miss(fields: Array, modes: Array) -> float:
    """Largest distance of any vertex that modes leave of fields."""
    rest = fields - (fields @ modes.T) @ modes
    return float(np.linalg.norm(rest.reshape(len(rest), -1, 3), axis=2).max())


def _stiffness(averaged: Averaged, rest: Array, basis: Array) -> Array:
    """Tangent of the full order at rest on the basis, by central differences of its force, shape (d', d')."""
    flat, step = basis.reshape(len(basis), -1), 1e-4
    columns = [
        flat
        @ (averaged.evaluate(rest + step * b, 0.0)[1] - averaged.evaluate(rest - step * b, 0.0)[1]).ravel()
        for b in basis
    ]
    H = np.array(columns) / (2 * step)
    return np.asarray(0.5 * (H + H.T))


def _samples(
    averaged: Averaged, rest: Array, basis: Array, coordinates: Array, size: int, stiffness: Array,
    effort: Effort, progress: Progress,
) -> tuple[Sample, Sample]:  # fmt: skip
    """Cells of the answer, and more of its control, which also has to get the control modes right."""
    items = items_of(averaged, rest, basis, everything(averaged))
    scale = np.linalg.inv(np.linalg.cholesky(stiffness))
    rows, wide_rows = [], []
    # Every second solution: what lies between two lengths of a ray is nearly their mean.
    for z in coordinates[::2, :size]:
        part = contributions(items, np.ascontiguousarray(z))
        rows.append((scale[:size, :size] @ part[:size]).astype(np.float32))
        wide_rows.append((scale @ part).astype(np.float32))
    found: list[Sample] = []
    for number, (some, tolerance) in enumerate(
        ((rows, effort.sampling), (wide_rows, effort.control_sampling))
    ):
        progress("choosing cells", 0.62 + 0.08 * number)
        points, weights = choose(np.concatenate(some), tolerance, effort.most_points)
        found.append(Sample.split(averaged, points, weights))
    return found[0], found[1]


def _measured(model: ReducedModel, averaged: Averaged, truth: Solutions) -> ReducedModel:
    """The model with what it reaches on unseen pulls, and its estimates scaled to it."""
    from dataclasses import replace

    answer = Answer(model, averaged, model.rest)
    errors, shares, forces, raw = [], [], [], []
    for move, field, force in zip(truth.moves, truth.displacement, truth.forces_N, strict=True):
        answer.begin()
        if not answer.follow(move)[1]:
            raise SolverError(
                "The reduced model does not converge inside its range; train it with more rays."
            )
        error = float(np.linalg.norm(answer.displacement() - model.rest - field, axis=1).max())
        errors.append(error)
        shares.append(error / float(np.linalg.norm(field, axis=1).max()))
        forces.append(np.linalg.norm(answer.forces_N() - force, axis=1).max())
        raw.append(answer.raw_estimate())
    size = np.linalg.norm(truth.forces_N, axis=2).max(axis=1)
    estimates = np.maximum(np.array(raw), 1e-9)
    relative = np.array(forces) / np.maximum(size, 1e-9)
    accuracy = Accuracy(
        len(errors), float(np.mean(errors)), float(np.max(errors)), float(np.mean(shares)), float(np.max(shares)),
        float(relative.mean()), float(relative.max()),
        max(1.0, float((np.array(errors) / estimates[:, 0]).max())),
        max(1.0, float((np.array(forces) / estimates[:, 1]).max())),
    )  # fmt: skip
    return replace(model, accuracy=accuracy)
