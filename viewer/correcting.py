"""The command `organtwin correct`: corrections from a file or the command line, applied to a case and kept in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from viewer.errors import ViewerError
from viewer.progress import TerminalProgress
from viewer.refusals import refusals

if TYPE_CHECKING:
    from anatomy.segmentation.correction import Correction
    from twin.case import Case

console = Console(highlight=False)

_PLACE = "STRUCTURE:X,Y,Z"


@refusals
def correct(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="Case folder.", show_default=False)],
    script: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="Corrections as JSON: a list of seeds, brushes and outlines, as below."
        ),
    ] = None,
    inside: Annotated[
        list[str] | None,
        typer.Option(
            metavar=_PLACE,
            help="A seed that belongs to the structure, LPS mm (left, back and head count up). Several times.",
        ),
    ] = None,
    outside: Annotated[
        list[str] | None,
        typer.Option(metavar=_PLACE, help="A seed that does not belong to the structure. Several times."),
    ] = None,
    reach: Annotated[
        float, typer.Option(metavar="MM", help="How far a seed may change anything, mm.")
    ] = 20.0,
    undo: Annotated[
        int, typer.Option(min=0, metavar="N", help="Withdraw the last N corrections that stand, first.")
    ] = 0,
    listing: Annotated[
        bool, typer.Option("--list", help="Show the corrections that stand, and stop.")
    ] = False,
) -> None:
    """Correct a case's structures by hand: seeds, brush strokes and outlines.

    The case keeps the labels from before and every correction, so that the result can be made again and undone.
    """
    from twin.case import Case
    from twin.corrections import CorrectionLog, correct_case

    opened = Case.open(case)
    if listing:
        _tell(CorrectionLog.of(opened).standing())
        return
    corrections = [] if script is None else _read(script)
    corrections += [_seed(text, True, reach) for text in inside or ()]
    corrections += [_seed(text, False, reach) for text in outside or ()]
    before = {entry["name"]: entry["volume_ml"] for entry in opened.facts["structures"]}
    with TerminalProgress(console) as progress:
        corrected = correct_case(opened, corrections, undo=undo, progress=progress)
    _tell_volumes(before, corrected)


def _read(path: Path) -> list[Correction]:
    from anatomy.segmentation.correction import from_json

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ViewerError(f"the corrections in {path} cannot be read ({error})") from error
    return from_json(text)


def _seed(text: str, inside: bool, reach_mm: float) -> Correction:
    from anatomy.segmentation.correction import Seed

    structure, colon, place = text.partition(":")
    try:
        x, y, z = (float(part) for part in place.split(","))
    except ValueError:
        colon = ""
    if not colon or not structure.strip():
        raise ViewerError(f"'{text}' is no seed: write it as {_PLACE} in mm, such as liver:-42.5,10,-118")
    return Seed(structure.strip(), points_mm=((x, y, z),), inside=inside, reach_mm=reach_mm)


def _tell(standing: list[Correction]) -> None:
    from anatomy.segmentation.correction import to_json

    table = Table("", "kind", "structure", "what", title="Corrections that stand")
    for number, entry in enumerate(to_json(standing), start=1):
        kind, structure = entry.pop("kind"), entry.pop("structure")
        what = json.dumps(entry)
        table.add_row(str(number), kind, structure, escape(what if len(what) < 90 else what[:87] + " …"))
    console.print(table)


def _tell_volumes(before: dict[str, float], case: Case) -> None:
    table = Table("structure", "before (ml)", "after (ml)", title=escape(case.title))
    for entry in case.facts["structures"]:
        was = before.get(entry["name"])
        table.add_row(entry["name"], "" if was is None else f"{was:.1f}", f"{entry['volume_ml']:.1f}")
    console.print(table)
    for warning in case.facts["warnings"]:
        console.print(f"[yellow]Note:[/yellow] {escape(warning)}")
    console.print(f"Case: [bold]{escape(str(case.path))}[/bold]")
