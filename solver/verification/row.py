"""One number of a verification problem against its reference."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A computed value, what it should be, and whether it is.

    Parameters
    ----------
    problem, quantity : str
        What was solved and which number of it this is, with its unit.
    value : float or None
        Computed; None where the problem could not be solved.
    reference : float
        What it should be.
    tolerance : float
        Largest error relative to the reference; absolute where the reference is zero or a bound.
    passed : bool
    source : str
        Where the reference comes from.
    """

    problem: str
    quantity: str
    value: float | None
    reference: float
    tolerance: float
    passed: bool
    source: str

    @property
    def error(self) -> float | None:
        """Departure from the reference, relative to it; absolute where the reference is zero."""
        if self.value is None:
            return None
        return abs(self.value - self.reference) / (abs(self.reference) if self.reference else 1.0)

    def record(self) -> dict[str, Any]:
        """The row with its error, as plain values for a file."""
        record = asdict(self)
        record["error"] = self.error
        return record

    @classmethod
    def compare(
        cls, problem: str, quantity: str, value: float, reference: float, tolerance: float, source: str
    ) -> Row:
        """Row that passes within the tolerance."""
        scale = abs(reference) if reference else 1.0
        value = float(value)
        passed = bool(math.isfinite(value) and abs(value - reference) <= tolerance * scale)
        return cls(problem, quantity, float(value), float(reference), tolerance, passed, source)

    @classmethod
    def at_least(
        cls, problem: str, quantity: str, value: float, reference: float, tolerance: float, source: str
    ) -> Row:
        """Row that passes unless the value falls short of the reference by more than the tolerance (absolute)."""
        value = float(value)
        passed = bool(math.isfinite(value) and value >= reference - tolerance)
        return cls(problem, quantity, float(value), float(reference), tolerance, passed, source)

    @classmethod
    def at_most(
        cls, problem: str, quantity: str, value: float, reference: float, tolerance: float, source: str
    ) -> Row:
        """Row that passes unless the value exceeds the reference by more than the tolerance (absolute)."""
        value = float(value)
        passed = bool(math.isfinite(value) and value <= reference + tolerance)
        return cls(problem, quantity, value, float(reference), tolerance, passed, source)

    @classmethod
    def failed(cls, problem: str, why: str) -> Row:
        """Row of a problem that could not be solved."""
        return cls(problem, why, None, 0.0, 0.0, False, "")
