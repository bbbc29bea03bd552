"""Organ mesh in, deformed tissue out.

`Body` joins a mesh with tissues and attachments; `Equilibrium` is the reference tier and `Interactive` the
frame-budgeted one; `actions` are the surgical acts. Names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import solver.actions as actions
    from solver.body import Body
    from solver.equilibrium import Equilibrium
    from solver.errors import SolverError
    from solver.interactive import Interactive

__all__ = ["Body", "Equilibrium", "Interactive", "SolverError", "actions"]

_HOME = {
    "Body": "solver.body",
    "Equilibrium": "solver.equilibrium",
    "Interactive": "solver.interactive",
    "SolverError": "solver.errors",
}


def __getattr__(name: str) -> Any:
    if name == "actions":
        return importlib.import_module("solver.actions")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'solver' has no attribute {name!r}")
