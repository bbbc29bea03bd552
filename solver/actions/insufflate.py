"""Insufflate: gas fills the abdomen and presses on the free surface of the organ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act, checked_duration, checked_number
from solver.errors import SolverError
from solver.pneumoperitoneum import KPA_PER_MMHG, LOAD, Pneumoperitoneum, free_surface

if TYPE_CHECKING:
    from solver.field import OperativeField

HIGHEST_MMHG = 30.0


@dataclass(frozen=True)
class Insufflate(Act):
    """Bring the abdomen to a pressure, from what it has.

    Physics: the pressure follows the deformed outer surface wherever no attachment holds it, cut faces included
    (`solver.pneumoperitoneum`); it grows or falls evenly over `duration_s`. What an attachment leads to (diaphragm,
    retroperitoneum) is taken as fixed. The guideline of the European Association for Endoscopic Surgery asks for the
    lowest pressure that gives exposure, and takes less than 14 mmHg as safe in a healthy patient (Neudecker et al.
    2002, Surg Endosc 16:1121); more than 30 is refused.

    Parameters
    ----------
    pressure_mmHg : float
        Above that of the surroundings; 1 mmHg is 0.1333 kPa.
    duration_s : float
        Time it takes; 0 is within one frame.

    Raises
    ------
    SolverError
        If the pressure is not above 0 and at most 30 mmHg. When it begins: if all of the surface is held.
    """

    act: ClassVar[str] = "insufflate"
    pressure_mmHg: float = 12.0
    duration_s: float = 3.0

    def __post_init__(self) -> None:
        pressure = checked_number(self.pressure_mmHg, "pressure_mmHg", positive=True)
        if pressure > HIGHEST_MMHG:
            raise SolverError(
                f"pressure_mmHg is {pressure:g}; laparoscopy uses 10 to 15 mmHg, give at most {HIGHEST_MMHG:g}."
            )
        object.__setattr__(self, "pressure_mmHg", pressure)
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Set out from the present pressure."""
        live = field.live
        if not len(free_surface(live.body)):
            names = ", ".join(sorted({a.name for a in live.body.attachments if not a.released}))
            raise SolverError(
                f"No gas can reach the organ: all of its surface is held by {names}; mobilise it first."
            )
        start = pressure_of(field)
        end = self.pressure_mmHg * KPA_PER_MMHG

        def carry(share: float) -> None:
            # The surface may have changed on the way: the load of the field knows what is left of it.
            gas = live.loads.get(LOAD) or Pneumoperitoneum.around(live.body, 0.0, live.positions)
            assert isinstance(gas, Pneumoperitoneum)
            gas = gas.at(start + share * (end - start))
            live.add_load(LOAD, gas)
            if share >= 1.0:
                area = gas.area_mm2(live.positions) / 100.0
                field.tell(
                    "pneumoperitoneum",
                    f"The abdomen is at {self.pressure_mmHg:g} mmHg ({end:.2f} kPa), on {area:.0f} cm² of the organ.",
                    pressure_mmHg=self.pressure_mmHg,
                    area_cm2=area,
                )

        return carry


def pressure_of(field: OperativeField) -> float:
    """Present pressure of the gas in the abdomen, kPa; 0 without any."""
    gas = field.live.loads.get(LOAD)
    return gas.pressure_kPa if isinstance(gas, Pneumoperitoneum) else 0.0
