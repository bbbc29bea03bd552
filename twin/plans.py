"""Alternative plans of one case, each carried out from the untouched organ and measured in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anatomy.progress import Progress, silent
from twin.case import Case
from twin.errors import TwinError
from twin.meter import OperationMeter
from twin.operating import operative_field
from twin.rehearsal import Rehearsal
from twin.replay import replay


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan and what it costs.

    Parameters
    ----------
    name : str
    rehearsal : Rehearsal
    measured : dict or None
        As `twin.meter.OperationMeter.measured`; None where it could not be carried out.
    refused : str
        Why not.
    state_hash : str
        Of the final state.
    """

    name: str
    rehearsal: Rehearsal
    measured: dict[str, Any] | None = None
    refused: str = ""
    state_hash: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {
            "plan": self.name,
            "refused": self.refused or None,
            "state_hash": self.state_hash or None,
            "measures": self.measured,
        }


def read_plans(paths: Sequence[str | Path]) -> list[Plan]:
    """Plans of rehearsal files; one that holds several named alternatives gives each of them.

    Raises
    ------
    TwinError
        If a file cannot be read, or a plan has no acts.
    """
    plans: list[Plan] = []
    for path in paths:
        rehearsal = Rehearsal.read(path)
        names = rehearsal.log.alternatives
        title = rehearsal.title or Path(path).stem
        for name in names:
            own = rehearsal if name == rehearsal.log.present else rehearsal.plan(name)
            if not len(own):
                raise TwinError(f"{path}: the plan '{name}' has no acts; add one, or leave the file out.")
            words = title if len(names) == 1 else f"{title}: {name}"
            again = sum(plan.name == words for plan in plans)
            plans.append(Plan(words if not again else f"{words} ({Path(path).name})", own))
    return plans


def compare_plans(case: Case, plans: Sequence[Plan], progress: Progress = silent) -> list[Plan]:
    """Carry every plan out on a case and measure it.

    Parameters
    ----------
    case : Case
    plans : sequence of Plan
    progress : Progress

    Returns
    -------
    list of Plan
        In the same order, with what was measured, or why it was refused.

    Raises
    ------
    SolverError
        If the organ cannot be solved for.
    """
    field = operative_field(case, progress=lambda stage, done: progress(stage, 0.3 * done))
    found = []
    for number, plan in enumerate(plans):
        tell = lambda _stage, done, n=number: progress(  # noqa: E731 - one plan's share of the whole
            f"rehearsing {plans[n].name}", 0.3 + 0.7 * (n + done) / len(plans)
        )
        field.reset()
        meter = OperationMeter(field, case.vessels)
        try:
            outcome = replay(plan.rehearsal, field, on_frame=meter.watch, progress=tell)
        except TwinError as error:
            found.append(Plan(plan.name, plan.rehearsal, refused=str(error)))
            continue
        measured = meter.measured(undos=plan.rehearsal.log.undos, acts=len(plan.rehearsal))
        found.append(Plan(plan.name, plan.rehearsal, measured, state_hash=outcome.state_hash))
    progress("comparing", 1.0)
    return found
