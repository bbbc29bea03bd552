"""What an operation cost, as the report shows it: key numbers, the table of measures with definitions, the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twin.metric_table import rows

# Kinds of events that a reader must not overlook.
_GRAVE = frozenset({"bleeding", "tear", "pull-through", "limit", "crush", "refused"})


@dataclass(frozen=True)
class KeyNumber:
    """A number at the head of the page."""

    value: str
    unit: str
    name: str
    meaning: str


@dataclass(frozen=True)
class Measure:
    """A line of the table of measures; `group` is the organ, tumour or subject it stands under."""

    group: str
    title: str
    value: str
    unit: str
    definition: str


@dataclass(frozen=True)
class Told:
    """An event as a person reads it."""

    time_s: float
    text: str
    grave: bool


_GROUPS = {
    "vessels_divided": "Vessels and blood",
    "bleeding": "Vessels and blood",
    "tools": "Tools",
    "tissue": "Tissue",
}


def measures(operation: Mapping[str, Any]) -> list[tuple[str, list[Measure]]]:
    """All measures that are known, by subject, each with its definition and source."""
    found: dict[str, list[Measure]] = {}
    for row in rows(operation):
        first = row.metric.key.split(".")[0]
        name = row.names[0] if row.names else ""
        group = _capital(name.replace("_", " ")) if name else _GROUPS.get(first, "The rehearsal")
        title = ", ".join([*(n.replace("_", " ") for n in row.names[1:]), row.metric.title])
        definition = row.metric.definition + (f" ({row.metric.source})" if row.metric.source else "")
        line = Measure(group, title, number(row.value), row.metric.unit, definition)
        found.setdefault(group, []).append(line)
    return list(found.items())


def events(told: Sequence[Mapping[str, Any]]) -> list[Told]:
    """Events in the order in which they happened."""
    ordered = sorted(told, key=lambda event: float(event["time_s"]))
    return [Told(float(event["time_s"]), str(event["text"]), event["kind"] in _GRAVE) for event in ordered]


def key_numbers(operation: Mapping[str, Any]) -> list[KeyNumber]:
    """What matters most: what is left, the margin, the blood; only what the rehearsal touched."""
    found: list[KeyNumber] = []
    for organ, of in (operation.get("organs") or {}).items():
        if of.get("specimen_ml", 0.0) > 0.0:
            words = f"{number(of['specimen_percent'])} % of the {organ.replace('_', ' ')}"
            found.append(KeyNumber(number(of["specimen_ml"]), "ml", "Taken out", words))
            perfused = of.get("future_remnant_perfused_percent")
            value, meaning = of["future_remnant_percent"], "of the organ without its tumours"
            if perfused is not None:
                meaning += f"; {number(perfused)} % perfused"
            found.append(KeyNumber(number(value), "%", "Future remnant", meaning))
    margins = {
        name: (of.get("margin") or {}).get("scanned") for name, of in (operation.get("tumours") or {}).items()
    }
    least = min(((one["minimum_mm"], name) for name, one in margins.items() if one), default=None)
    if least is not None:
        words = f"of the {least[1].replace('_', ' ')}, in the scanned shape"
        found.append(KeyNumber(number(least[0]), "mm", "Least margin", words))
    bleeding = operation.get("bleeding") or {}
    if bleeding.get("stumps"):
        words = f"at most {number(bleeding['flow_bound_ml_min'])} ml/min, if nothing is closed"
        found.append(KeyNumber(number(bleeding["flow_ml_min"]), "ml/min", "Bleeding at the end", words))
    return found


def number(value: float) -> str:
    """Three digits, as a person reads them."""
    if value == 0.0:
        return "0"
    if abs(value) < 0.001:
        return "< 0.001" if value > 0 else "> −0.001"
    digits = max(0, 2 - _magnitude(value))
    text = f"{value:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", "\u202f").replace("-", "−")


def _magnitude(value: float) -> int:
    return int(f"{abs(value):.2e}".split("e")[1])


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
