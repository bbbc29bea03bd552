"""What each tissue attenuates in the portal-venous phase: the table in `hounsfield.toml`, each with its source."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources


@cache
def table() -> dict[str, float]:
    """HU of each tissue by name."""
    text = resources.files("sample_scans").joinpath("hounsfield.toml").read_text(encoding="utf-8")
    return {name: float(entry["hu"]) for name, entry in tomllib.loads(text).items()}


def hu(tissue: str) -> float:
    """HU of one tissue."""
    return table()[tissue]
