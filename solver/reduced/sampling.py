"""Sampling: the energy of a few cells, weighted so that a reduced state feels them as it feels them all.

Energy-conserving sampling and weighting (Farhat, Avery, Chapman & Cortial 2014, Int J Numer Methods Eng 98:625; Farhat,
Chapman & Avery 2015, ibid 102:1077): the weights w ≥ 0 of the cells are few and reproduce the reduced forces of
training states, Σ_e w_e h_e ≈ Σ_e h_e. Because the sampled force is the derivative of a sampled energy with
non-negative weights, it keeps the symmetry and stability of the whole. The weights come from non-negative least
squares (Lawson & Hanson 1974, Solving Least Squares Problems, ch. 23), stopped at a tolerance.

What is sampled here is the energy of the tissue's own law, cell by cell, and of its capsule, facet by facet. The
averaged change of volume is integrated exactly (`solver.reduced.volume`), and supports and weight are a quadratic
and a linear form.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from solver.averaged import FAST, Averaged
from solver.errors import SolverError
from solver.kernels import call_kernel
from solver.reduced.volume import gradients

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


# A point that contributes less than this share of the mean is not sampled.
FAINT = 3e-2
# Share of the largest combination of training forces below which combinations are left out of the search.
LOST = 5e-4


@dataclass(frozen=True, eq=False)
class Items:
    """Points of one kernel, seen by reduced coordinates.

    Parameters
    ----------
    stress, tangent : int
        Addresses of the compiled kernel, see `solver.kernels`.
    rest : ndarray, shape (9 k,)
        F of each point at z = 0.
    slopes : ndarray, shape (d', 9 k)
        Its derivative by each coordinate.
    weights : ndarray, shape (k,)
        Volume or area times the sampling weight.
    parameters : ndarray, shape (k, p)
    """

    stress: int
    tangent: int
    rest: Array
    slopes: Array
    weights: Array
    parameters: Array

    def add_force(self, z: Array, force: Array) -> float:
        """Add the force on the first coordinates; returns the smallest J."""
        return float(
            _items_force(self.stress, self.rest, self.slopes, self.weights, self.parameters, z, force)
        )

    def add_tangent(self, z: Array, H: Array) -> None:
        """Add the derivative of the force by the coordinates, of the shape of H."""
        _items_tangent(self.tangent, self.rest, self.slopes, self.weights, self.parameters, z, H)


@dataclass(frozen=True, eq=False)
class Sample:
    """Which points are sampled, and how much each counts.

    Parameters
    ----------
    points : tuple of ndarray of int64
        Of each group of `Averaged.groups`, numbers within the group.
    weights : tuple of ndarray, float64
        How many times its own volume or area each stands for.
    """

    points: tuple[Ints, ...]
    weights: tuple[Array, ...]

    @classmethod
    def split(cls, averaged: Averaged, numbers: Ints, weights: Array) -> Sample:
        """From numbers that count through all groups, one after the other."""
        ends = np.cumsum([0, *(len(group.cells) for group in averaged.groups)])
        inside = [(numbers >= low) & (numbers < high) for low, high in pairwise(ends)]
        return cls(
            tuple(numbers[part] - low for part, low in zip(inside, ends[:-1], strict=True)),
            tuple(weights[part] for part in inside),
        )

    @property
    def count(self) -> int:
        """Number of sampled points."""
        return sum(map(len, self.points))


def everything(averaged: Averaged) -> Sample:
    """The sample that leaves nothing out."""
    counts = [len(group.cells) for group in averaged.groups]
    return Sample(tuple(np.arange(n) for n in counts), tuple(np.ones(n) for n in counts))


def items_of(averaged: Averaged, rest: Array, basis: Array, sample: Sample) -> tuple[Items, ...]:
    """Sampled points as reduced coordinates see them.

    Parameters
    ----------
    averaged : Averaged
    rest : ndarray, shape (n, 3)
        Displacement at z = 0, mm.
    basis : ndarray, shape (d', n, 3)
    sample : Sample
    """
    found = []
    for group, points, weights in zip(averaged.groups, sample.points, sample.weights, strict=True):
        if not len(points):
            continue
        cells, inverse = np.unique(group.cells[points], return_inverse=True)
        tets = averaged.tets[cells]
        F = (gradients(averaged.points, tets, rest) + np.eye(3).ravel())[inverse]
        slopes = np.stack([gradients(averaged.points, tets, field)[inverse].ravel() for field in basis])
        found.append(
            Items(
                group.kernel.stress, group.kernel.tangent, F.ravel(), slopes, group.weights[points] * weights,
                np.ascontiguousarray(group.parameters[points]),
            )
        )  # fmt: skip
    return tuple(found)


def contributions(items: tuple[Items, ...], z: Array) -> Array:
    """Force of every point on every coordinate at z, shape (d', k), groups one after the other."""
    found = []
    for group in items:
        out = np.empty((len(group.weights), len(group.slopes)))
        _items_contributions(group.stress, group.rest, group.slopes, group.weights, group.parameters, z, out)
        found.append(out.T)
    return np.concatenate(found, axis=1)


def choose(rows: Array, tolerance: float, most: int) -> tuple[Ints, Array]:
    """Few points and weights that reproduce the sum over all.

    Parameters
    ----------
    rows : ndarray, shape (r, k)
        Contributions of every point, scaled so that an error of 1 weighs the same in each row.
    tolerance : float
        Norm of the misfit, relative to the sum's, at which the search ends.
    most : int
        Points at most.

    Returns
    -------
    points : ndarray of int64
    weights : ndarray, float64, positive

    Raises
    ------
    SolverError
        If the tolerance is not reached with so many points.
    """
    target = rows.sum(axis=1, dtype=np.float64)
    length = np.linalg.norm(rows, axis=0)
    # The direction of a point that hardly contributes is rounding, and its weight would be boundless.
    counts = np.flatnonzero(length > FAINT * length.mean())
    some = rows[:, counts]
    # As few rows as hold what the points can do, but for a small share: the search then costs less.
    size, left = np.linalg.eigh((some @ some.T).astype(np.float64))
    left = left[:, size > LOST**2 * size[-1]]
    points, weights = non_negative(left.T.astype(rows.dtype) @ some, left.T @ target, tolerance, most)
    return counts[points], weights


def non_negative(matrix: Array, target: Array, tolerance: float, most: int) -> tuple[Ints, Array]:
    """Sparse non-negative least squares: few points whose weighted columns (r, k) sum to a target (r,); as `choose`."""
    length = np.linalg.norm(matrix, axis=0)
    # Points are compared by direction, else large cells always come first.
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > FAINT * length.mean())
    chosen = _Chosen(matrix, target)
    goal = tolerance * np.linalg.norm(target)
    while (misfit := np.linalg.norm(chosen.residual)) > goal:
        slope = (chosen.residual.astype(matrix.dtype) @ matrix) * scale
        slope[chosen.points] = 0.0
        best = int(np.argmax(slope))
        if slope[best] <= 0 or len(chosen.points) >= min(most, len(matrix)):
            raise SolverError(
                f"{len(chosen.points)} sampled cells leave {misfit / np.linalg.norm(target):.1e} of the training "
                f"forces, and the aim is {tolerance:.1e}; reduce the reach of the pulls."
            )
        chosen.take(best)
        if not np.linalg.norm(chosen.residual) < misfit:
            # Rounding, not descent, brought this point in.
            scale[best] = 0.0
    return chosen.points, chosen.weights


class _Chosen:
    """The active set of non-negative least squares."""

    def __init__(self, matrix: Array, target: Array) -> None:
        self._matrix, self._target = matrix, target
        self.points = np.zeros(0, dtype=np.int64)
        self.weights = np.zeros(0)
        self.residual = np.array(target, dtype=np.float64)

    def take(self, point: int) -> None:
        """Add a point, fit the weights, and drop points whose weight would be negative."""
        self.points, self.weights = np.append(self.points, point), np.append(self.weights, 0.0)
        while True:
            columns = self._matrix[:, self.points].astype(np.float64)
            length = np.linalg.norm(columns, axis=0)
            # By QR: the normal equations square a condition that similar cells make large already.
            left, right = qr(columns / length, mode="economic", check_finite=False)
            wanted = solve_triangular(right, left.T @ self._target, check_finite=False) / length
            if (wanted > 0).all():
                break
            falling = wanted <= 0
            share = np.min(
                self.weights[falling] / np.maximum(self.weights[falling] - wanted[falling], 1e-300)
            )
            self.weights = self.weights + share * (wanted - self.weights)
            stay = self.weights > 1e-12 * max(self.weights.max(), 1e-300)
            if stay.all():
                stay[np.argmin(self.weights)] = False
            self.points, self.weights = self.points[stay], self.weights[stay]
        self.weights = wanted
        self.residual = self._target - columns @ wanted


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _deformed(rest, slopes, z, F):  # type: ignore[no-untyped-def]
    """F of every point at z."""
    F[:] = rest
    for k in range(len(z)):
        row, share = slopes[k], z[k]
        for i in range(len(F)):
            F[i] += share * row[i]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _items_force(kernel, rest, slopes, weights, parameters, z, force):  # type: ignore[no-untyped-def]
    F, P = np.empty(len(rest)), np.empty(len(rest))
    _deformed(rest, slopes, z, F)
    result, constants, nothing = np.empty(10), np.empty(9 + parameters.shape[1]), np.zeros(12)
    smallest = np.inf
    for p in range(len(weights)):
        f = F[9 * p : 9 * p + 9]
        J = (
            f[0] * (f[4] * f[8] - f[5] * f[7])
            - f[1] * (f[3] * f[8] - f[5] * f[6])
            + f[2] * (f[3] * f[7] - f[4] * f[6])
        )
        if smallest > J or J != J:
            smallest = J
        result[:] = 0.0
        constants[:9] = f
        constants[9:] = parameters[p]
        call_kernel(kernel, result.ctypes.data, constants.ctypes.data, nothing.ctypes.data)  # type: ignore[call-arg]
        for i in range(9):
            P[9 * p + i] = weights[p] * result[1 + i]
    for k in range(len(force)):
        row, total = slopes[k], 0.0
        for i in range(len(P)):
            total += row[i] * P[i]
        force[k] += total
    return smallest


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _items_contributions(kernel, rest, slopes, weights, parameters, z, out):  # type: ignore[no-untyped-def]
    F = np.empty(len(rest))
    _deformed(rest, slopes, z, F)
    result, constants, nothing = np.empty(10), np.empty(9 + parameters.shape[1]), np.zeros(12)
    for p in range(len(weights)):
        result[:] = 0.0
        constants[:9] = F[9 * p : 9 * p + 9]
        constants[9:] = parameters[p]
        call_kernel(kernel, result.ctypes.data, constants.ctypes.data, nothing.ctypes.data)  # type: ignore[call-arg]
        for k in range(out.shape[1]):
            total = 0.0
            for i in range(9):
                total += slopes[k, 9 * p + i] * result[1 + i]
            out[p, k] = weights[p] * total


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _items_tangent(kernel, rest, slopes, weights, parameters, z, H):  # type: ignore[no-untyped-def]
    d = len(H)
    F, C = np.empty(len(rest)), np.empty((len(weights), 81))
    _deformed(rest, slopes, z, F)
    constants, nothing = np.empty(9 + parameters.shape[1]), np.zeros(12)
    C[:] = 0.0
    for p in range(len(weights)):
        constants[:9] = F[9 * p : 9 * p + 9]
        constants[9:] = parameters[p]
        call_kernel(kernel, C[p].ctypes.data, constants.ctypes.data, nothing.ctypes.data)  # type: ignore[call-arg]
        C[p] *= weights[p]
    product = np.empty(len(rest))
    for k in range(d):
        row = slopes[k]
        for p in range(len(weights)):
            for i in range(9):
                total = 0.0
                for j in range(9):
                    total += C[p, 9 * i + j] * row[9 * p + j]
                product[9 * p + i] = total
        for m in range(k + 1):
            other, total = slopes[m], 0.0
            for i in range(len(product)):
                total += other[i] * product[i]
            H[k, m] += total
            if m != k:
                H[m, k] += total
