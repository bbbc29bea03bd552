"""ActLog: what was done, undone, tried another way and changed afterwards, as an append-only list.

Nothing is ever taken out of the list: an undo is an entry of its own. What holds now follows from reading it from
the start:

==========================  ==================================================================================
`{"do": act}`               the act was carried out
`{"undo": k}`               the last k acts of the present plan were taken back, in one go
`{"redo": 1}`               what was last taken back there in one go was done again
`{"branch": name}`          a new alternative begins here, and is the present plan from now on
`{"go": name}`              another alternative is the present plan from now on
`{"reset": 1}`              the present plan began anew from the untouched organ
`{"edit": n, "with": act}`  the n-th act of the present plan became another, and what followed was done again
==========================  ==================================================================================

The acts form a tree: each has the act before it, and an alternative is the way from the root to its tip. The same list
is undo history, script, audit record and test fixture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from solver.actions import Act, from_json
from twin.errors import TwinError

FIRST = "plan"
ROOT = 0


@dataclass(frozen=True)
class Node:
    """An act and the one before it."""

    number: int
    before: int
    act: Act


class ActLog:
    """An append-only record of a rehearsal.

    Parameters
    ----------
    entries : iterable of dict
        As `entries` of another log.

    Raises
    ------
    TwinError
        If an entry cannot have happened; the message names which.
    SolverError
        If an act cannot be read.
    """

    def __init__(self, entries: Iterable[dict[str, Any]] = ()) -> None:
        self._entries: list[dict[str, Any]] = []
        self._nodes: list[Node | None] = [None]
        self._again: dict[tuple[str, int], int] = {}  # act after which, and up to which
        self._tips = {FIRST: ROOT}
        self._present = FIRST
        for number, entry in enumerate(entries, 1):
            self._take(entry, f"entry {number}")

    # ------------------------------------------------------------------ what holds now

    @property
    def entries(self) -> tuple[dict[str, Any], ...]:
        """Everything that happened, JSON-ready, oldest first."""
        return tuple(self._entries)

    @property
    def present(self) -> str:
        """Name of the present plan."""
        return self._present

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Names of all plans, oldest first."""
        return tuple(self._tips)

    @property
    def head(self) -> int:
        """Number of the last act of the present plan; 0 before the first."""
        return self._tips[self._present]

    @property
    def count(self) -> int:
        """How many acts were ever noted, taken back or not: the highest number of one."""
        return len(self._nodes) - 1

    @property
    def undos(self) -> int:
        """How often an act was taken back."""
        return sum("undo" in entry for entry in self._entries)

    def line(self, name: str | None = None) -> list[Node]:
        """The acts of a plan, by default of the present one, in order.

        Raises
        ------
        TwinError
            If there is no such plan.
        """
        at = self._tips[self._known(self._present if name is None else name)]
        found: list[Node] = []
        while at != ROOT:
            node = self.node(at)
            found.append(node)
            at = node.before
        return found[::-1]

    def node(self, number: int) -> Node:
        """The act of a number."""
        node = self._nodes[number]
        assert node is not None
        return node

    @property
    def can_undo(self) -> bool:
        """Whether there is an act to take back."""
        return self.head != ROOT

    @property
    def can_redo(self) -> bool:
        """Whether there is an act to do again."""
        return (self._present, self.head) in self._again

    # ------------------------------------------------------------------ what happens

    def do(self, act: Act) -> int:
        """Note an act that was carried out; returns its number."""
        if not isinstance(act, Act):
            raise TwinError(f"A rehearsal takes acts of solver.actions, not {type(act).__name__}.")
        self._entries.append({"do": act.to_json()})
        return self._grow(act)

    def undo(self, acts: int = 1) -> int:
        """Take back the last act, or several in one go; returns the number of what is the last then.

        Raises
        ------
        TwinError
            If there are not so many.
        """
        if not self.can_undo:
            raise TwinError("There is nothing to undo: no act has been done yet.")
        line = self.line()
        if not isinstance(acts, int) or not 1 <= acts <= len(line):
            raise TwinError(f"The plan '{self._present}' has {len(line)} acts; {acts!r} cannot be undone.")
        before = line[-acts].before
        self._again[self._present, before] = self.head
        self._tips[self._present] = before
        self._entries.append({"undo": acts})
        return before

    def redo(self) -> int:
        """Do again what was last taken back here; returns its number.

        Raises
        ------
        TwinError
            If nothing was.
        """
        if not self.can_redo:
            raise TwinError("There is nothing to do again: no act was undone here.")
        self._tips[self._present] = self._again.pop((self._present, self.head))
        self._entries.append({"redo": 1})
        return self.head

    def reset(self) -> int:
        """Begin the present plan anew from the untouched organ."""
        self._tips[self._present] = ROOT
        self._entries.append({"reset": 1})
        return ROOT

    def branch(self, name: str) -> None:
        """Begin an alternative at the present act.

        Raises
        ------
        TwinError
            If the name is empty or taken.
        """
        if not isinstance(name, str) or not name.strip():
            raise TwinError("An alternative needs a name.")
        if name in self._tips:
            raise TwinError(f"There is an alternative '{name}' already; choose another name.")
        self._tips[name] = self.head
        self._present = name
        self._entries.append({"branch": name})

    def go(self, name: str) -> int:
        """Make another alternative the present plan; returns the number of its last act."""
        self._present = self._known(name)
        self._entries.append({"go": name})
        return self.head

    def edit(self, number: int, act: Act) -> int:
        """Put another act in the place of the `number`-th (from 1) of the present plan; returns the new last act.

        What followed is done again after it; the old acts stay in the record.

        Raises
        ------
        TwinError
            If the plan has no such act.
        """
        line = self.line()
        if not 1 <= number <= len(line):
            raise TwinError(f"The plan '{self._present}' has {len(line)} acts; there is no act {number}.")
        self._entries.append({"edit": number, "with": act.to_json()})
        self._tips[self._present] = line[number - 1].before
        for following in [act, *(node.act for node in line[number:])]:
            self._grow(following)
        return self.head

    def _grow(self, act: Act) -> int:
        self._again.pop((self._present, self.head), None)
        node = Node(len(self._nodes), self.head, act)
        self._nodes.append(node)
        self._tips[self._present] = node.number
        return node.number

    def _known(self, name: str) -> str:
        if not isinstance(name, str) or name not in self._tips:
            raise TwinError(f"There is no alternative '{name}'; there are {', '.join(self._tips)}.")
        return name

    def _take(self, entry: Any, place: str) -> None:
        """Let an entry of another log happen here."""
        if not isinstance(entry, dict):
            raise TwinError(f"{place}: an entry of a log is an object, not {type(entry).__name__}.")
        try:
            match sorted(entry):
                case ["do"]:
                    self.do(from_json(entry["do"], place))
                case ["undo"]:
                    self.undo(entry["undo"])
                case ["redo"]:
                    self.redo()
                case ["reset"]:
                    self.reset()
                case ["branch"]:
                    self.branch(entry["branch"])
                case ["go"]:
                    self.go(entry["go"])
                case ["edit", "with"]:
                    if not isinstance(entry["edit"], int):
                        raise TwinError("'edit' is the number of an act.")
                    self.edit(entry["edit"], from_json(entry["with"], place))
                case keys:
                    raise TwinError(
                        f"an entry has one of do, undo, redo, reset, branch, go, edit with; not {keys}."
                    )
        except TwinError as error:
            raise TwinError(f"{place}: {error}") from error
