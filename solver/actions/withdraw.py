"""Withdraw: a needle is drawn out of the tissue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act, checked_duration, checked_name
from solver.actions.needle import push
from solver.errors import SolverError
from solver.needle import Needle

if TYPE_CHECKING:
    from solver.field import OperativeField


@dataclass(frozen=True)
class WithdrawNeedle(Act):
    """Draw a needle back along its axis until it is out.

    Physics: friction along the shaft turns round and lets go of what the tip has left (`solver.needle`); nothing is
    cut.

    Parameters
    ----------
    tool : str
        A needle in the tissue.
    duration_s : float
        Time it takes.

    Raises
    ------
    SolverError
        When it begins, if there is no such needle.
    """

    act: ClassVar[str] = "withdraw"
    tool: str
    duration_s: float = 2.0

    def __post_init__(self) -> None:
        checked_name(self.tool, "The needle's name")
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Set out from where it is."""
        live = field.live
        needle = live.loads.get(self.tool)
        if not isinstance(needle, Needle):
            known = ", ".join(name for name, load in live.loads.items() if isinstance(load, Needle)) or "none"
            raise SolverError(f"There is no needle '{self.tool}' to withdraw; in place: {known}.")
        start = needle.depth_mm
        entry = needle.axis_entry_mm(live.positions)

        def carry(share: float) -> None:
            if share < 1.0:
                push(field, self.tool, start + share * (entry - start), withdrawing=True)
            else:
                live.remove_load(self.tool)
                field.processes = {n: p for n, p in field.processes.items() if n != self.tool}

        return carry
