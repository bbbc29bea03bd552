"""Change of volume of a reduced state, integrated without sampling.

On linear tetrahedra J = det F is a cubic polynomial of the displacements, hence of the reduced coordinates z. Nodal
averages couple neighbours, which makes them dear to sample. But written with the pressure p as an unknown of its own
(see `solver.averaged`), the averaged energy is a sum over cells,

    Π_vol = Σ_a p_a g_a(z) − p·p/2,   g_a(z) = Σ_e V_e ψ_ae (J_e(z) − 1),

where p = Σ_a p_a ψ_a is reduced to a few pressure modes ψ_a, orthonormal in Σ_i V_i p_i²/((1 − β) K_i), and ψ_ae is
the mean of a mode over the four averages of a cell. Elimination of p leaves Π_vol = ½ g·g, and each g_a is one cubic
form S_a[z̃, z̃, z̃] of z̃ = (1, z), whose coefficients are summed once over all cells. So the stiffest part of a nearly
incompressible tissue carries no sampling error at all, at a cost of r_p d³ multiplications (as the cubic forces of St.
Venant–Kirchhoff solids: Barbič & James 2005, ACM Trans Graph 24:982). Fewer pressure modes than averages also keep a
small basis from locking: between snapshots it can conserve the volume of regions, not of every vertex.

Those d³ are paid once for many frames. About coordinates o, with A_a = S_a[õ, ·, ·] and z = o + δ,

    g_a(z) = g_a(o) + 3 A_a[õ, δ] + 3 A_a[δ, δ] + S_a[δ, δ, δ],

and what stands before the last term costs r_p d². The last term is left out as long as a bound on what that can do to
the answer, `solver.reduced.model.LeftOut`, stays below what the answer is converged to; then A_a is formed anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from solver.averaged import FAST, Averaged

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Cells at a time: what is summed of them stays in the cache.
_CHUNK = 64


def gradients(points: Array, tets: Ints, field: Array) -> Array:
    """Gradient of a vertex field (n, 3) in cells of stress-free points, shape (m, 9), row by row."""
    corner, place = field[tets], points[tets]
    change, edges = (np.moveaxis(x[:, 1:] - x[:, :1], 1, 2) for x in (corner, place))
    return np.asarray(change @ np.linalg.inv(edges)).reshape(-1, 9)


def average_pressure(averaged: Averaged, displacement: Array) -> Array:
    """Pressure of each average at a displacement (n, 3) mm, shape (q,), kPa."""
    F = (gradients(averaged.points, averaged.tets, displacement) + np.eye(3).ravel()).reshape(-1, 3, 3)
    share = averaged.volumes * np.linalg.det(F) / 4
    volume = averaged.average_volume
    dilated = np.bincount(averaged.average.ravel(), np.repeat(share, 4), minlength=len(volume))
    return averaged.average_stiffness * (dilated / volume - 1.0)


def pressure_modes(averaged: Averaged, pressures: Array, tolerance: float, most: int) -> Array:
    """Modes of pressure, shape (r, q), orthonormal in the energy of pressure.

    Parameters
    ----------
    averaged : Averaged
    pressures : ndarray, shape (N, q)
        Of snapshots, kPa.
    tolerance : float
        Share of the energy of pressure that may be lost, on the whole.
    most : int
    """
    scale = np.sqrt(averaged.average_volume / averaged.average_stiffness)
    _, size, modes = np.linalg.svd(pressures * scale, full_matrices=False)
    left = 1 - np.cumsum(size**2) / np.sum(size**2)
    count = min(most, int(np.argmax(left <= tolerance)) + 1)
    return np.asarray(modes[:count] / scale)


@dataclass(frozen=True, eq=False)
class VolumeForm:
    """Cubic forms g_a of the reduced coordinates.

    Parameters
    ----------
    coefficients : ndarray, shape (triples, r_p), float64
        S_a[k, l, m] for m ≤ l ≤ k, with l up to d and k up to d', the last index fastest.
    constant : ndarray, shape (r_p,)
        −Σ_e V_e ψ_ae.
    size : int
        d, the coordinates that may differ from zero; d' − d more can be asked for their force.
    """

    coefficients: Array
    constant: Array
    size: int

    @property
    def coordinates(self) -> int:
        """d', all coordinates whose force can be asked for."""
        d = self.size
        inner = (d + 1) * (d + 2) * (d + 3) // 6
        return d + (len(self.coefficients) - inner) // ((d + 1) * (d + 2) // 2)

    def expand(self, z: Array) -> Expansion:
        """The forms about coordinates z, shape (d,)."""
        A = _contracted(self.coefficients, z, self.coordinates)
        change, slope = _at_origin(A, self.constant, z, self.coordinates)
        return Expansion(z.copy(), A, change, slope)

    def forces(self, z: Array, upto: int) -> Array:
        """Force on the first `upto` coordinates at z, shape (upto,)."""
        return self.expand(z).forces(z, upto)

    def tangent(self, z: Array) -> Array:
        """Derivative of the force, shape (d, d)."""
        return self.expand(z).tangent()

    def third_order(self, whitening: Array) -> Array:
        """Norms σ_a of S_a in other coordinates: |S_a[δ, δ, ·]| ≤ σ_a |y|² where δ = whitening y, shape (r_p,).

        Parameters
        ----------
        whitening : ndarray, shape (d', d')
            Upper triangular; the norm of a force f on all coordinates is |whiteningᵀ f|.
        """
        d, wide = self.size, self.coordinates
        full = _unpacked(self.coefficients, d, wide)
        norms = []
        for S in full:
            some = np.einsum("klm,lj->kjm", S, whitening[:d, :d], optimize=True) @ whitening[:d, :d]
            unfolded = whitening.T @ some.reshape(wide, -1)
            norms.append(np.sqrt(max(np.linalg.eigvalsh(unfolded @ unfolded.T)[-1], 0.0)))
        return np.array(norms)


