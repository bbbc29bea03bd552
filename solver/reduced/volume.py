"""Change of volume of a reduced state, integrated without sampling.

On linear tetrahedra J = det F is a cubic polynomial of the displacements, hence of the reduced coordinates z. Nodal
averages couple neighbours, which makes them dear to sample. But written with the pressure p as an unknown of its own
(see `solver.averaged`), the averaged energy is a sum over cells,

    Π_vol = Σ_a p_a g_a(z) − p·p/2,   g_a(z) = Σ_e V_e ψ_ae (J_e(z) − 1),

where p = Σ_a p_a ψ_a is reduced to a few pressure modes ψ_a, orthonormal in Σ_i V_i p_i²/((1 − β) K_i), and ψ_ae is
the mean of a mode over the four averages of a cell. Elimination of p leaves Π_vol = ½ g·g, and each g_a is one cubic
form S_a[z̃, z̃, z̃] of z̃ = (1, z), whose coefficients are summed once over all cells. So the stiffest part of a nearly
incompressible tissue carries no sampling error at all, and costs r_p d³/2 multiplications (as the cubic forces of St.
Venant–Kirchhoff solids do: Barbič & James 2005, ACM Trans Graph 24:982). Fewer pressure modes than averages also keep
a small basis from locking: between snapshots it can conserve the volume of regions, not of every vertex.
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
    coefficients : ndarray, shape (d + 1, r_p, pairs), float64
        S_a[m, k, l]: third index first; pairs (k, l ≤ k) with k up to d' and l up to d.
    constant : ndarray, shape (r_p,)
        −Σ_e V_e ψ_ae.
    size : int
        d, the coordinates that may differ from zero; d' − d more can be asked for their force.
    """

    coefficients: Array
    constant: Array
    size: int

    def forces(self, z: Array, upto: int) -> Array:
        """Force on the first `upto` coordinates at z, shape (upto,)."""
        force = np.empty(upto)
        _volume_force(self.coefficients, self.constant, z, force)
        return force

    def tangent(self, z: Array) -> Array:
        """Derivative of the force, shape (d, d)."""
        return np.asarray(_volume_tangent(self.coefficients, self.constant, z))


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
    found = np.zeros((len(modes), (size + 1) * len(pair)))
    for start in range(0, len(G), _CHUNK):
        part = slice(start, start + _CHUNK)
        mixed = _mixed_determinants(np.ascontiguousarray(G[part]), pair, size + 1)
        found += weight[part].T @ mixed.reshape(len(mixed), -1)
    coefficients = np.ascontiguousarray(found.reshape(len(modes), len(pair), size + 1).transpose(2, 0, 1))
    return VolumeForm(coefficients, -weight.sum(axis=0), size)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _mixed_determinants(G, pair, thirds):  # type: ignore[no-untyped-def]
    """(G_k × G_l) : G_m / 6 of every cell, pair and third: the symmetric trilinear form whose diagonal is det."""
    out = np.zeros((len(G), len(pair), thirds))
    H = np.empty(9)
    for e in range(len(G)):
        slopes = G[e].T.copy()
        for p in range(len(pair)):
            _cross(G[e, pair[p, 0]], G[e, pair[p, 1]], H)
            for i in range(9):
                share = H[i] / 6.0
                for m in range(thirds):
                    out[e, p, m] += share * slopes[i, m]
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
def _contracted(coefficients, z, pairs):  # type: ignore[no-untyped-def]
    """A_a[k, l] = Σ_m S_a[m, k, l] z̃_m, packed, for the first pairs."""
    modes = coefficients.shape[1]
    A = coefficients[0, :, :pairs].copy()
    for m in range(len(z)):
        for a in range(modes):
            row, out = coefficients[m + 1, a], A[a]
            for p in range(pairs):
                out[p] += z[m] * row[p]
    return A


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _change(A, constant, z, upto, g, slope):  # type: ignore[no-untyped-def]
    """g_a and its derivatives 3 (A_a z̃)_k by the first coordinates."""
    d = len(z)
    full = np.empty(d + 1)
    full[0] = 1.0
    full[1:] = z
    for a in range(len(g)):
        product = np.zeros(upto + 1)
        at = 0
        for k in range(upto + 1):
            for j in range(min(k + 1, d + 1)):
                product[k] += A[a, at] * full[j]
                if j != k and k <= d:
                    product[j] += A[a, at] * full[k]
                at += 1
        total = constant[a]
        for k in range(d + 1):
            total += product[k] * full[k]
        g[a] = total
        for k in range(upto):
            slope[a, k] = 3.0 * product[k + 1]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _pair_count(upto, d):  # type: ignore[no-untyped-def]
    return (d + 1) * (d + 2) // 2 + (upto - d) * (d + 1)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _volume_force(coefficients, constant, z, force):  # type: ignore[no-untyped-def]
    upto, d = len(force), len(z)
    A = _contracted(coefficients, z, _pair_count(upto, d))
    g, slope = np.empty(len(constant)), np.empty((len(constant), upto))
    _change(A, constant, z, upto, g, slope)
    force[:] = 0.0
    for a in range(len(g)):
        for k in range(upto):
            force[k] += g[a] * slope[a, k]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _volume_tangent(coefficients, constant, z):  # type: ignore[no-untyped-def]
    """Σ_a ∇g_a ∇g_aᵀ + g_a ∇²g_a with ∇²g_a = 6 A_a."""
    d = len(z)
    A = _contracted(coefficients, z, _pair_count(d, d))
    g, slope = np.empty(len(constant)), np.empty((len(constant), d))
    _change(A, constant, z, d, g, slope)
    H = np.zeros((d, d))
    for a in range(len(g)):
        at = 1
        for k in range(d):
            at += 1
            for j in range(k + 1):
                value = slope[a, k] * slope[a, j] + 6.0 * g[a] * A[a, at]
                H[k, j] += value
                if j != k:
                    H[j, k] += value
                at += 1
    return H
