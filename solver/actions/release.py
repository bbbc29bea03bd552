"""Release: the jaws open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solver.actions.act import Act, checked_duration, checked_name
from solver.live_contact import LiveContact

if TYPE_CHECKING:
    from solver.field import OperativeField
    from solver.interactive import Interactive

CLEARANCE_MM = 1.0


@dataclass(frozen=True)
class Release(Act):
    """Let go of the tissue, which returns to where it hangs by itself.

    Physics: the held tissue is freed and the force of the tool fades to zero in equal parts over `duration_s`, so
    that the quasi-static tissue returns without a jump; at the end no tool acts. A probe that touches is withdrawn
    against its force.

    Parameters
    ----------
    tool : str
        A tool that holds or touches tissue.
    duration_s : float
        Time it takes; 0 lets go within one frame.
    """

    act: ClassVar[str] = "release"
    tool: str
    duration_s: float = 0.5

    def __post_init__(self) -> None:
        checked_name(self.tool, "The tool")
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Check that there is something to let go."""
        live = field.live
        if isinstance(live.loads.get(self.tool), LiveContact):
            return self._withdraw(live)
        live.position_of(self.tool)

        def carry(share: float) -> None:
            if share < 1.0:
                live.loosen(self.tool, 1.0 - share)
            else:
                live.release(self.tool)

        return carry

    def _withdraw(self, live: Interactive) -> Callable[[float], None]:
        """Draw a probe back, as far as the tissue that it touches has been moved and a little more, and away."""
        contact, positions = live.loads[self.tool], live.positions
        assert isinstance(contact, LiveContact)
        start = contact.tool.position_mm
        force = contact.forces_N(positions)[self.tool]
        back = -force / max(float(np.linalg.norm(force)), 1e-12)
        touched = contact.surface.facets[contact.touch(positions).rows].ravel()
        moved = -(live.displacement[touched] @ back).min(initial=0.0)
        way = (max(float(moved), 0.0) + CLEARANCE_MM) * back

        def carry(share: float) -> None:
            if share < 1.0:
                live.steer(self.tool, start + share * way)
            else:
                live.remove_load(self.tool)

        return carry
