"""Hold: nothing moves for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act, checked_duration

if TYPE_CHECKING:
    from solver.field import OperativeField


@dataclass(frozen=True)
class Hold(Act):
    """Keep every tool where it is, while the tissue comes to equilibrium.

    Physics: the tissue is elastic, so nothing creeps; the frames only converge.

    Parameters
    ----------
    duration_s : float
        Time it takes, s.
    """

    act: ClassVar[str] = "hold"
    duration_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Nothing to start."""
        return lambda share: None
