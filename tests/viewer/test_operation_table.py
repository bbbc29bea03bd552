from __future__ import annotations

import pytest

from viewer.operation_table import events, key_numbers, measures, number

OPERATION = {
    "time_s": 4.5,
    "organs": {
        "liver": {
            "whole_ml": 1500.0,
            "specimen_ml": 450.0,
            "specimen_percent": 30.0,
            "future_remnant_percent": 69.5,
            "future_remnant_perfused_percent": 68.25,
            "ischaemic_ml": None,
        }
    },
    "tumours": {
        "liver_tumour 1": {"volume_ml": 13.7, "margin": {"scanned": {"minimum_mm": 9.31}}},
        "liver_tumour 2": {"volume_ml": 4.0, "margin": {"scanned": {"minimum_mm": 12.0}}},
    },
    "bleeding": {"stumps": 2, "flow_ml_min": 40.2, "flow_bound_ml_min": 1880.0},
    "tools": {"peak_force_N": 0.0},
}


def test_the_head_of_the_page_says_what_was_taken_what_is_left_and_what_bleeds() -> None:
    found = {one.name: (one.value, one.unit, one.meaning) for one in key_numbers(OPERATION)}
    assert found["Taken out"] == ("450", "ml", "30 % of the liver")
    assert found["Future remnant"][:2] == ("69.5", "%")
    assert "68.2 % perfused" in found["Future remnant"][2] or "68.3 % perfused" in found["Future remnant"][2]
    assert found["Least margin"] == ("9.31", "mm", "of the liver tumour 1, in the scanned shape")
    assert found["Bleeding at the end"][:2] == ("40.2", "ml/min")
    assert "1\u202f880 ml/min" in found["Bleeding at the end"][2]


def test_a_rehearsal_without_a_cut_has_no_such_numbers() -> None:
    untouched = {"organs": {"liver": {"specimen_ml": 0.0}}, "tumours": {"liver_tumour": {"margin": {}}}}
    assert key_numbers(untouched) == []


def test_every_measure_stands_under_its_organ_with_unit_and_definition() -> None:
    table = dict(measures(OPERATION))
    assert list(table) == [
        "The rehearsal",
        "Liver",
        "Liver tumour 1",
        "Liver tumour 2",
        "Vessels and blood",
        "Tools",
    ]
    volume = table["Liver"][0]
    assert (volume.title, volume.value, volume.unit) == ("volume", "1\u202f500", "ml")
    assert "tetrahedra of the organ" in volume.definition
    assert all(line.definition for lines in table.values() for line in lines)
    assert "without inflow at the end" not in {line.title for line in table["Liver"]}


def test_events_come_in_order_and_bleeding_stands_out() -> None:
    told = [
        {"kind": "bleeding", "time_s": 2.0, "text": "It bleeds."},
        {"kind": "clamp", "time_s": 1.0, "text": "Closed."},
    ]
    assert [(event.text, event.grave) for event in events(told)] == [("Closed.", False), ("It bleeds.", True)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0004, "< 0.001"),
        (1234.6, "1\u202f235"),
        (-2.5, "−2.5"),
        (99.96, "100"),
        (0.01234, "0.0123"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text
