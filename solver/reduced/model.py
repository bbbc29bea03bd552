"""ReducedModel: what is known in advance of one grip, small enough to answer a thousand times a second.

The displacement of the tissue is u = rest + Σ_k z_k φ_k. The first 3 m coordinates are the moves of the m tools, whose
fields carry each patch rigidly; the others are amplitudes, in mm, of modes that vanish on every patch (proper
orthogonal decomposition of the twin's own solutions). The patches are thus held exactly, and the generalised force of
a move is the force of the tool. Energy and force are those of the live discretisation (`solver.averaged`): its change
of volume summed exactly, its supports and weight too, its law on sampled cells.

A few further modes, the control, are no part of the answer. What force would move along them, and what a larger sample
of cells says of the equilibrium, estimates on every frame how far the answer is from the full order (an estimate by a
hierarchy of spaces: Bank & Weiser 1985, Math Comput 44:283); a factor measured on pulls that were not trained makes
it a length in mm. It is an estimate and no bound: outside the hull of the trained moves no answer is given at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solver.averaged import Averaged
from solver.body import Body
from solver.errors import SolverError
from solver.reduced.grip import Grip, Range
from solver.reduced.sampling import Sample, items_of
from solver.reduced.volume import VolumeForm

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

VERSION = 2
# Stress-free shapes of one body found on different machines agree far better than this, and others do not.
SAME_SHAPE_MM = 0.02
# Most of the tissue's points at which the estimate of the distance is taken.
PROBES = 64


@dataclass(frozen=True)
class Accuracy:
    """What a reduced model reached on pulls it was not trained on, inside its range.

    Parameters
    ----------
    pulls : int
    mean_mm, worst_mm : float
        Distance of the farthest vertex to the converged full order, over the pulls.
    mean_share, worst_share : float
        The same relative to the peak displacement of each pull.
    mean_force, worst_force : float
        Difference of the tools' forces, relative to the force.
    factor, force_factor : float
        By which raw estimates are multiplied to reach the worst of these.
    """

    pulls: int
    mean_mm: float
    worst_mm: float
    mean_share: float
    worst_share: float
    mean_force: float
    worst_force: float
    factor: float
    force_factor: float


@dataclass(frozen=True, eq=False)
class ReducedModel:
    """A reduced model of one grip of one body.

    Parameters
    ----------
    grip : Grip
    fingerprint : str
        Of the body it was made of, see `fingerprint`.
    rest : ndarray, shape (n, 3), float64
        Displacement of the resting tissue from its stress-free shape, mm.
    basis : ndarray, shape (d', n, 3), float32
        Fields of 3 m moves, then of the modes, then of the control.
    size : int
        d, moves and modes without the control.
    volume : VolumeForm
    quadratic : ndarray, shape (d', d'); linear : ndarray, shape (d',)
        Supports, and supports at rest less weight: force = quadratic z + linear, mN.
    stiffness : ndarray, shape (d', d')
        Tangent of the full order at rest, mN/mm.
    sample, control : Sample
        Cells of the answer, and of its control.
    moves : ndarray, shape (N, m, 3)
        Trained moves, mm.
    accuracy : Accuracy
    """

    grip: Grip
    fingerprint: str
    rest: Array
    basis: NDArray[np.float32]
    size: int
    volume: VolumeForm
    quadratic: Array
    linear: Array
    stiffness: Array
    sample: Sample
    control: Sample
    moves: Array
    accuracy: Accuracy

    @property
    def modes(self) -> int:
        """Modes of the answer, beside the moves of the tools."""
        return self.size - 3 * self.grip.tools

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays that a file can hold."""
        grip, samples = self.grip, {"sample": self.sample, "control": self.control}
        found: dict[str, Any] = {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "points_mm": grip.points_mm,
            "normals": grip.normals,
            "patch_sizes": [len(p) for p in grip.patches],
            "patches": np.concatenate(grip.patches),
            "radius_mm": grip.radius_mm,
            "reach_mm": grip.reach_mm,
            "volume_coefficients": self.volume.coefficients,
            "volume_constant": self.volume.constant,
            "accuracy": [getattr(self.accuracy, f.name) for f in fields(Accuracy)],
        }
        for name in ("rest", "basis", "size", "quadratic", "linear", "stiffness", "moves"):
            found[name] = getattr(self, name)
        for name, sample in samples.items():
            found[f"{name}_sizes"] = [len(p) for p in sample.points]
            found[f"{name}_points"] = np.concatenate(sample.points)
            found[f"{name}_weights"] = np.concatenate(sample.weights)
        return {name: np.asarray(value) for name, value in found.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> ReducedModel:
        """The model that `to_arrays` gave.

        Raises
        ------
        SolverError
            If arrays are missing, or were written by another version.
        """
        if "version" not in arrays or int(arrays["version"]) != VERSION:
            raise SolverError("The reduced model is of another version of organtwin; make it anew.")
        try:
            grip = Grip(
                arrays["points_mm"], arrays["normals"],
                tuple(_parted(arrays["patches"], arrays["patch_sizes"])),
                float(arrays["radius_mm"]), float(arrays["reach_mm"]),
            )  # fmt: skip
            size = int(arrays["size"])
            accuracy = arrays["accuracy"]
            samples = [
                Sample(
                    tuple(_parted(arrays[f"{name}_points"], arrays[f"{name}_sizes"])),
                    tuple(_parted(arrays[f"{name}_weights"], arrays[f"{name}_sizes"])),
                )
                for name in ("sample", "control")
            ]
            return cls(
                grip, str(arrays["fingerprint"]), arrays["rest"], arrays["basis"], size,
                VolumeForm(arrays["volume_coefficients"], arrays["volume_constant"], size),
                arrays["quadratic"], arrays["linear"], arrays["stiffness"], samples[0], samples[1], arrays["moves"],
                Accuracy(int(accuracy[0]), *(float(v) for v in accuracy[1:])),
            )  # fmt: skip
        except KeyError as error:
            raise SolverError(f"The reduced model lacks {error}; make it anew.") from error


def _parted(values: NDArray[Any], sizes: Ints) -> list[NDArray[Any]]:
    return np.split(values, np.cumsum(sizes)[:-1])


def fingerprint(body: Body) -> str:
    """SHA-256 of what a reduced model depends on: mesh, tissue constants, attachments, weight.

    The stress-free shape follows from these; `Answer` compares it with a tolerance.
    """
    digest = hashlib.sha256(f"reduced {VERSION}".encode())
    organ = body.organ
    for array, kind in ((organ.points, "<f8"), (organ.tets, "<i8"), (organ.region, "<i8")):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    for label, name in sorted(organ.structures.items()):
        tissue = body.tissues[name]
        law, bulk, capsule = tissue.law, tissue.compressibility, tissue.capsule
        words = (
            label, name, type(law).__name__, law.structure, sorted(law.parameters.items()), tissue.density_kg_mm3,
            None if bulk is None else (bulk.bulk_kPa, bulk.measure),
            None if capsule is None else capsule.stiffness_kPa_mm,
        )  # fmt: skip
        digest.update(repr(words).encode())
    for held in body.attachments:
        digest.update(np.ascontiguousarray(held.facets, dtype="<i8").tobytes())
        digest.update(repr((held.normal_kPa_mm, held.tangential_kPa_mm, held.released)).encode())
    digest.update(repr([float(g) for g in body.gravity_mm_s2]).encode())
    return digest.hexdigest()


class Answer:
    """A reduced model at work: coordinates that follow the tools.

    Parameters
    ----------
    model : ReducedModel
    averaged : Averaged
        The live discretisation of the body, on its stress-free shape.
    rest : ndarray, shape (n, 3)
        Displacement of the resting tissue from there, mm.

    Attributes
    ----------
    z : ndarray, shape (d,)
        Coordinates: moves of the tools, then amplitudes of the modes, mm.

    Raises
    ------
    SolverError
        If the model is of another body.
    """

    CONVERGED_MM = 1e-3
    ITERATIONS = 12
    # Tools are followed in pieces of at most this length.
    ADVANCE_MM = 4.0
    # What the third order of the change of volume may do to the answer before the forms are expanded anew.
    LEFT_OUT_MM = 5e-4
    # A step that is longer than this share of the one before it shows that the tangent is old.
    POOR_CONTRACTION = 0.3

    def __init__(self, model: ReducedModel, averaged: Averaged, rest: Array) -> None:
        check_body(model, averaged.body, rest)
        self.model, self._basis = model, model.basis
        wide = model.basis.astype(np.float64)
        self._items = items_of(averaged, model.rest, wide[: model.size], model.sample)
        self._control = items_of(averaged, model.rest, wide, model.control)
        self.range = Range.around(model.moves)
        self._moves = 3 * model.grip.tools
        free = slice(self._moves, None)
        self._control_answer = np.linalg.inv(model.stiffness[free, free])
        self._probe_basis = _probed(wide[self._moves :])
        self._left_out = LeftOut.of(model, self._probe_basis)
        self.z = np.zeros(model.size)
        self._volume = model.volume.expand(self.z)
        self._force = np.zeros(model.size)
        self._tangent = self._inverse = np.zeros((0, 0))
        if not self._renew():
            raise SolverError(
                "The reduced model is not stable at rest; make it anew with `organtwin reduce`."
            )
        self._start = self._tangent, self._inverse, self._volume
        self.minimum_jacobian = 1.0

    def begin(self) -> None:
        """Go back to rest, with every tool where it takes hold."""
        self.z[:] = 0.0
        self._tangent, self._inverse, self._volume = self._start

    def begin_at(self, z: Array) -> None:
        """Go to given coordinates."""
        self.z[:] = z
        self._renew()

    def displacement(self) -> Array:
        """Displacement from the stress-free shape, shape (n, 3), mm."""
        flat = self.z.astype(np.float32) @ self._basis[: len(self.z)].reshape(len(self.z), -1)
        return self.model.rest + flat.reshape(-1, 3)

    def force(self, z: Array) -> Array:
        """Generalised force at z, shape (d,), mN: of the tools, then what is out of balance."""
        d = len(z)
        force = self._volume_force(z)[:d] + self.model.quadratic[:d, :d] @ z + self.model.linear[:d]
        self.minimum_jacobian = min(group.add_force(z, force) for group in self._items)
        return force

    def tangent(self, z: Array) -> Array:
        """Derivative of `force`, shape (d, d), mN/mm."""
        if not np.array_equal(z, self._volume.origin):
            self._volume = self.model.volume.expand(z)
        H = self._volume.tangent() + self.model.quadratic[: len(z), : len(z)]
        for group in self._items:
            group.add_tangent(z, H)
        return H

    def _volume_force(self, z: Array) -> Array:
        """Force of the change of volume on all coordinates, shape (d',), from an origin near enough to z."""
        change, gradient = self._volume.changes(z)
        left_out = self._left_out.distance_mm(z - self._volume.origin, change, gradient)
        if not left_out <= self.LEFT_OUT_MM:
            self._volume = self.model.volume.expand(z)
            change, gradient = self._volume.change, self._volume.slope
        return gradient @ change

    def follow(self, moves: Array) -> tuple[int, bool]:
        """Bring the coordinates to equilibrium with the tools at given moves.

        Parameters
        ----------
        moves : ndarray, shape (m, 3)
            mm from where the tools took hold.

        Returns
        -------
        iterations : int
        converged : bool
        """
        k = self._moves
        way = moves.ravel() - self.z[:k]
        pieces = max(1, int(np.ceil(np.linalg.norm(way.reshape(-1, 3), axis=1).max() / self.ADVANCE_MM)))
        done = 0
        for _ in range(pieces):
            # Linear prediction by the tangent at hand, then Newton's method with it.
            self.z[k:] -= self._inverse @ (self._tangent[k:, :k] @ (way / pieces))
            self.z[:k] += way / pieces
            count, converged = self._iterate(k)
            done += count
            if not converged:
                return done, False
        self.z[:k] = moves.ravel()
        return done, True

    def _iterate(self, k: int) -> tuple[int, bool]:
        before = np.inf
        for done in range(1, self.ITERATIONS + 1):
            self._force = self.force(self.z)
            step = -self._inverse @ self._force[k:]
            length = float(np.abs(step).sum())
            if not np.isfinite(length) or self.minimum_jacobian <= 0:
                return done, False
            if length > self.POOR_CONTRACTION * before or length > self.ADVANCE_MM:
                if not self._renew():
                    return done, False
                step = -self._inverse @ self._force[k:]
                length = float(np.abs(step).sum())
            self.z[k:] += step * min(1.0, self.ADVANCE_MM / length) if length > 0 else 0.0
            if length < self.CONVERGED_MM:
                # The force belongs to the state before the step; its first-order change is known.
                self._force = self._force + self._tangent[:, k:] @ step
                return done, True
            before = length
        return self.ITERATIONS, False

    def _renew(self) -> bool:
        """Take the tangent anew; False where it is not definite."""
        k = self._moves
        tangent = self.tangent(self.z)
        try:
            np.linalg.cholesky(tangent[k:, k:])
        except np.linalg.LinAlgError:
            return False
        self._tangent, self._inverse = tangent, np.linalg.inv(tangent[k:, k:])
        return True

    def forces_N(self) -> Array:
        """Force with which each tool pulls, N, shape (m, 3), after `follow`."""
        return self._force[: self._moves].reshape(-1, 3) / 1000.0

    def estimate(self) -> tuple[float, float]:
        """Estimated distance of the farthest vertex to the converged full order, mm, and error of the forces, N."""
        distance, force = self.raw_estimate()
        accuracy = self.model.accuracy
        return accuracy.factor * distance, accuracy.force_factor * force

    def raw_estimate(self) -> tuple[float, float]:
        """Distance, mm, and difference in force, N, that control modes and control cells show; not yet scaled."""
        model, k, d = self.model, self._moves, len(self.z)
        force = self._volume_force(self.z) + model.quadratic[:, :d] @ self.z + model.linear
        for group in self._control:
            group.add_force(self.z, force)
        step = -self._control_answer @ force[k:]
        shift = (step @ self._probe_basis).reshape(-1, 3)
        difference = force[:k] - self._force[:k] + model.stiffness[:k, k:] @ step
        return (
            float(np.sqrt((shift * shift).sum(axis=1).max())),
            float(np.abs(difference).max()) / 1000.0,
        )


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Bound on what the third order of the change of volume, left out of an expansion, does to the answer.

    With the tangent at rest K = L Lᵀ, y = Lᵀ δ of a shift δ, and σ_a, n_a the norms of the third order and of the
    gradient of g_a in these coordinates, the force lacks at most Σ_a 3 |g_a| σ_a |y|² + n_a σ_a |y|³ + 3 σ_a² |y|⁵ in
    the norm of K⁻¹ (each g_a lacks σ_a |y|³, its gradient 3 σ_a |y|²).

    Parameters
    ----------
    whitening : ndarray, shape (d', d')
        L⁻ᵀ.
    factor : ndarray, shape (d', d')
        L.
    third : ndarray, shape (r_p,)
        σ_a.
    farthest_mm : float
        Farthest that a vertex moves by a force of norm 1 on the modes, mm.
    """

    whitening: Array
    factor: Array
    third: Array
    farthest_mm: float

    @classmethod
    def of(cls, model: ReducedModel, probes: Array) -> LeftOut:
        """Of a model whose modes and control have values at probes, shape (d' − 3 m, 3 p)."""
        factor = np.linalg.cholesky(model.stiffness)
        whitening = np.ascontiguousarray(np.linalg.inv(factor).T)
        k = 3 * model.grip.tools
        free = np.linalg.inv(np.linalg.cholesky(model.stiffness[k:, k:]))
        fields = (free @ probes).reshape(len(free), -1, 3)
        farthest = float(np.linalg.norm(np.moveaxis(fields, 1, 0), ord=2, axis=(1, 2)).max())
        return cls(whitening, factor, model.volume.third_order(whitening), farthest)

    def distance_mm(self, shift: Array, change: Array, gradient: Array) -> float:
        """How far the answer may be off for the expansion, mm.

        Parameters
        ----------
        shift : ndarray, shape (d,)
            δ, mm.
        change : ndarray, shape (r_p,); gradient : ndarray, shape (d', r_p)
            g_a and its derivatives there, as the expansion has them.
        """
        y = float(np.linalg.norm(shift @ self.factor[: len(shift), : len(shift)]))
        steep = np.linalg.norm(self.whitening.T @ gradient, axis=0)
        lacking = 3 * y**2 * np.abs(change) + y**3 * steep + 3 * y**5 * self.third
        return self.farthest_mm * float(self.third @ lacking)


def check_body(model: ReducedModel, body: Body, rest: Array) -> None:
    """Refuse a model of another body.

    Raises
    ------
    SolverError
        If mesh, tissue constants, attachments or weight are not those it was made of.
    """
    if model.fingerprint != fingerprint(body):
        raise SolverError(
            "The reduced model was made of another mesh, other tissue constants or other attachments; make it anew "
            "with `organtwin reduce`."
        )
    apart = float(np.abs(model.rest - rest).max())
    if apart > SAME_SHAPE_MM:
        raise SolverError(
            f"The reduced model rests {apart:.2g} mm from where the tissue does; make it anew with `organtwin reduce`."
        )


def _probed(basis: Array) -> Array:
    """The basis at a few vertices where its fields are large, shape (d, 3 p)."""
    amplitude = np.linalg.norm(basis, axis=2)
    order = np.argsort(-amplitude, axis=1).T.ravel()
    _, first = np.unique(order, return_index=True)
    vertices = order[np.sort(first)][:PROBES]
    return np.ascontiguousarray(basis[:, vertices].reshape(len(basis), -1))
