"""Rehearsal: what was done to the organ, as a file: a title, the acts of the present plan, and the whole log.

A rehearsal is data: a title and acts (`solver.actions`), written as JSON,

    {"format": "organtwin-rehearsal", "version": 2, "title": "Lift the liver edge", "actions": [{"act": "grasp", …}, …]}

where more than plain acts happened with the log of it (`twin.log`), and carried out on the operative field by
`twin.replay`. The same acts on the same case give the same state, bit for bit on one machine and version, and the hash
of that state says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from anatomy.files import whole_or_nothing
from solver.actions import Act, from_json
from solver.errors import SolverError
from twin.errors import TwinError
from twin.log import ActLog

FORMAT = "organtwin-rehearsal"
VERSION = 2
READABLE = (1, 2)


class Rehearsal:
    """A titled log of acts.

    Parameters
    ----------
    title : str
        What a person calls it.
    actions : iterable of Act

    Attributes
    ----------
    log : ActLog
        All that happened.
    """

    def __init__(self, title: str = "", actions: Iterable[Act] = ()) -> None:
        self.title, self.log = title, ActLog()
        for act in actions:
            self.append(act)

    @classmethod
    def of_log(cls, title: str, log: ActLog) -> Rehearsal:
        """A rehearsal with a copy of a log."""
        rehearsal = cls(title)
        rehearsal.log = ActLog(log.entries)
        return rehearsal

    @property
    def actions(self) -> tuple[Act, ...]:
        """The acts of the present plan, in order."""
        return tuple(node.act for node in self.log.line())

    def plan(self, name: str) -> Rehearsal:
        """One alternative as a rehearsal of its own, titled with its name."""
        return Rehearsal(f"{self.title}: {name}", (node.act for node in self.log.line(name)))

    def __len__(self) -> int:
        return len(self.actions)

    def __iter__(self) -> Iterator[Act]:
        return iter(self.actions)

    @property
    def length_s(self) -> float:
        """Time all acts of the present plan take together, s."""
        return sum(act.length_s for act in self.actions)

    def append(self, act: Act) -> None:
        """Add an act at the end of the present plan."""
        self.log.do(act)

    # ------------------------------------------------------------------ files

    def to_json(self) -> dict[str, Any]:
        """The rehearsal as JSON-ready data."""
        data = {
            "format": FORMAT,
            "version": VERSION,
            "title": self.title,
            "actions": [act.to_json() for act in self.actions],
        }
        if any("do" not in entry for entry in self.log.entries):
            data["log"] = list(self.log.entries)
        return data

    @classmethod
    def from_json(cls, data: Any) -> Rehearsal:
        """A rehearsal from JSON data.

        Raises
        ------
        TwinError
            If it is no rehearsal, of a version this one cannot read, or at odds with its own log.
        SolverError
            If an act cannot be read; the message names which.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise TwinError(f'This is not a rehearsal: it lacks \'"format": "{FORMAT}"\'.')
        if data.get("version") not in READABLE:
            raise TwinError(
                f"The rehearsal is of version {data.get('version')!r}, and this program reads versions "
                f"{READABLE[0]} to {READABLE[-1]}; update organtwin or write the script anew."
            )
        extra = sorted(set(data) - {"format", "version", "title", "actions", "log"})
        if extra:
            raise TwinError(
                f"A rehearsal has no key '{extra[0]}'; it has format, version, title, actions and log."
            )
        actions = data.get("actions")
        if not isinstance(actions, list):
            raise TwinError("The rehearsal has no list 'actions'.")
        read = [from_json(act, f"action {number}") for number, act in enumerate(actions, 1)]
        rehearsal = cls(str(data.get("title", "")), read)
        if "log" in data:
            if not isinstance(data["log"], list):
                raise TwinError("The rehearsal's 'log' is no list.")
            rehearsal.log = ActLog(data["log"])
            if rehearsal.actions != tuple(read):
                raise TwinError(
                    "The rehearsal's 'actions' are not what its 'log' ends with; one was changed by hand."
                )
        return rehearsal

    @classmethod
    def read(cls, path: str | Path) -> Rehearsal:
        """Read a script.

        Raises
        ------
        TwinError
            If the file cannot be read or is no rehearsal; the message names the file and the act.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise TwinError(f"The rehearsal {path} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise TwinError(f"The rehearsal {path} is not valid JSON: {error}.") from error
        try:
            return cls.from_json(data)
        except (TwinError, SolverError) as error:
            raise TwinError(f"{path}: {error}") from error

    def write(self, path: str | Path) -> None:
        """Write the script; whole or not at all.

        Raises
        ------
        TwinError
            If it cannot be written.
        """
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
        with whole_or_nothing(Path(path), TwinError) as temporary:
            temporary.write_text(text, encoding="utf-8")
