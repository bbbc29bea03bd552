"""Rigid-body modes: which ways a piece of tissue can still move as a whole, and what to call them.

Six displacements strain nothing: three translations and three rotations. A support that resists all of them leaves
one equilibrium; a mode it does not resist has no stiffness, and the piece drifts along it without an answer. The
modes are found as the null space of the 6 × 6 stiffness that the supports have against them, and named in the
patient's axes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

AXES = ("x (left-right)", "y (front-back)", "z (head-foot)")
# A mode counts as free where its stiffness is this small a part of the largest.
FREE = 1e-9


def rigid_modes(offset: Array) -> Array:
    """Displacement of points by three unit translations and three unit rotations about the origin.

    Parameters
    ----------
    offset : ndarray, shape (k, 3), float64

    Returns
    -------
    ndarray, shape (k, 3, 6), float64
    """
    modes = np.zeros((len(offset), 3, 6))
    modes[:, [0, 1, 2], [0, 1, 2]] = 1
    x, y, z = offset.T
    modes[:, 1, 3], modes[:, 2, 3] = -z, y
    modes[:, 0, 4], modes[:, 2, 4] = z, -x
    modes[:, 0, 5], modes[:, 1, 5] = -y, x
    return modes


def free_modes(stiffness: Array, centre: Array, size: float) -> list[str]:
    """Names of the rigid-body modes that a support does not resist.

    Parameters
    ----------
    stiffness : ndarray, shape (6, 6), float64
        Of the supports against `rigid_modes((points − centre) / size)`.
    centre : ndarray, shape (3,), float64
        mm, LPS.
    size : float
        mm.

    Returns
    -------
    list of str
        Such as "translation along the x (left-right) axis"; empty where every mode is resisted.
    """
    values, vectors = np.linalg.eigh(stiffness)
    free = vectors[:, values <= FREE * max(values[-1], 1e-300)]
    if not free.shape[1]:
        return []
    # Free translations are the combinations without any rotation; the rest of the space turns.
    _, singular, right = np.linalg.svd(free[3:])
    turning = int((singular > 1e-6).sum())
    translations = free @ right[turning:].T
    rotations = free @ right[:turning].T
    return [
        *(_translation(t[:3]) for t in _aligned(translations, slice(0, 3)).T),
        *(_rotation(r, centre, size, bool(turning == 1)) for r in _aligned(rotations, slice(3, 6)).T),
    ]


def _aligned(modes: Array, part: slice) -> Array:
    """The same space in its basis nearest to the axes (reduced echelon form of one half of the modes)."""
    rows = modes.T.copy()
    columns = np.arange(6)[part]
    for k in range(len(rows)):
        best = int(np.abs(rows[k:][:, columns]).max(axis=0).argmax())
        pivot = k + int(np.abs(rows[k:, columns[best]]).argmax())
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] /= rows[k, columns[best]]
        others = np.arange(len(rows)) != k
        rows[others] -= np.outer(rows[others, columns[best]], rows[k])
    return rows[np.argsort(np.abs(rows[:, columns]).argmax(axis=1))].T if len(rows) else rows.T


def _direction(vector: Array) -> str:
    unit = vector / np.linalg.norm(vector)
    largest = int(np.abs(unit).argmax())
    if abs(unit[largest]) > 0.999:
        return f"the {AXES[largest]} axis"
    return f"the direction ({unit[0]:.2f}, {unit[1]:.2f}, {unit[2]:.2f})"


def _translation(mode: Array) -> str:
    return f"translation along {_direction(mode)}"


def _rotation(mode: Array, centre: Array, size: float, alone: bool) -> str:
    """A rotation, with the point its axis passes where it is the only one."""
    turn = mode[3:] / size
    name = f"rotation about {_direction(turn)}"
    if not alone:
        return name
    at = np.round(centre + np.cross(turn, mode[:3]) / (turn @ turn)) + 0.0  # no −0
    return f"{name} through x {at[0]:.0f}, y {at[1]:.0f}, z {at[2]:.0f} mm"
