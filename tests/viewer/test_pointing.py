from __future__ import annotations

import numpy as np
import pytest

from solver.actions import Act, from_json
from viewer.picking import Hit
from viewer.tools.pointing import PLANS, Plan, mobilising


def hit(point: tuple[float, float, float], structure: str = "liver") -> Hit:
    return Hit(structure, np.array(point), np.array(point), np.array([0.0, -1.0, 0.0]), 0)


PLACES = [hit((0.0, 0.0, 0.0)), hit((10.0, 0.0, 0.0)), hit((0.0, 0.0, 10.0)), hit((0.0, 20.0, 0.0))]


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan is not None], ids=lambda plan: plan.name)
def test_every_plan_makes_an_act_that_can_be_written_and_read(plan: Plan) -> None:
    count = 3 if plan.stroke else len(plan.hints)
    structure = "portal_vein" if "vessel" in " ".join(plan.hints).lower() else "liver_tumour"
    hits = [
        hit(tuple(place.point_mm), structure if plan.inside and plan.inside[k] else "liver")  # type: ignore[arg-type]
        for k, place in enumerate(PLACES[:count])
    ]
    act = plan.make(hits, {number.name: number.value for number in plan.numbers}, 3)
    assert isinstance(act, Act)
    assert from_json(act.to_json()) == act
    assert all(number.low <= number.value <= number.high for number in plan.numbers)


def test_a_plane_through_three_points_keeps_the_side_of_the_fourth() -> None:
    plan = next(plan for plan in PLANS if plan is not None and plan.name == "Resect by a plane")
    data = plan.make(PLACES, {}, 1).to_json()
    assert abs(data["normal"][1]) == pytest.approx(1.0)
    assert data["keep_mm"] == [0.0, 20.0, 0.0]


def test_a_ligament_is_divided_by_its_name() -> None:
    assert mobilising("falciform ligament").make((), {}, 1).to_json() == {
        "act": "mobilise",
        "attachments": ["falciform ligament"],
    }
