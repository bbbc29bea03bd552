"""Scans made from a seed, so that the first command works out of the box and no patient's data is shipped."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sample_scans.dicom import write_dicom
    from sample_scans.patient import Patient, make_patient
    from sample_scans.trees import VesselTree

__all__ = ["Patient", "VesselTree", "bundled_rehearsal", "bundled_rehearsals", "make_patient", "write_dicom"]

_REHEARSALS = Path(__file__).with_name("rehearsals")
_HOME = {
    "Patient": "sample_scans.patient",
    "VesselTree": "sample_scans.trees",
    "make_patient": "sample_scans.patient",
    "write_dicom": "sample_scans.dicom",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sample_scans' has no attribute {name!r}")


def bundled_rehearsals() -> list[str]:
    """Names of the rehearsal scripts that come with the project."""
    return sorted(path.stem for path in _REHEARSALS.glob("*.json"))


def bundled_rehearsal(name: str) -> Path:
    """Path of a rehearsal script that comes with the project, by its name without ".json"."""
    return _REHEARSALS / f"{name}.json"
