"""Release: the jaws open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act, checked_name, checked_number

if TYPE_CHECKING:
    from solver.field import OperativeField


@dataclass(frozen=True)
class Release(Act):
    """Let go of the tissue, which returns to where it hangs by itself.

    Physics: the held tissue is freed and the force of the tool fades to zero in equal parts over `duration_s`, so
    that the quasi-static tissue returns without a jump; at the end no tool acts.

    Parameters
    ----------
    tool : str
        A tool that holds tissue.
    duration_s : float
        Time it takes; 0 lets go within one frame.
    """

    act: ClassVar[str] = "release"
    tool: str
    duration_s: float = 0.5

    def __post_init__(self) -> None:
        checked_name(self.tool, "The tool")
        object.__setattr__(self, "duration_s", checked_number(self.duration_s, "duration_s"))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Check that there is something to let go."""
        live = field.live
        live.position_of(self.tool)

        def carry(share: float) -> None:
            if share < 1.0:
                live.loosen(self.tool, 1.0 - share)
            else:
                live.release(self.tool)

        return carry
