"""The command `organtwin reduce`: reduced models of a case, for tools that ask for forces a thousand times a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anatomy.files import whole_or_nothing
from viewer.errors import ViewerError
from viewer.progress import TerminalProgress
from viewer.refusals import refusals

if TYPE_CHECKING:
    from twin.reduction import Done

console = Console(highlight=False)


@refusals
def reduce(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="Case folder.", show_default=False)],
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            metavar="X,Y,Z",
            help="A place on the organ to grasp, LPS mm. Several times; default: spread over the free surface.",
            show_default=False,
        ),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="The places of --at are held at once, a tool each.")
    ] = False,
    places: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="How many places, where --at names none.")
    ] = 8,
    radius: Annotated[float, typer.Option(metavar="MM", help="Radius of a grasp, mm.")] = 8.0,
    reach: Annotated[float, typer.Option(metavar="MM", help="Longest pull, mm.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the pulls that are trained and tested.")] = 1,
    again: Annotated[
        bool, typer.Option("--again", help="Make models anew that the case has already.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Delete the case's models, and stop.")] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the rows as JSON.", show_default=False),
    ] = None,
) -> None:
    """Train reduced models: forces at 1,000 Hz and more at the places that were trained.

    Each place is pulled in many directions on the full-order tissue; what is learnt is kept in the case, with the error
    it reached on pulls it had not seen. Outside what was trained the full order answers. A stop keeps every place that
    is finished.
    """
    from twin.case import Case
    from twin.reduction import Plan, reduce_case
    from twin.reduction import remove as delete

    opened = Case.open(case)
    if remove:
        console.print(f"{delete(opened)} reduced models deleted.")
        return
    points = [_place(text) for text in at or ()]
    if together and len(points) < 2:
        raise ViewerError("--together holds several places at once; name two or more with --at.")
    for value, name, low, high in ((radius, "--radius", 1, 50), (reach, "--reach", 1, 100)):
        if not low <= value <= high:
            raise ViewerError(f"{name} is {value:g} mm; give {low} to {high} mm.")
    grips = [np.array(points)] if together else [point[None] for point in points]
    plan = Plan(grips, places, radius, reach, seed)
    finished: list[Done] = []
    try:
        with TerminalProgress(console) as progress:
            for done in reduce_case(opened, plan, again, progress):
                finished.append(done)
    finally:
        _tell(finished, json_file)
    if not any(done.model for done in finished):
        raise ViewerError("No place could be trained; choose others with --at, or a shorter --reach.")
    console.print(f"Reduced models: [bold]{escape(str(opened.path / 'reduction'))}[/bold]")


def _place(text: str) -> np.ndarray:
    try:
        point = np.array([float(part) for part in text.split(",")])
    except ValueError:
        point = np.zeros(0)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise ViewerError(
            f"'{text}' is no place; write three numbers, such as --at=-129.9,-190.6,301.4 (LPS mm)."
        )
    return point


def _rows(finished: list[Done]) -> list[dict[str, Any]]:
    rows = []
    for done in finished:
        row: dict[str, Any] = {
            "points_mm": done.grip.points_mm.tolist(),
            "radius_mm": done.grip.radius_mm,
            "reach_mm": done.grip.reach_mm,
            "kept": done.kept,
            "refusal": done.refusal or None,
        }
        if done.model is not None:
            reached = done.model.accuracy
            row |= {
                "modes": done.model.modes,
                "sampled_points": done.model.sample.count,
                "unseen_pulls": reached.pulls,
                "worst_error_mm": reached.worst_mm,
                "worst_error_percent": 100 * reached.worst_share,
                "worst_force_error_percent": 100 * reached.worst_force,
            }
        rows.append(row)
    return rows


def _tell(finished: list[Done], json_file: Path | None) -> None:
    if not finished:
        return
    rows = _rows(finished)
    if json_file is not None:
        with whole_or_nothing(json_file) as partial:
            partial.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    table = Table("place (mm)", title="Reduced models")
    for heading in ("modes", "cells", "worst error\nmm", "worst error\n%", "force\n%", ""):
        table.add_column(heading, justify="right")
    for row in rows:
        place = "; ".join(", ".join(f"{x:.0f}" for x in point) for point in row["points_mm"])
        if row["refusal"]:
            table.add_row(place, *[""] * 5, "[yellow]not made[/yellow]")
            continue
        numbers = (row["worst_error_mm"], row["worst_error_percent"], row["worst_force_error_percent"])
        table.add_row(
            place, str(row["modes"]), str(row["sampled_points"]), *(f"{n:.2g}" for n in numbers),
            "kept" if row["kept"] else "",
        )  # fmt: skip
    table.caption = "errors against the converged full order, on pulls that were not trained"
    console.print(table)
    for row in rows:
        if row["refusal"]:
            console.print(f"[yellow]Note:[/yellow] {escape(row['refusal'])}")
