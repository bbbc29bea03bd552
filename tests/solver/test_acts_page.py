"""docs/acts.md and `organtwin acts` say what the acts themselves say, and their examples are acts."""

import inspect
import json
from dataclasses import fields

import pytest

from solver import actions
from solver.actions import Act, from_json
from solver.actions.handbook import EXAMPLES, entries, entry
from solver.errors import SolverError
from tests.generated import check_section, markdown_table

KINDS = [
    kind
    for kind in map(actions.__dict__.get, actions.__all__)
    if inspect.isclass(kind) and issubclass(kind, Act) and kind is not Act
]


def _cell(text):
    return text.replace("|", "\\|")


def test_page():
    parts = []
    for found in entries():
        rows = [[f"`{key.name}`", key.kind, key.unit, key.default, key.text] for key in found.keys]
        table = markdown_table(
            ["key", "value", "unit", "default", "meaning"], [[_cell(cell) for cell in row] for row in rows]
        )
        parts.append(f"## {found.name}\n\n{found.summary}")
        parts += found.notes
        parts += [table] + ([f"Refused: {found.refusals}"] if found.refusals else [])
        parts.append(f"```json\n{json.dumps(found.example, ensure_ascii=False)}\n```")
    check_section("acts.md", "acts", "\n\n".join(parts))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.act)
def test_every_act_is_explained(kind):
    found = entry(kind.act)
    assert from_json(found.example).act == kind.act
    assert found.summary.endswith(".")
    for key in found.keys:
        assert key.kind, key.name
        assert key.text.endswith("."), key.name
        needs_unit = key.kind.startswith(("float", "(float", "tuple of (float"))
        without = {"towards", "normal", "direction", "axis", "friction"}
        assert bool(key.unit) == (needs_unit and key.name not in without), key.name


NONSENSE = [
    5,
    -1,
    1e300,
    "x",
    "",
    True,
    None,
    float("nan"),
    float("inf"),
    [],
    [[]],
    [1, 2],
    [[1, 2, 3]],
    {},
    {"a": 1},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.act)
def test_nonsense_in_any_key_is_taken_or_refused_with_a_sentence(kind):
    """Whatever a script holds, what comes of it is an act or a sentence, and an act can be written again."""
    example = entry(kind.act).example
    for key in [*(field.name for field in fields(kind)), "act"]:
        for value in NONSENSE:
            try:
                act = from_json({**example, key: value}, "action 7")
            except SolverError as error:
                text = str(error)
                assert text.startswith("action 7: "), (key, value)
                assert len(text.splitlines()) == 1, (key, value)
            else:
                json.dumps(act.to_json(), allow_nan=False)


def test_the_handbook_is_complete_and_refuses_what_it_does_not_know():
    assert list(EXAMPLES) == sorted(kind.act for kind in KINDS)
    with pytest.raises(SolverError, match=r"act 'fly' is unknown; known are ablate, clamp"):
        entry("fly")
