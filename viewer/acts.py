"""The command `organtwin acts`: how each act of a rehearsal script is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from viewer.refusals import refusals

if TYPE_CHECKING:
    from solver.actions.handbook import Entry

console = Console(highlight=False)


@refusals
def acts(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Acts to explain; default: a list of all.", show_default=False
        ),
    ] = None,
) -> None:
    """What can be done to the organ in a script, and how each act is written.

    Without a name: every act with one sentence. With names: physics, limits, every key with its unit and default, and
    an example. docs/acts.md is the same as a page.
    """
    from solver.actions import handbook

    if not names:
        table = Table("act", "what it does")
        for entry in handbook.entries():
            table.add_row(f"[bold]{entry.name}[/bold]", escape(entry.summary))
        console.print(table)
        console.print("One of them in full: organtwin acts NAME. A script for organtwin replay:\n")
        console.print(escape(example_script()))
        return
    for chosen in [handbook.entry(name) for name in names]:
        _tell(chosen)


def example_script() -> str:
    """A whole script, as `organtwin replay` takes it."""
    from solver.actions import handbook
    from twin.rehearsal import Rehearsal

    chosen = ("grasp", "pull", "hold", "release")
    empty = json.dumps(Rehearsal("Lift the liver edge").to_json(), indent=2)
    lines = ",\n".join(f"    {line(handbook.entry(name).example)}" for name in chosen)
    return empty.replace('"actions": []', f'"actions": [\n{lines}\n  ]')


def line(act: Mapping[str, Any]) -> str:
    """An act as JSON in one line."""
    return json.dumps(act, ensure_ascii=False)


def _tell(entry: Entry) -> None:
    console.print(f"[bold]{entry.name}[/bold]: {escape(entry.summary)}\n", soft_wrap=False)
    for note in entry.notes:
        console.print(escape(note) + "\n")
    table = Table("key", "value", "unit", "default", "meaning")
    for key in entry.keys:
        table.add_row(*(escape(word) for word in (key.name, key.kind, key.unit, key.default, key.text)))
    console.print(table)
    if entry.refusals:
        console.print(f"Refused: {escape(entry.refusals)}")
    console.print("Example:")
    console.print(escape(line(entry.example)) + "\n", soft_wrap=True)
