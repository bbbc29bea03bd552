"""Effort: how far a tool went, what work it did on the tissue, and its largest force."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Place = tuple[float, float, float]


@dataclass(frozen=True)
class Effort:
    """What one tool has done so far.

    Parameters
    ----------
    path_mm : float
        Length of its way while it held or might touch tissue.
    work_mJ : float
        ∫ F·dx of its force on the tissue along its way, by the trapezoidal rule from step to step; what the tissue
        gives back when it is let down counts as negative.
    peak_N : float
        Largest force.
    position_mm, force_N : (float, float, float) or None
        Where it was and with which force after the last step; None while it is away.
    """

    path_mm: float = 0.0
    work_mJ: float = 0.0
    peak_N: float = 0.0
    position_mm: Place | None = None
    force_N: Place | None = None

    def after(self, position_mm: Array | None, force_N: Array | None) -> Effort:
        """The effort after a step that brought the tool to a position with a force, both shape (3,).

        No position: the tool is away from the tissue.
        """
        if position_mm is None:
            return replace(self, position_mm=None, force_N=None)
        force = np.zeros(3) if force_N is None else force_N
        path, work = self.path_mm, self.work_mJ
        if self.position_mm is not None and self.force_N is not None:
            way = position_mm - np.asarray(self.position_mm)
            path += float(np.linalg.norm(way))
            work += 0.5 * float((force + np.asarray(self.force_N)) @ way)
        x, y, z = map(float, position_mm)
        a, b, c = map(float, force)
        peak = max(self.peak_N, float(np.linalg.norm(force)))
        return Effort(path, work, peak, (x, y, z), (a, b, c))
