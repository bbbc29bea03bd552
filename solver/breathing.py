"""Breathing: the periodic movement of what an organ hangs from.

The diaphragm goes down with every breath and stays up longer than down, which is described by
d(t) = A sin²ⁿ(π t / T) from the end of expiration (Lujan 1999, Med Phys 26:715, where it is the cosine of a shifted
phase; n = 2 as in Le Tran 2019, Brain and Human Body Modeling, § 18.1). It acts in one of two ways: vertices that are
prescribed go with it (`Breathing.prescribed`), or the far end of an elastic attachment does (`MovedAnchor`), so that
the organ follows as far as its other supports let it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.backend import fem, ufl
from solver.body import Body
from solver.errors import SolverError

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Breathing:
    """Movement of the diaphragm in quiet breathing.

    Parameters
    ----------
    amplitude_mm : float
        Way from the end of expiration to the end of inspiration. The default is the average that Le Tran 2019 (Brain
        and Human Body Modeling, § 18.1) gives for the diaphragm, 20 ± 7 mm; 10 to 30 mm are usual.
    period_s : float
        Of one breath; the default is 15 breaths a minute, the middle of the 12 to 18 of an adult at rest.
    direction : tuple of float
        Of inspiration, LPS; default towards the feet.
    exponent : int
        n of the wave; larger stays longer in expiration.
    """

    amplitude_mm: float = 20.0
    period_s: float = 4.0
    direction: tuple[float, float, float] = (0.0, 0.0, -1.0)
    exponent: int = 2

    def __post_init__(self) -> None:
        if not (np.isfinite(self.amplitude_mm) and self.amplitude_mm >= 0):
            raise SolverError(
                f"The amplitude of breathing is {self.amplitude_mm:g} mm; it cannot be negative."
            )
        if not (np.isfinite(self.period_s) and self.period_s > 0):
            raise SolverError(f"The period of breathing is {self.period_s:g} s; it must be positive.")
        if not np.linalg.norm(self.direction) > 0:
            raise SolverError("Breathing has no direction; give one in LPS, such as (0, 0, -1).")
        if self.exponent < 1:
            raise SolverError(f"The exponent of breathing is {self.exponent}; it must be 1 or more.")

    def displacement(self, time_s: float) -> Array:
        """Displacement of the diaphragm from the end of expiration, mm, shape (3,)."""
        direction = np.asarray(self.direction, dtype=np.float64)
        way = self.amplitude_mm * np.sin(np.pi * time_s / self.period_s) ** (2 * self.exponent)
        return np.asarray(way * direction / np.linalg.norm(direction))

    def prescribed(self, vertices: ArrayLike, time_s: float) -> tuple[Index, Array]:
        """Vertices, shape (k,), and their displacement at a time, mm, shape (k, 3), for a solver to prescribe."""
        index = np.atleast_1d(np.asarray(vertices, dtype=np.int64))
        return index, np.tile(self.displacement(time_s), (len(index), 1))


class MovedAnchor:
    """The far end of an elastic attachment, moved: a load k w on the patch of the attachment.

    Parameters
    ----------
    attachment : str
        A name of `Body.attachments`.
    motion : Breathing, optional
        Followed with time by `at`; default it stays where `move` puts it.

    Notes
    -----
    The attachment stores k/2 |u − w|² instead of k/2 |u|², u and w being counted from the stress-free shape. A divided
    attachment pulls no more.
    """

    conservative = True

    def __init__(self, attachment: str, motion: Breathing | None = None) -> None:
        self.attachment, self.motion = attachment, motion
        self._way = np.zeros(3)
        self._constants: list[fem.Constant] = []

    def move(self, displacement_mm: ArrayLike) -> None:
        """Put the anchor this far from where it is in the scan, mm, shape (3,); solvers see it at once."""
        way = np.asarray(displacement_mm, dtype=np.float64)
        if way.shape != (3,) or not np.isfinite(way).all():
            raise SolverError(
                f"The anchor of '{self.attachment}' is moved by {displacement_mm!r}; give x, y, z in mm."
            )
        self._way = way
        for constant in self._constants:
            constant.value[:] = way

    def at(self, time_s: float) -> None:
        """Put the anchor where its motion has it at a time."""
        if self.motion is not None:
            self.move(self.motion.displacement(time_s))

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> ufl.Form:
        """Virtual work of the moved anchor in direction v, scaled by `share`."""
        numbers = [i for i, a in enumerate(body.attachments) if a.name == self.attachment]
        if not numbers:
            known = ", ".join(sorted({a.name for a in body.attachments})) or "none"
            raise SolverError(f"There is no attachment '{self.attachment}' to move; the body has {known}.")
        way = fem.Constant(body.mesh, self._way.copy())
        self._constants.append(way)
        n = ufl.FacetNormal(body.mesh)
        total: Any = 0
        for i in numbers:
            normal, tangential = body.stiffness[i]
            pull = tangential * way + (normal - tangential) * ufl.inner(way, n) * n
            total += share * ufl.inner(pull, v) * body.ds(i)
        return total
