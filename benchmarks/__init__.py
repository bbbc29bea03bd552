"""Measurements of speed and accuracy on this machine, one benchmark a file; `organtwin bench` runs them.

A benchmark is a module here with `run(progress) -> list[Row]`. Where a peer can be installed (dependency group
`peers`), it solves the same problem in the same run and the row carries the ratio of times, ours over the peer's.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from anatomy.progress import Progress, silent
from viewer.errors import ViewerError

#: Benchmarks in the order they run.
NAMES = (
    "meshing", "vessels", "case", "agreement", "agreement_brain", "corrections",
    "equilibrium", "loads", "scaling", "interactive", "reduced", "cutting", "incising", "soak",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One measured number.

    Parameters
    ----------
    benchmark, quantity : str
        Which benchmark, and what was measured.
    value : float
        The number, in `unit`.
    unit : str
        Its unit; "1" for a pure number.
    peer : str or None
        Who solved the same problem in the same run.
    ratio : float or None
        `value` over the peer's; below 1 for a time is faster than the peer.
    """

    benchmark: str
    quantity: str
    value: float
    unit: str
    peer: str | None = None
    ratio: float | None = None


def run_benchmarks(names: Sequence[str] | None = None, progress: Progress = silent) -> list[dict[str, Any]]:
    """Run benchmarks one after the other.

    Parameters
    ----------
    names : sequence of str, optional
        Which; all if None.
    progress : Progress
        Who watches.

    Returns
    -------
    list of dict
        Rows with the keys benchmark, quantity, value, unit, peer, ratio.

    Raises
    ------
    ViewerError
        If a name is unknown.
    """
    for name in names or ():
        if name not in NAMES:
            raise ViewerError(f"There is no benchmark '{name}'; choose from {', '.join(NAMES)}.")
    rows: list[Row] = []
    for name in names or NAMES:
        rows += importlib.import_module(f"benchmarks.{name}").run(progress)
    return [asdict(row) for row in rows]
