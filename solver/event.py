"""Event: something an act caused that a surgeon must know: bleeding, a puncture, tissue at its limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """What happened, when, in words and numbers.

    Parameters
    ----------
    kind : str
        Machine-readable: "bleeding", "puncture", "tear", "pull-through", "specimen", ….
    time_s : float
        Time of the rehearsal, s.
    text : str
        One sentence, with units.
    values : mapping of str to float or str
        The numbers in it, each with its unit in its name.
    """

    kind: str
    time_s: float
    text: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {"kind": self.kind, "time_s": self.time_s, "text": self.text, **dict(self.values)}
