"""The handbook of acts: what each does, its physics and limits, its keys with unit and default, and an example.

All of it is read from the acts themselves, their docstrings and their fields, so that no page can say anything else.
`organtwin acts` prints it, and `docs/acts.md` is made of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from solver.actions.act import known_acts
from solver.errors import SolverError

# End of a key's name -> its unit; the longest that fits wins.
_UNITS = {
    "_mm_s": "mm/s", "_N_mm": "N/mm", "_mmHg": "mmHg", "_mm": "mm", "_N": "N", "_s": "s", "_W": "W",
    "degrees": "°",
}  # fmt: skip

#: One example each, with places of the sample patient.
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "ablate": {
        "tool": "antenna", "tip_mm": [-81, -51, 32], "entry_mm": [-120, -80, 32], "power_W": 60, "heating_s": 300,
    },
    "clamp": {"tool": "right portal clamp", "system": "portal_vein", "point_mm": [-84, -22, 22]},
    "declamp": {"tool": "right portal clamp"},
    "desufflate": {"duration_s": 3},
    "divide": {"system": "portal_vein", "point_mm": [-84, -22, 22], "sealed": True},
    "grasp": {"tool": "grasper", "structure": "liver", "towards": [0, -0.5, -1], "radius_mm": 8},
    "hold": {"duration_s": 1},
    "incise": {"tool": "scalpel", "path_mm": [[-90, -100, 0], [-60, -105, 0]], "depth_mm": 15},
    "insufflate": {"pressure_mmHg": 12},
    "mobilise": {"attachments": ["left triangular ligament", "falciform ligament"]},
    "needle": {"tool": "needle", "entry_mm": [-120, -80, 32], "target_mm": [-81, -51, 32], "correct": True},
    "palpate": {"tool": "probe", "path_mm": [[-90, -100, 0], [-60, -105, 0]], "depth_mm": 4},
    "probe": {"tool": "probe", "structure": "liver", "towards": [0, -1, 0], "depth_mm": 8},
    "pull": {"tool": "grasper", "by_mm": [0, -10, 28], "duration_s": 2},
    "release": {"tool": "grasper"},
    "resect": {"by": "margin", "structure": "liver_tumour", "margin_mm": 10},
    "respond": {"mode": "dynamic"},
    "staple": {"name": "staples", "path_mm": [[-90, -100, 0], [-60, -105, 0]]},
    "suture": {"name": "suture", "points_mm": [[-75, -103, 6], [-75, -103, -6]], "tension_N": 1},
    "tilt": {"degrees": 20, "position": "reverse trendelenburg"},
    "withdraw": {"tool": "needle"},
}  # fmt: skip


@dataclass(frozen=True)
class Key:
    """A key of an act.

    Parameters
    ----------
    name : str
    kind : str
        What its value is, such as "float".
    unit : str
        Empty where it has none.
    default : str
        As JSON has it; "needed" where there is none, "–" where it may be left out.
    text : str
        What it means.
    """

    name: str
    kind: str
    unit: str
    default: str
    text: str


@dataclass(frozen=True)
class Entry:
    """An act in the handbook.

    Parameters
    ----------
    name : str
        Its `act` key.
    summary : str
        What it does, one sentence.
    notes : tuple of str
        Paragraphs on its physics and limits.
    keys : tuple of Key
    refusals : str
        When it is refused.
    example : dict
        JSON-ready.
    """

    name: str
    summary: str
    notes: tuple[str, ...]
    keys: tuple[Key, ...]
    refusals: str
    example: Mapping[str, Any]


def entries() -> list[Entry]:
    """Every act, by name."""
    return [entry(name) for name in EXAMPLES]


def entry(name: str) -> Entry:
    """One act.

    Raises
    ------
    SolverError
        If there is no such act.
    """
    if name not in EXAMPLES:
        raise SolverError(f"The act {name!r} is unknown; known are {', '.join(EXAMPLES)}.")
    kind = known_acts()[name]
    sections = _sections(inspect.getdoc(kind) or "")
    summary, *notes = _paragraphs(sections[""])
    said = _parameters(sections.get("Parameters", []))
    keys = tuple(_key(field, *said.get(field.name, ("", ""))) for field in fields(kind))
    refusals = " ".join(line.strip() for line in sections.get("Raises", [])[1:])
    return Entry(name, summary, tuple(notes), keys, refusals, {"act": name, **EXAMPLES[name]})


def _sections(text: str) -> dict[str, list[str]]:
    """Lines of a numpydoc docstring by the heading they stand under."""
    found: dict[str, list[str]] = {"": []}
    heading = ""
    for line in text.splitlines():
        if re.fullmatch(r"-{3,}", line):
            heading = found[heading].pop().strip()
            found[heading] = []
        else:
            found[heading].append(line)
    return {name: [line for line in lines if name == "" or line.strip()] for name, lines in found.items()}


def _paragraphs(lines: list[str]) -> list[str]:
    text = "\n".join(line.strip() for line in lines)
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _parameters(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Kind and meaning of each parameter."""
    found: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    for line in lines:
        if not line.startswith(" "):
            head, _, kind = line.partition(" : ")
            names = [name.strip() for name in head.split(",")]
            found.update({name: (kind.removesuffix(", optional"), "") for name in names})
        else:
            for name in names:
                kind, text = found[name]
                found[name] = kind, f"{text} {line.strip()}".strip()
    return found


def _key(field: Any, kind: str, text: str) -> Key:
    unit = next((u for end, u in _UNITS.items() if field.name.endswith(end)), "")
    default = field.default
    if default is MISSING or default is None:
        words = "needed" if default is MISSING else "–"
    elif isinstance(default, bool):
        words = str(default).lower()
    else:
        words = f"{default:g}" if isinstance(default, float) else str(default)
    return Key(field.name, kind, unit, words, text)
