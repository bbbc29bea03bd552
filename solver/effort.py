"""Effort: what the tools do to the tissue in the course of an operation: way, work, force; a value that goes back with
every undo. From step to step a tool moves by Δx while its force on the tissue goes from F₀ to F₁; its work is
½ (F₀ + F₁)·Δx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Place = tuple[float, float, float]


@dataclass(frozen=True)
class ToolEffort:
    """What one tool has done so far.

    Parameters
    ----------
    path_mm : float
        Length of its way while it held or might touch tissue.
    work_mJ : float
        Work on the tissue; what the tissue gives back when it is let down counts against it.
    peak_force_N : float
        Largest force on the tissue.
    impulse_N_s : float
        Force integrated over time.
    position_mm, force_N : (float, float, float) or None
        Where it was and with which force after the last step; None while it is away.
    """

    path_mm: float = 0.0
    work_mJ: float = 0.0
    peak_force_N: float = 0.0
    impulse_N_s: float = 0.0
    position_mm: Place | None = None
    force_N: Place | None = None

    def after(self, position_mm: Array | None, force_N: Array | None, seconds: float) -> ToolEffort:
        """The effort after a step that brought the tool to a position with a force, both shape (3,).

        No position: the tool is away from the tissue.
        """
        if position_mm is None:
            return replace(self, position_mm=None, force_N=None)
        force = np.zeros(3) if force_N is None else force_N
        path, work, size = self.path_mm, self.work_mJ, float(np.linalg.norm(force))
        if self.position_mm is not None and self.force_N is not None:
            way = position_mm - np.asarray(self.position_mm)
            path += float(np.linalg.norm(way))
            work += 0.5 * float((force + np.asarray(self.force_N)) @ way)
        x, y, z = map(float, position_mm)
        a, b, c = map(float, force)
        peak, impulse = max(self.peak_force_N, size), self.impulse_N_s + size * seconds
        return ToolEffort(path, work, peak, impulse, (x, y, z), (a, b, c))


@dataclass(frozen=True)
class Effort:
    """What every tool has done so far.

    Parameters
    ----------
    tools : mapping of str to ToolEffort
        By name.
    peak_total_force_N : float
        Largest sum of the forces of all tools at one moment.
    """

    tools: Mapping[str, ToolEffort] = field(default_factory=dict)
    peak_total_force_N: float = 0.0

    def after(self, places: Mapping[str, Array], forces: Mapping[str, Array], seconds: float) -> Effort:
        """The effort after a step at whose end the tools are at these places and act with these forces."""
        names = sorted(places.keys() | self.tools.keys())
        tools = {
            name: self.tools.get(name, ToolEffort()).after(places.get(name), forces.get(name), seconds)
            for name in names
        }
        total = sum(float(np.linalg.norm(force)) for force in forces.values())
        return Effort(tools, max(self.peak_total_force_N, total))

    def describe(self) -> dict[str, Any]:
        """JSON-ready numbers: of all tools together, and of each."""
        each = self.tools.values()
        numbers = ("peak_force_N", "path_mm", "work_mJ", "impulse_N_s")
        return {
            "peak_force_N": max((tool.peak_force_N for tool in each), default=0.0),
            "peak_total_force_N": self.peak_total_force_N,
            "path_mm": sum(tool.path_mm for tool in each),
            "work_mJ": sum(tool.work_mJ for tool in each),
            "impulse_N_s": sum(tool.impulse_N_s for tool in each),
            "by_tool": {n: {k: getattr(t, k) for k in numbers} for n, t in sorted(self.tools.items())},
        }
