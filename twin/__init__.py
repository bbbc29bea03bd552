"""The patient's case: what is known, planned, rehearsed and predicted. Names are imported when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twin.case import Case
    from twin.errors import TwinError
    from twin.rehearsal import Rehearsal

__all__ = ["Case", "Rehearsal", "TwinError"]

_HOME = {"Case": "twin.case", "Rehearsal": "twin.rehearsal", "TwinError": "twin.errors"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'twin' has no attribute {name!r}")
