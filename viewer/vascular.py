"""The command `organtwin vessels`: trees, what a clamp would take, and Couinaud segments of a case, as tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

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
            help="Close the vessel nearest to this point, LPS mm (left, back and head count up), and say what it "
            "feeds; may be repeated.",
            show_default=False,
        ),
    ] = None,
    weighting: Annotated[
        Literal["nearest", "calibre"],
        typer.Option(
            help="Which vessel feeds tissue: the nearest, or the nearest for its calibre (wide ones reach farther)."
        ),
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
    """Vessel trees of a case, what closing a vessel would take, its Couinaud segments, and how near tumours are."""
    from twin.case import Case
    from twin.margins import tumours_and_vessels
    from twin.perfusion import clamp as close
    from twin.stages import Stages

    opened = Case.open(case)
    points = [_point(text) for text in clamp or ()]
    closed = []
    if points:
        with (
            TerminalProgress(console) as progress,
            Stages(progress).stage("clamp", "Dividing the liver between its vessels") as inner,
        ):
            closed = close(opened, points, weighting, inner)
    facts: dict[str, Any] = opened.facts.get("vessels") or {"trees": {}, "segments_ml": None}
    near = tumours_and_vessels(opened) if facts["trees"] else {}
    facts = {**facts, "clamps": [asdict(one) for one in closed], "tumours": near}
    if json_file is not None:
        with whole_or_nothing(json_file) as partial:
            partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if picture is not None:
        from viewer.vessel_picture import picture_vessels

        picture_vessels(opened, picture)
    if not facts["trees"]:
        console.print(
            "The case has no vessel trees; build it with portal_vein and hepatic_vein among its structures."
        )
    else:
        _tell(opened.title, facts)
    for warning in facts.get("warnings") or opened.facts["warnings"] * (not facts["trees"]):
        console.print(f"[yellow]Note:[/yellow] {escape(warning)}")
    if picture is not None:
        console.print(f"Picture: [bold]{escape(str(picture))}[/bold]")


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
    from viewer.theme import title_of

    table = Table(title=escape(title))
    table.add_column("tree", no_wrap=True)
    for heading in ("branches", "Strahler order", "length (mm)", "blood (ml)", "widest (mm)"):
        table.add_column(heading, justify="right")
    for name, tree in facts["trees"].items():
        table.add_row(
            escape(title_of(name)), f"{tree['branches']}", f"{tree['strahler']}", f"{tree['length_mm']:.0f}",
            f"{tree['volume_ml']:.1f}", f"{tree['calibre_mm']:.1f}",
        )  # fmt: skip
    console.print(table)
    if facts["segments_ml"]:
        _tell_segments(facts["segments_ml"])
    if facts["clamps"]:
        _tell_clamps(facts["clamps"])
    if facts["tumours"]:
        _tell_tumours(facts["tumours"])


def _tell_segments(segments_ml: dict[str, float]) -> None:
    from anatomy.vessels.couinaud import numeral

    total = sum(segments_ml.values())
    table = Table("Couinaud segment", title=f"{total:.0f} ml of liver, vessels and tumours with it")
    for heading in ("volume (ml)", "share (%)"):
        table.add_column(heading, justify="right")
    for name, ml in segments_ml.items():
        table.add_row(numeral(name), f"{ml:.0f}", f"{100 * ml / total:.1f}")
    console.print(table)


def _tell_clamps(clamps: list[dict[str, Any]]) -> None:
    from viewer.theme import title_of

    table = Table("closed at (LPS mm)", title="Closed vessels, each alone")
    table.add_column("tree", no_wrap=True)
    for heading in ("off the point (mm)", "calibre (mm)", "territory (ml)", "share of liver (%)"):
        table.add_column(heading, justify="right")
    for one in clamps:
        table.add_row(
            ", ".join(f"{value:g}" for value in one["point_mm"]), escape(title_of(one["system"])),
            f"{one['distance_mm']:.1f}", f"{one['calibre_mm']:.1f}", f"{one['territory_ml']:.0f}",
            f"{100 * one['share']:.1f}",
        )  # fmt: skip
    table.caption = "territory: what the vessel alone feeds or, of a vein, drains"
    console.print(table)


def _tell_tumours(tumours: dict[str, Any]) -> None:
    table = Table("tumour", "to", title="How near tumours are to vessels and to the capsule")
    for heading in ("distance (mm)", "calibre (mm)", "Strahler order"):
        table.add_column(heading, justify="right")
    for name, found in tumours.items():
        table.add_row(escape(name.replace("_", " ")), "capsule", f"{found['to_capsule_mm']:.1f}", "", "")
        for system, branches in found["vessels"].items():
            for branch in branches:
                table.add_row(
                    "", escape(system.replace("_", " ")), f"{branch['distance_mm']:.1f}", f"{branch['calibre_mm']:.1f}",
                    f"{branch['strahler']}",
                )  # fmt: skip
    table.caption = (
        "from the tumour's surface to the vessel's wall, 0 where they touch; branches of 3 mm and wider"
    )
    console.print(table)
