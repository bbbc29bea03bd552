from __future__ import annotations

import numpy as np
import pytest

from solver.actions import Act, Clamp, Declamp, InsertNeedle, Probe, Release, WithdrawNeedle, from_json
from viewer.picking import Hit
from viewer.tools.pointing import PLANS, Plan, Pointing, mobilising, putting_away


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


def test_what_was_left_on_the_organ_can_be_put_away() -> None:
    acts = [
        Probe("probe 1", 5.0, point_mm=(0.0, 0.0, 0.0)),
        InsertNeedle("needle 2", (0.0, 0.0, 0.0), (0.0, 9.0, 0.0)),
        Clamp("Pringle", pringle=True),
        InsertNeedle("needle 3", (0.0, 0.0, 0.0), (0.0, 9.0, 0.0)),
        WithdrawNeedle("needle 2"),
    ]
    plans = putting_away(acts)
    assert [plan.name for plan in plans] == ["Withdraw needle 3", "Open Pringle", "Take probe 1 away"]
    assert [plan.make((), {}, 1) for plan in plans] == [
        WithdrawNeedle("needle 3"),
        Declamp("Pringle"),
        Release("probe 1"),
    ]
    assert putting_away([*acts, *(plan.make((), {}, 1) for plan in plans)]) == []


def test_points_of_which_no_act_can_be_made_are_refused_with_a_sentence() -> None:
    class Scene:
        def mark(self, points: object, joined: bool = False) -> None:
            pass

        def pick(self, origin: object, direction: object) -> Hit:
            return PLACES[0]

    class Eye:
        def ray(self, x: float, y: float) -> tuple[float, float]:
            return x, y

    plan = next(plan for plan in PLANS if plan is not None and plan.name == "Suture")
    said: list[str] = []
    done: list[Act] = []
    pointing = Pointing(Scene(), plan, lambda: {"Tension": 1.0}, 1, done.append, said.append)  # type: ignore[arg-type]
    assert pointing.press(Eye(), 1, 1)  # type: ignore[arg-type]
    assert pointing.press(Eye(), 1, 1)  # type: ignore[arg-type]
    assert not done
    assert said == ["Points 1 and 2 of points_mm are the same; leave one out."]