@dataclass(frozen=True, eq=False)
class Expansion:
    """The forms about an origin, exact there and to second order elsewhere.

    Parameters
    ----------
    origin : ndarray, shape (d,)
    curvature : ndarray, shape (pairs, r_p)
        A_a[k, l] for l ≤ k, with l up to d and k up to d'.
    change : ndarray, shape (r_p,)
        g_a at the origin.
    slope : ndarray, shape (d', r_p)
        Its derivatives there.
    """

    origin: Array
    curvature: Array
    change: Array
    slope: Array

    def forces(self, z: Array, upto: int) -> Array:
        """Force on the first `upto` coordinates at z, shape (upto,)."""
        change, gradient = self.changes(z, upto)
        return gradient @ change

    def changes(self, z: Array, upto: int | None = None) -> tuple[Array, Array]:
        """g_a, shape (r_p,), and its derivatives by the first `upto` coordinates, shape (upto, r_p), at z."""
        upto = len(self.slope) if upto is None else upto
        return _near(self.curvature, self.change, self.slope, z - self.origin, upto)

    def tangent(self) -> Array:
        """Derivative of the force at the origin, shape (d, d): Σ_a ∇g_a ∇g_aᵀ + g_a ∇²g_a with ∇²g_a = 6 A_a."""
        d = len(self.origin)
        low = np.tril_indices(d + 1)
        H = np.zeros((d + 1, d + 1))
        H[low] = 6.0 * (self.curvature[: len(low[0])] @ self.change)
        H.T[low] = H[low]
        return np.asarray(H[1:, 1:] + self.slope[:d] @ self.slope[:d].T)


def volume_form(averaged: Averaged, rest: Array, basis: Array, size: int, modes: Array) -> VolumeForm:
    """Sum the cubic forms over all cells.

    Parameters
    ----------
    averaged : Averaged
    rest : ndarray, shape (n, 3)
        Displacement at z = 0, mm.
    basis : ndarray, shape (d', n, 3)
    size : int
        d.
    modes : ndarray, shape (r_p, q)
        Pressure modes.
    """
    G = np.stack([gradients(averaged.points, averaged.tets, field) for field in (rest, *basis)], axis=1)
    G[:, 0] += np.eye(3).ravel()
    weight = averaged.volumes[:, None] * modes[:, averaged.average].mean(axis=2).T
    pair = np.array([(k, j) for k in range(len(basis) + 1) for j in range(min(k, size) + 1)])
    found = np.zeros((int((pair[:, 1] + 1).sum()), len(modes)))
    for start in range(0, len(G), _CHUNK):
        part = slice(start, start + _CHUNK)
        mixed = _mixed_determinants(np.ascontiguousarray(G[part]), pair, len(found))
        found += mixed.T @ weight[part]
    return VolumeForm(found, -weight.sum(axis=0), size)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _mixed_determinants(G, pair, triples):  # type: ignore[no-untyped-def]
    """(G_k × G_l) : G_m / 6 of every cell, pair and m ≤ l: the symmetric trilinear form whose diagonal is det."""
    out = np.zeros((len(G), triples))
    H = np.empty(9)
    for e in range(len(G)):
        slopes, at = G[e].T.copy(), 0
        for p in range(len(pair)):
            last = pair[p, 1]
            _cross(G[e, pair[p, 0]], G[e, last], H)
            for i in range(9):
                share = H[i] / 6.0
                for m in range(last + 1):
                    out[e, at + m] += share * slopes[i, m]
            at += last + 1
    return out


