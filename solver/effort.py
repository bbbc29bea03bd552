"""Effort: what the tools do to the tissue in the course of an operation.

A process, so that it goes on with every step, live or in replay, and goes back with every undo. Between two steps a
tool moves by Δx while its force on the tissue goes from F₀ to F₁; the work is ½ (F₀ + F₁)·Δx. A process sees where
tools were brought before the tissue has followed, so a move is counted at the next step, when its force is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ToolEffort:
    """What one tool has done.

    Parameters
    ----------
    peak_force_N : float
        Largest force on the tissue.
    path_mm : float
        Way of the tool while it held tissue.
    work_mJ : float
        Work on the tissue; what the tissue gives back on the way home counts against it.
    impulse_N_s : float
        Force integrated over time.
    """

    peak_force_N: float = 0.0
    path_mm: float = 0.0
    work_mJ: float = 0.0
    impulse_N_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Effort:
    """What every tool has done so far.

    Parameters
    ----------
    tools : mapping of str to ToolEffort
        By name.
    peak_total_force_N : float
        Largest sum of the forces of all tools at one moment, N.
    """

    tools: Mapping[str, ToolEffort] = field(default_factory=dict)
    peak_total_force_N: float = 0.0
    _before: Mapping[str, Array] = field(default_factory=dict)
    _places: Mapping[str, Array] = field(default_factory=dict)
    _forces: Mapping[str, Array] = field(default_factory=dict)

    def advanced(self, operated: OperativeField, seconds: float) -> Effort:
        """The effort up to the present state, `seconds` before the end of the step that begins."""
        forces = operated.live.forces_N
        tools = dict(self.tools)
        for name, force in forces.items():
            done, size = tools.get(name, ToolEffort()), float(np.linalg.norm(force))
            way, work = 0.0, 0.0
            if name in self._places and name in self._before:
                step = self._places[name] - self._before[name]
                way = float(np.linalg.norm(step))
                work = 0.5 * float((force + self._forces.get(name, force)) @ step)
            tools[name] = ToolEffort(
                max(done.peak_force_N, size),
                done.path_mm + way,
                done.work_mJ + work,
                done.impulse_N_s + size * seconds,
            )
        total = sum(float(np.linalg.norm(force)) for force in forces.values())
        return replace(
            self,
            tools=tools,
            peak_total_force_N=max(self.peak_total_force_N, total),
            _before=self._places,
            _places=operated.live.tools,
            _forces=forces,
        )

    def carried(self, change: TopologyChange) -> Effort:
        """The same: forces and ways are of tools, not of the mesh."""
        return self

    def describe(self) -> dict[str, Any]:
        """JSON-ready numbers: of all tools together, and of each."""
        each = self.tools.values()
        return {
            "peak_force_N": max((tool.peak_force_N for tool in each), default=0.0),
            "peak_total_force_N": self.peak_total_force_N,
            "path_mm": sum(tool.path_mm for tool in each),
            "work_mJ": sum(tool.work_mJ for tool in each),
            "impulse_N_s": sum(tool.impulse_N_s for tool in each),
            "by_tool": {name: vars(tool).copy() for name, tool in sorted(self.tools.items())},
        }
