"""Cutting: surfaces that cut, the cut itself, and the pieces it leaves. Geometry alone, without a solver.

`cut(organ, positions, sheet)` opens an organ along a `Plane`, a `BladeStroke`, a `SplineSheet`, an `Offset` or a
level of `Values`, and returns a `TopologyChange`; `pieces` tells what hangs together and `without` takes a piece away.
"""

from __future__ import annotations

from solver.cutting.incision import cut
from solver.cutting.pieces import pieces, pieces_within, without
from solver.cutting.sheet import BladeStroke, Plane, Sheet
from solver.cutting.smooth import Offset, SplineSheet, Union, Values, wedges

__all__ = [
    "BladeStroke",
    "Offset",
    "Plane",
    "Sheet",
    "SplineSheet",
    "Union",
    "Values",
    "cut",
    "pieces",
    "pieces_within",
    "wedges",
    "without",
]