@numba.njit(nogil=True, cache=True, inline="always")
def _cross(a, b, out):  # type: ignore[no-untyped-def]
    """Tensor cross product (Bonet, Gil & Ortigosa 2015, Comput Methods Appl Mech Eng 283:1061): a × a = 2 cof a."""
    out[0] = a[4] * b[8] - a[5] * b[7] + b[4] * a[8] - b[5] * a[7]
    out[1] = a[5] * b[6] - a[3] * b[8] + b[5] * a[6] - b[3] * a[8]
    out[2] = a[3] * b[7] - a[4] * b[6] + b[3] * a[7] - b[4] * a[6]
    out[3] = a[2] * b[7] - a[1] * b[8] + b[2] * a[7] - b[1] * a[8]
    out[4] = a[0] * b[8] - a[2] * b[6] + b[0] * a[8] - b[2] * a[6]
    out[5] = a[1] * b[6] - a[0] * b[7] + b[1] * a[6] - b[0] * a[7]
    out[6] = a[1] * b[5] - a[2] * b[4] + b[1] * a[5] - b[2] * a[4]
    out[7] = a[2] * b[3] - a[0] * b[5] + b[2] * a[3] - b[0] * a[5]
    out[8] = a[0] * b[4] - a[1] * b[3] + b[0] * a[4] - b[1] * a[3]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _unpacked(coefficients, size, wide):  # type: ignore[no-untyped-def]
    """S_a without the constant coordinate, shape (r_p, d', d, d)."""
    full = np.zeros((coefficients.shape[1], wide, size, size))
    at = 0
    for k in range(wide + 1):
        for j in range(min(k, size) + 1):
            for m in range(j + 1):
                if m > 0:
                    for a in range(coefficients.shape[1]):
                        value = coefficients[at, a]
                        full[a, k - 1, j - 1, m - 1] = full[a, k - 1, m - 1, j - 1] = value
                        if k <= size:
                            full[a, j - 1, k - 1, m - 1] = full[a, j - 1, m - 1, k - 1] = value
                            full[a, m - 1, k - 1, j - 1] = full[a, m - 1, j - 1, k - 1] = value
                at += 1
    return full


@numba.njit(nogil=True, cache=True, inline="always")
def _row(k, d):  # type: ignore[no-untyped-def]
    """Where the pairs of coordinate k begin."""
    if k <= d:
        return k * (k + 1) // 2
    return (d + 1) * (d + 2) // 2 + (k - d - 1) * (d + 1)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _contracted(coefficients, z, wide):  # type: ignore[no-untyped-def]
    """A_a[k, l] = Σ_m S_a[k, l, m] z̃_m, every coefficient read once and used for each of its places."""
    d, modes = len(z), coefficients.shape[1]
    S = coefficients.reshape(-1)
    A = np.zeros(_row(wide + 1, d) * modes)
    full = np.empty(d + 1)
    full[0] = 1.0
    full[1:] = z
    at = 0
    for k in range(wide + 1):
        inside = k <= d
        own = _row(k, d) * modes
        for j in range(min(k, d) + 1):
            block = S[at : at + (j + 1) * modes]
            at += (j + 1) * modes
            here = A[own + j * modes : own + (j + 1) * modes]
            for m in range(j + 1):
                share = full[m]
                for a in range(modes):
                    here[a] += share * block[m * modes + a]
            # What stands at (k, l, m) stands at (k, m, l) and (l, m, k) too.
            below = j * modes
            into = A[own : own + below]
            for i in range(below):
                into[i] += full[j] * block[i]
            if inside and j < k:
                below += modes
                into = A[_row(j, d) * modes : _row(j, d) * modes + below]
                for i in range(below):
                    into[i] += full[k] * block[i]
    return A.reshape(-1, modes)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _at_origin(A, constant, z, wide):  # type: ignore[no-untyped-def]
    """g_a and its derivatives 3 (A_a z̃)_k by all coordinates, shape (d', r_p)."""
    d, modes = len(z), len(constant)
    full = np.empty(d + 1)
    full[0] = 1.0
    full[1:] = z
    product = _products(A, full, wide, 0)
    change = constant.copy()
    for k in range(d + 1):
        for a in range(modes):
            change[a] += product[k, a] * full[k]
    return change, 3.0 * product[1:]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _products(A, full, upto, first):  # type: ignore[no-untyped-def]
    """Σ_l A_a[k, l] full_l over l ≥ first, for k up to a coordinate, shape (upto + 1, r_p)."""
    d, modes = len(full) - 1, A.shape[1]
    flat = A.reshape(-1)
    product = np.zeros((upto + 1) * modes)
    for k in range(first, upto + 1):
        here = product[k * modes : (k + 1) * modes]
        own = _row(k, d) * modes
        for j in range(first, min(k, d) + 1):
            share = full[j]
            row = flat[own + j * modes : own + (j + 1) * modes]
            for a in range(modes):
                here[a] += share * row[a]
        if k <= d:
            share = full[k]
            row = flat[own + first * modes : own + k * modes]
            into = product[first * modes : k * modes]
            for i in range(len(row)):
                into[i] += share * row[i]
    return product.reshape(-1, modes)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _near(A, change, slope, shift, upto):  # type: ignore[no-untyped-def]
    """g_a without its third order, and its derivatives without their second, at a shift from the origin."""
    d, modes = len(shift), len(change)
    full = np.empty(d + 1)
    full[0] = 0.0
    full[1:] = shift
    product = _products(A, full, upto, 1)
    g, gradient = change.copy(), np.empty((upto, modes))
    for k in range(upto):
        share = shift[k] if k < d else 0.0
        for a in range(modes):
            g[a] += (slope[k, a] + 3.0 * product[k + 1, a]) * share
            gradient[k, a] = slope[k, a] + 6.0 * product[k + 1, a]
    return g, gradient
