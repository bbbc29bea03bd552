"""Mobilise: ligaments and adhesions are divided, so that an organ can be moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act, checked_name
from solver.errors import SolverError
from solver.pneumoperitoneum import LOAD, Pneumoperitoneum

if TYPE_CHECKING:
    from solver.field import OperativeField


@dataclass(frozen=True)
class Mobilise(Act):
    """Divide attachments by their names.

    Physics: a divided attachment stores no energy and pulls no more (`solver.attachments`); the organ comes to rest
    under what still holds it. Scissors and energy devices pass a thin fold without moving the organ, so division is
    taken as instantaneous. Where gas fills the abdomen it presses on the freed surface as well. To mobilise the left
    lobe of the liver is to divide its left triangular, the coronary and the falciform ligament (Blumgart 2017,
    Surgery of the Liver, Biliary Tract and Pancreas, 6th ed.).

    Parameters
    ----------
    attachments : tuple of str
        Names, as of `Body.attachments`.

    Raises
    ------
    SolverError
        If no name is given. When it begins: if the body has no such attachment, it is divided already, or nothing
        would hold a piece of the body any more; then nothing is divided.
    """

    act: ClassVar[str] = "mobilise"
    attachments: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.attachments, (tuple, list)) or not self.attachments:
            raise SolverError(
                f"attachments is {self.attachments!r}; give a list of names such as ['falciform ligament']."
            )
        names = tuple(checked_name(name, "A name of an attachment") for name in self.attachments)
        object.__setattr__(self, "attachments", names)

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Divide all of them at once."""
        live = field.live
        there = live.body.attachments
        for name in self.attachments:
            states = [a.released for a in there if a.name == name]
            if not states:
                known = ", ".join(sorted({a.name for a in there if not a.released})) or "none any more"
                raise SolverError(f"There is no attachment '{name}' to divide; the organ is held by {known}.")
            if all(states):
                raise SolverError(f"The attachment '{name}' is divided already.")
        try:
            live.hold_by([a.release() if a.name in self.attachments else a for a in there])
        except SolverError as error:
            raise SolverError(
                f"Dividing {_listed(self.attachments)} would free the organ. {error}"
            ) from error
        gas = live.loads.get(LOAD)
        if isinstance(gas, Pneumoperitoneum):
            live.add_load(LOAD, Pneumoperitoneum.around(live.body, gas.pressure_kPa, live.positions))
        field.tell(
            "mobilised", f"Divided: {_listed(self.attachments)}.", attachments=_listed(self.attachments)
        )
        return lambda share: None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
