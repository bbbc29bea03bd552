"""Respond: whether the tissue answers in time or at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act
from solver.errors import SolverError
from solver.field import STEP_S

if TYPE_CHECKING:
    from solver.field import OperativeField

MODES = ("dynamic", "quasi-static")


@dataclass(frozen=True)
class Respond(Act):
    """Let the tissue answer in time, with inertia, viscosity and relaxation, or at once, by equilibria.

    Physics: `solver.live_motion` (inertia, Kelvin–Voigt viscosity, damping by what surrounds the organ) and, for
    tissues whose Prony series is published, `solver.live_relaxation`; in steps of 1/60 s, whatever the frame rate.

    Parameters
    ----------
    mode : {"dynamic", "quasi-static"}
        In time, or at once, which is how every rehearsal begins.

    Raises
    ------
    SolverError
        If there is no such mode.
    """

    act: ClassVar[str] = "respond"
    mode: str

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SolverError(f"Tissue responds in one of the modes {', '.join(MODES)}, not {self.mode!r}.")

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """From now on."""
        if self.mode == "dynamic":
            field.move_in_time(STEP_S)
        else:
            field.rest_at_once()
        return lambda share: None
