"""Clamp and declamp: a vessel, or all inflow at the hilum, is closed and opened again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solver.actions.act import Act, Vector, checked_flag, checked_name, checked_vector
from solver.carried_vessels import CarriedTree, find_piece, pedicle_of
from solver.circulation import perfusion
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField


@dataclass(frozen=True)
class Clamp(Act):
    """Close a vessel; what it alone feeds is ischaemic, what it alone drains is congested, until it is opened.

    Physics: the clamp is complete and has no width; it does not move the tissue. Which tissue loses its blood is
    that of `solver.circulation`. `pringle` closes all inflow at the hilum (Pringle 1908, Ann Surg 48:541): every root
    of every feeding tree. So does `organ` for organs that hang on one pedicle but whose vessels the scan does not show.

    Limits: vessels that the scan does not show cannot be closed, and collaterals are not known.

    Parameters
    ----------
    tool : str
        Name of the clamp, by which it is opened.
    system : str, optional
        Vessel system, such as "portal_vein"; any if left out.
    point_mm : (float, float, float), optional
        Point of the present shape, LPS mm: the nearest vessel within 15 mm of it is closed.
    node : int, optional
        Node of the system's tree instead.
    pringle : bool
        All inflow of the liver instead.
    organ : str, optional
        All inflow of this organ at its hilum instead, such as "kidney_left".

    Raises
    ------
    SolverError
        If not exactly one way to say where is used.
    """

    act: ClassVar[str] = "clamp"
    tool: str
    system: str | None = None
    point_mm: Vector | None = None
    node: int | None = None
    pringle: bool = False
    organ: str | None = None

    def __post_init__(self) -> None:
        checked_name(self.tool, "The clamp's name")
        checked_flag(self.pringle, "pringle")
        if self.organ is not None:
            checked_name(self.organ, "The organ")
        whole = self.pringle + (self.organ is not None)
        check_place(self.point_mm, self.node, self.system, whole, "A clamp")
        if self.point_mm is not None:
            object.__setattr__(self, "point_mm", checked_vector(self.point_mm, "point_mm"))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Close it at once."""
        if any(self.tool == name for tree in field.vessels.values() for name, _ in tree.clamps):
            raise SolverError(f"The clamp '{self.tool}' is on a vessel already; open it first.")
        pieces = self._pieces(field)
        field.vessels = field.vessels | {
            system: field.vessels[system].with_clamp(self.tool, nodes) for system, nodes in pieces.items()
        }
        if self.pringle or self.organ is not None:
            what = f"All inflow of the {(self.organ or 'liver').replace('_', ' ')} is closed at the hilum"
        else:
            system, nodes = next(iter(pieces.items()))
            calibre = field.vessels[system].calibre_mm(nodes[0])
            what = f"A branch of the {system.replace('_', ' ')} of {calibre:.1f} mm is closed"
        tell_perfusion(field, "clamp", what, list(pieces), tool=self.tool)
        return lambda share: None

    def _pieces(self, field: OperativeField) -> dict[str, list[int]]:
        """Nodes to close, by system."""
        if not self.pringle and self.organ is None:
            system, node = find_piece(
                field.vessels, field.live.positions, "clamp", self.system, self.point_mm, self.node
            )
            return {system: [node]}
        organ = self.organ or "liver"
        pedicle = pedicle_of(organ)
        feeding = {
            name: tree
            for name, tree in field.vessels.items()
            if not tree.outflow and (name == pedicle or (tree.seen and organ == "liver"))
        }
        if not feeding:
            known = [
                name.removesuffix(pedicle_of("")) for name, tree in field.vessels.items() if not tree.seen
            ]
            raise SolverError(
                f"There is no inflow of '{organ}' to close: neither vessels of it are known nor is it one of the "
                f"meshed organs that hang on one pedicle ({', '.join(known) or 'none'})."
            )
        return {name: [int(root) for root in tree.roots] for name, tree in feeding.items()}


@dataclass(frozen=True)
class Declamp(Act):
    """Open a clamp; blood runs again at once wherever nothing else closes the way.

    Parameters
    ----------
    tool : str
        Name of the clamp.
    """

    act: ClassVar[str] = "declamp"
    tool: str

    def __post_init__(self) -> None:
        checked_name(self.tool, "The clamp's name")

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Open it at once."""
        on = {
            name: tree
            for name, tree in field.vessels.items()
            if any(self.tool == clamp for clamp, _ in tree.clamps)
        }
        if not on:
            there = sorted({clamp for tree in field.vessels.values() for clamp, _ in tree.clamps})
            raise SolverError(
                f"There is no clamp '{self.tool}' to open; on vessels are: {', '.join(there) or 'none'}."
            )
        opened: Mapping[str, CarriedTree] = {name: tree.without_clamp(self.tool) for name, tree in on.items()}
        field.vessels = field.vessels | dict(opened)
        tell_perfusion(field, "declamp", f"The clamp '{self.tool}' is open", list(on), tool=self.tool)
        return lambda share: None


def check_place(point_mm: Vector | None, node: int | None, system: str | None, whole: int, what: str) -> None:
    """Exactly one way to say where (`whole`: how many others are given), and a system with a node."""
    if (point_mm is not None) + (node is not None) + whole != 1:
        raise SolverError(f"{what} needs either 'point_mm', or 'system' with 'node', and only one of them.")
    if node is not None and (isinstance(node, bool) or not isinstance(node, int)):
        raise SolverError(f"node is {node!r}; give a whole number.")
    if node is not None and system is None:
        raise SolverError(f"{what} on a node needs the 'system' whose node it is.")
    if system is not None:
        checked_name(system, "The vessel system")


def tell_perfusion(
    field: OperativeField, kind: str, what: str, systems: Sequence[str], **values: str
) -> None:
    """Note an act on vessels with what is now without inflow or outflow of the tissue that their systems serve."""
    mine = np.any([field.tet_data[system] >= 0 for system in systems], axis=0)
    found = perfusion(field.organ, field.vessels, field.tet_data).describe(mine)
    field.tell(
        kind,
        f"{what}: {found['ischaemic_ml']:.0f} ml ({found['ischaemic_percent']:.0f} %) of {found['supplied_ml']:.0f} ml "
        f"have no inflow, {found['congested_ml']:.0f} ml ({found['congested_percent']:.0f} %) no outflow.",
        **values,
        **found,
    )
