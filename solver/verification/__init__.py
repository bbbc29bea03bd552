"""Problems with known answers, one a file: what `organtwin verify` runs.

Every module named in `PROBLEMS` has `run() -> list[Row]`, quick enough for the default set (all of them
together under three minutes on one core), and may have `run_full() -> list[Row]` with what takes longer.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from anatomy.progress import Progress, silent
from solver.errors import SolverError
from solver.verification.row import Row

__all__ = ["PROBLEMS", "Row", "verify", "verify_each"]

PROBLEMS = (
    "closed_forms",
    "patch_test",
    "block_shear",
    "cook",
    "active_block",
    "thick_walls",
    "thick_plate",
    "elastica",
    "viscoelastic",
    "land",
    "orders",
    "bioheat",
    "fisher",
    "windkessel",
    "vibration",
    "relaxing_body",
    "weight",
    "hertz",
    "touching",
    "interfaces",
    "needle_force",
)


def verify(names: Sequence[str] | None = None, full: bool = False, progress: Progress = silent) -> list[Row]:
    """Run verification problems.

    Parameters
    ----------
    names : sequence of str, optional
        Some of `PROBLEMS`; default all.
    full : bool
        Run the long ones as well.
    progress : Progress

    Returns
    -------
    list of Row
        In the order of `PROBLEMS`. A problem that could not be solved is a row without a value that did not
        pass.

    Raises
    ------
    SolverError
        If a name is unknown.
    """
    return [row for rows in verify_each(names, full, progress).values() for row in rows]


def verify_each(
    names: Sequence[str] | None = None, full: bool = False, progress: Progress = silent
) -> dict[str, list[Row]]:
    """Like `verify`, with the rows of each problem by its name."""
    wanted = list(PROBLEMS if names is None else names)
    unknown = [name for name in wanted if name not in PROBLEMS]
    if unknown:
        raise SolverError(
            f"There is no verification problem '{unknown[0]}'; known are {', '.join(PROBLEMS)}."
        )
    rows: dict[str, list[Row]] = {}
    for done, name in enumerate(wanted):
        progress(f"verifying {name.replace('_', ' ')}", done / len(wanted))
        module = importlib.import_module(f"solver.verification.{name}")
        runs = [module.run, module.run_full] if full and hasattr(module, "run_full") else [module.run]
        rows[name] = []
        for run in runs:
            try:
                rows[name] += run()
            except SolverError as error:
                rows[name].append(Row.failed(name, str(error)))
    progress("verified", 1.0)
    return rows
