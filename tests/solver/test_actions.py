import pytest

from solver.actions import Grasp, Hold, Pull, Release, from_json
from solver.errors import SolverError

ACTS = [
    Grasp("grasper", "liver", (0.0, -0.4, -1.0)),
    Grasp("grasper", point_mm=(1.0, 2.0, 3.0), radius_mm=5.0),
    Pull("grasper", (0.0, -30.0, 0.0), 3.0),
    Hold(1.0),
    Release("grasper", 0.0),
]


@pytest.mark.parametrize("act", ACTS, ids=lambda a: a.act)
def test_json_round_trip(act):
    data = act.to_json()
    assert data["act"] == act.act
    assert None not in data.values()
    assert from_json(data) == act


LINE = {"path_mm": [[0, 0, 0], [9, 0, 0]]}
NEEDLE = {"act": "needle", "tool": "n", "entry_mm": [0, 0, 0], "target_mm": [0, 9, 0]}
ABLATE = {
    "act": "ablate", "tool": "a", "tip_mm": [0, 9, 0], "entry_mm": [0, 0, 0], "power_W": 60, "heating_s": 300,
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"act": "incinerate"},
            "action 3: the act 'incinerate' is unknown; known are .*grasp, hold, .*pull, release",
        ),
        ({"act": "pull", "tool": "t", "by_mm": [0, 0, 1], "speed": 2}, "action 3: pull has no key 'speed'"),
        ({"act": "pull", "tool": "t"}, "action 3: pull needs the key 'by_mm'"),
        ({"act": "pull", "tool": "t", "by_mm": [0, 1]}, "action 3: by_mm is .* three numbers"),
        ({"act": "pull", "tool": "t", "by_mm": [0, 0, float("nan")]}, "action 3: by_mm is .* finite"),
        ({"act": "pull", "tool": "", "by_mm": [0, 0, 1]}, "action 3: The tool is ''"),
        ({"act": "hold", "duration_s": -1}, "action 3: duration_s is -1"),
        ({"act": "hold", "duration_s": "long"}, "action 3: duration_s is 'long'"),
        ({"act": "grasp", "tool": "t"}, "either 'structure' with 'towards', or 'point_mm'"),
        (
            {"act": "grasp", "tool": "t", "point_mm": [0, 0, 0], "radius_mm": 0},
            "radius_mm is 0; it must be positive",
        ),
        ({"act": "grasp", "tool": "t", "structure": "liver", "towards": [0, 0, 0]}, "'towards' is zero"),
        ([1, 2], "action 3: an act is an object"),
        ({"act": "pull", "tool": "t", "by_mm": [0, 0, 3000]}, "no organ follows so far, give at most 300 mm"),
        ({"act": "hold", "duration_s": 1e9}, "an act takes at most 3600 s"),
        ({"act": "grasp", "tool": "t", "point_mm": [0, 0, 0], "radius_mm": 1e9}, "give at most 50"),
        ({"act": "probe", "tool": "t", "point_mm": [0, 0, 0], "depth_mm": 1000}, "no organ gives way so far"),
        ({**NEEDLE, "speed_mm_s": 1e9}, "a hand pushes with 0.1 to 100 mm/s"),
        ({**NEEDLE, "speed_mm_s": 1e-9}, "a hand pushes with 0.1 to 100 mm/s"),
        ({**NEEDLE, "diameter_mm": 500}, "needles are at most 10 mm wide"),
        ({**ABLATE, "power_W": 10000}, "microwave generators give at most 150 W"),
        ({**ABLATE, "cooling_s": 1e9}, "cooling_s is 1e.09; an ablation takes at most an hour"),
        ({**ABLATE, "active_mm": 1e5}, "applicators have at most 80 mm"),
        ({**ABLATE, "kind": ["laser"]}, "one of microwave, radiofrequency"),
        ({"act": "respond", "mode": ["fast"]}, "one of the modes"),
        ({"act": "tilt", "degrees": 20, "position": ["level"]}, "position .* is unknown"),
        ({"act": "mobilise", "attachments": 5}, "give a list of names"),
        ({**LINE, "act": "staple", "name": "s", "spacing_mm": 1e-6}, "spacing_mm is 1e-06; give 1 to 50"),
        (
            {"act": "staple", "name": "s", "path_mm": [[0, 0, 0], [1e7, 0, 0]]},
            "1e.07 mm long; give at most 1000",
        ),
        ({"act": "palpate", "tool": "p", "depth_mm": 3, "path_mm": [[0, 0, 0], [1e7, 0, 0]]}, "at most 1000"),
        ({**LINE, "act": "palpate", "tool": "p", "depth_mm": 3, "radius_mm": 1e-6}, "give 0.5 to 100"),
        (
            {"act": "suture", "name": "s", "points_mm": [[0, 0, 0], [9, 0, 0]], "tension_N": 1e9},
            "no thread holds",
        ),
        ({"act": ["grasp"]}, "the act .* is unknown"),
    ],
)
def test_bad_data_is_refused_by_place_and_reason(data, words):
    with pytest.raises(SolverError, match=words):
        from_json(data, "action 3")


def test_acts_cannot_be_changed():
    with pytest.raises(AttributeError):
        ACTS[2].duration_s = 1.0
