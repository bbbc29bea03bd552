"""Ablate: an applicator heats the tissue around its tip until it is dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solver.ablation import KINDS, Ablation, Applicator, prepare
from solver.actions.act import (
    LONGEST_S,
    Act,
    Vector,
    checked_duration,
    checked_name,
    checked_number,
    checked_vector,
)
from solver.circulation import Circulation
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField

#: Most that generators of the clinic give, W: 200 W radiofrequency, 150 W microwave.
GREATEST_POWER_W = {"microwave": 150.0, "radiofrequency": 200.0}

# Beyond every applicator that is sold: longest part that gives off heat, thickest shaft.
LONGEST_TIP_MM, THICKEST_SHAFT_MM = 80.0, 5.0


@dataclass(frozen=True)
class Ablate(Act):
    """Heat tissue with a microwave antenna or a radiofrequency electrode.

    Physics: Pennes' bioheat equation with Arrhenius damage in the organ as it lies (`solver.ablation`,
    `solver.heat_grid`): perfusion stops as tissue dies and where the inflow is clamped, vessels of 3 mm and more carry
    heat away, water boils at 100 °C. Heating takes minutes; it is shown in `shown_s` of the rehearsal, while frames go
    on; bleeding and time without inflow count the minutes. The lethal zone is where the damage integral has reached
    one.

    Parameters
    ----------
    tool : str
        Name of the applicator.
    tip_mm : (float, float, float)
        Where its tip lies, LPS mm of the present shape.
    entry_mm : (float, float, float)
        A point on its shaft, towards the skin; gives the direction.
    power_W : float
        What reaches the tissue; losses in the cable are not in it.
    heating_s : float
        Time with power.
    cooling_s : float
        Time afterwards, during which hot tissue goes on dying.
    kind : {"microwave", "radiofrequency"}
        How it heats.
    active_mm : float
        Length from the tip that gives off heat.
    radius_mm : float
        Of the shaft; antennas of 14 to 17 gauge are 1.5 to 2.1 mm wide.
    shown_s : float
        Time of the rehearsal it takes.

    Raises
    ------
    SolverError
        If a value is out of the range of clinical generators.
    """

    act: ClassVar[str] = "ablate"
    tool: str
    tip_mm: Vector
    entry_mm: Vector
    power_W: float
    heating_s: float
    cooling_s: float = 60.0
    kind: str = "microwave"
    active_mm: float = 20.0
    radius_mm: float = 1.0
    shown_s: float = 4.0

    def __post_init__(self) -> None:
        checked_name(self.tool, "The applicator")
        if self.kind not in KINDS:
            raise SolverError(f"An ablation is one of {', '.join(KINDS)}, not {self.kind!r}.")
        for name in ("tip_mm", "entry_mm"):
            object.__setattr__(self, name, checked_vector(getattr(self, name), name))
        for name in ("power_W", "heating_s", "active_mm", "radius_mm", "shown_s"):
            object.__setattr__(self, name, checked_number(getattr(self, name), name, positive=True))
        object.__setattr__(self, "cooling_s", checked_number(self.cooling_s, "cooling_s"))
        checked_duration(self.shown_s, "shown_s")
        most = GREATEST_POWER_W[self.kind]
        if self.power_W > most:
            raise SolverError(
                f"power_W is {self.power_W:g}; {self.kind} generators give at most {most:g} W to an applicator."
            )
        for name in ("heating_s", "cooling_s"):
            if getattr(self, name) > LONGEST_S:
                raise SolverError(f"{name} is {getattr(self, name):g}; an ablation takes at most an hour.")
        for name, most_mm in (("active_mm", LONGEST_TIP_MM), ("radius_mm", THICKEST_SHAFT_MM)):
            if getattr(self, name) > most_mm:
                raise SolverError(
                    f"{name} is {getattr(self, name):g}; applicators have at most {most_mm:g} mm."
                )
        if self.tip_mm == self.entry_mm:
            raise SolverError(
                "tip_mm and entry_mm are the same point; give a point on the shaft as the entry."
            )

    @property
    def length_s(self) -> float:
        """Time of the rehearsal it takes, s."""
        return self.shown_s

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Put the applicator in; returns what brings the heat to a share of its time."""
        tip = np.asarray(self.tip_mm)
        shaft = np.asarray(self.entry_mm) - tip
        kind = next(known for known in KINDS if known == self.kind)
        applicator = Applicator(
            kind, tip, shaft / np.linalg.norm(shaft), self.active_mm, self.radius_mm, self.power_W
        )
        name = f"ablation by {self.tool}"
        if name in field.processes:
            name = f"{name} {sum(n.startswith(name) for n in field.processes) + 1}"
        field.processes[name] = prepare(field, applicator)

        def carry(share: float) -> None:
            before = field.processes[name]
            assert isinstance(before, Ablation)
            ablation = self._heated(before, share)
            field.processes[name] = ablation
            self._let_blood_flow(field, ablation.grid.time_s - before.grid.time_s)
            _note(field, ablation)
            if share >= 1.0:
                self._tell(field, ablation)

        return carry

    def _heated(self, ablation: Ablation, share: float) -> Ablation:
        """The ablation at a share of its whole course, power and cooling."""
        grid = ablation.grid
        until = share * (self.heating_s + self.cooling_s)
        for end, power in ((min(until, self.heating_s), 1.0), (until, 0.0)):
            if end - grid.time_s > 1e-9:
                grid = grid.heated(end - grid.time_s, power)
        return Ablation(ablation.applicator, grid, ablation.structures, ablation.sinks)

    def _let_blood_flow(self, field: OperativeField, seconds: float) -> None:
        """Bleeding and lack of blood last as long as the ablation, not only the time in which it is shown."""
        unseen = seconds * (1.0 - self.shown_s / (self.heating_s + self.cooling_s))
        for name, process in list(field.processes.items()):
            if isinstance(process, Circulation) and unseen > 0.0:
                field.processes[name] = process.advanced(field, unseen)

    def _tell(self, field: OperativeField, ablation: Ablation) -> None:
        found = ablation.result()
        text = (
            f"{self.power_W:g} W for {self.heating_s / 60:g} min killed {found['lethal_ml']:.1f} ml, "
            f"{found['longest_mm']:.0f} mm by {found['shortest_mm']:.0f} mm"
        )
        if "tumour_coverage" in found:
            text += (
                f"; of the tumour {100 * found['tumour_coverage']:.0f} %, with a minimal margin of "
                f"{found['minimal_ablative_margin_mm']:.1f} mm"
            )
        field.tell("ablation", text + ".", tool=self.tool, **found)


def _note(field: OperativeField, ablation: Ablation) -> None:
    """Put temperature and damage at the vertices into the field; where it was ablated before, the worse counts."""
    temperature, damage = ablation.grid.at(field.live.positions)
    before = field.vertex_data.get("thermal_damage")
    field.vertex_data["temperature_C"] = temperature
    field.vertex_data["thermal_damage"] = damage if before is None else np.maximum(before, damage)
