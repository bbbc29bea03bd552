"""The command `organtwin vessels`: trees, what a clamp would take, and Couinaud segments of a case, as tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anatomy.files import whole_or_nothing
from viewer.progress import TerminalProgress
from viewer.refusals import refusals

console = Console(highlight=False)


@refusals
def vessels(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="Case folder.", show_default=False)],
    clamp: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,Z",
            help="Close the vessel nearest to this point (LPS mm) and say what it feeds; may be repeated.",
            show_default=False,
        ),
    ] = None,
    weighting: Annotated[
        str, typer.Option(help="How tissue is given to vessels: 'nearest' or 'calibre'.")
    ] = "nearest",
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw trees and segments: PNG or JPEG.", show_default=False),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the numbers as JSON.", show_default=False),
    ] = None,
) -> None:
    """Vessel trees of a case, what closing a vessel would take, and its Couinaud segments."""
    from twin.case import Case
    from twin.perfusion import clamp as close

    opened = Case.open(case)
    points = [_point(text) for text in clamp or ()]
    with TerminalProgress(console) as progress:
        closed = close(opened, points, weighting, progress) if points else []  # type: ignore[arg-type]
    facts: dict[str, Any] = opened.facts.get("vessels") or {"trees": {}, "segments_ml": None}
    facts = {**facts, "clamps": [asdict(one) for one in closed]}
    if json_file is not None:
        with whole_or_nothing(json_file) as partial:
            partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if picture is not None:
        from viewer.vessel_picture import picture_vessels

        picture_vessels(opened, picture)
    _tell(opened.title, facts)


def _point(text: str) -> tuple[float, float, float]:
    from viewer.errors import ViewerError

    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ViewerError(
            f"--clamp '{text}' is no point; give x,y,z in LPS mm, such as --clamp=-32,-28,8."
        ) from error
    return x, y, z


def _tell(title: str, facts: dict[str, Any]) -> None:
    if not facts["trees"]:
        console.print("The case has no vessel trees: its label map holds no vessels inside an organ.")
        return
    table = Table(
        "system",
        "branches",
        "Strahler order",
        "length (mm)",
        "blood (ml)",
        "widest (mm)",
        title=escape(title),
    )
    for name, tree in facts["trees"].items():
        table.add_row(
            name, f"{tree['branches']}", f"{tree['strahler']}", f"{tree['length_mm']:.0f}", f"{tree['volume_ml']:.1f}",
            f"{tree['calibre_mm']:.1f}",
        )  # fmt: skip
    console.print(table)
    if facts["segments_ml"]:
        total = sum(facts["segments_ml"].values())
        table = Table("Couinaud segment", "volume (ml)", "share (%)", title=f"{total:.0f} ml of liver")
        for name, ml in facts["segments_ml"].items():
            table.add_row(name.removeprefix("liver_segment_"), f"{ml:.0f}", f"{100 * ml / total:.1f}")
        console.print(table)
    if facts["clamps"]:
        table = Table(
            "closed at (mm)", "system", "calibre (mm)", "territory (ml)", "share (%)", title="Clamps"
        )
        for one in facts["clamps"]:
            where = ", ".join(f"{v:g}" for v in one["point_mm"])
            table.add_row(
                where,
                one["system"],
                f"{one['calibre_mm']:.1f}",
                f"{one['territory_ml']:.0f}",
                f"{100 * one['share']:.1f}",
            )
        console.print(table)
