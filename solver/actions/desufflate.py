"""Desufflate: the gas leaves the abdomen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act, checked_duration
from solver.actions.insufflate import pressure_of
from solver.errors import SolverError
from solver.pneumoperitoneum import LOAD, Pneumoperitoneum

if TYPE_CHECKING:
    from solver.field import OperativeField


@dataclass(frozen=True)
class Desufflate(Act):
    """Let the gas out.

    Physics: the pressure of `Insufflate` falls evenly to nothing over `duration_s`.

    Parameters
    ----------
    duration_s : float
        Time it takes; 0 is within one frame.

    Raises
    ------
    SolverError
        When it begins, if there is no gas.
    """

    act: ClassVar[str] = "desufflate"
    duration_s: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Set out from the present pressure."""
        live = field.live
        start = pressure_of(field)
        if not start:
            raise SolverError("There is no gas in the abdomen to let out; insufflate first.")

        def carry(share: float) -> None:
            gas = live.loads[LOAD]
            assert isinstance(gas, Pneumoperitoneum)
            if share < 1.0:
                live.add_load(LOAD, gas.at((1.0 - share) * start))
            else:
                live.remove_load(LOAD)

        return carry
