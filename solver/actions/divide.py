"""Divide: a vessel is cut through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act, Vector, checked_flag, checked_vector
from solver.actions.clamp import check_place, tell_perfusion
from solver.carried_vessels import find_piece
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField

#: Clip or ligature that `sealed` leaves on both stumps.
SEAL = "seal"


@dataclass(frozen=True)
class Divide(Act):
    """Cut a vessel through where it is isolated, without cutting tissue.

    Physics: what lies beyond has no blood through it any more. Both stumps bleed as `solver.circulation` says while
    they are open and nothing closes the vessel upstream. The carried tree has no stiffness, so that the tissue does
    not move.

    Parameters
    ----------
    system : str, optional
        Vessel system; any if left out.
    point_mm : (float, float, float), optional
        Point of the present shape, LPS mm: the nearest vessel within 15 mm of it is divided.
    node : int, optional
        Node of the system's tree instead.
    sealed : bool
        Whether both sides are ligated, clipped or stapled before the cut, so that nothing bleeds.

    Raises
    ------
    SolverError
        If not exactly one way to say where is used.
    """

    act: ClassVar[str] = "divide"
    system: str | None = None
    point_mm: Vector | None = None
    node: int | None = None
    sealed: bool = False

    def __post_init__(self) -> None:
        checked_flag(self.sealed, "sealed")
        check_place(self.point_mm, self.node, self.system, 0, "To divide a vessel")
        if self.point_mm is not None:
            object.__setattr__(self, "point_mm", checked_vector(self.point_mm, "point_mm"))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Cut it at once."""
        system, node = find_piece(
            field.vessels, field.live.positions, "divide", self.system, self.point_mm, self.node
        )
        tree = field.vessels[system]
        if not tree.seen:
            raise SolverError(
                f"It is not known where the vessels of {system} run, so that none can be divided."
            )
        if node in tree.divided:
            raise SolverError(f"The branch of {system} at node {node} is divided already.")
        after = tree.with_division([node])
        if self.sealed:
            after = after.with_clamp(f"{SEAL} {system} {node}", [node])
        field.vessels = field.vessels | {system: after}
        words = f"A branch of the {system.replace('_', ' ')} of {tree.calibre_mm(node):.1f} mm is divided"
        words += ", both stumps closed" if self.sealed else ""
        tell_perfusion(field, "divide", words, [system], system=system)
        return lambda share: None
