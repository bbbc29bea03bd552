"""The command `organtwin compare`: what alternative plans cost, side by side."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
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
def compare(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="Case folder.", show_default=False)],
    plans: Annotated[
        list[Path],
        typer.Argument(
            metavar="PLAN...",
            help="Rehearsals: JSON, as `organtwin replay` takes them. Of a file with several named alternatives each "
            "is a plan.",
            show_default=False,
        ),
    ],
    every: Annotated[
        bool, typer.Option("--every", help="Also show measures that are the same for all plans.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all measures as JSON.", show_default=False),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write the table as an HTML fragment, for a report.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Carry out alternative plans on a case and lay what they cost side by side.

    Volumes, future remnant, margins, vessels divided, bleeding, forces: each with its unit; the better of each row is
    marked. docs/metrics.md says how each is computed.
    """
    from twin.case import Case
    from twin.plans import compare_plans, read_plans

    opened, wanted = Case.open(case), read_plans(plans)
    with TerminalProgress(console) as progress:
        found = compare_plans(opened, wanted, progress)
    if json_file is not None:
        data = {
            "case": opened.title,
            "case_sha256": opened.sha256,
            "plans": [plan.to_json() for plan in found],
        }
        _write(json_file, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    done = [plan for plan in found if plan.measured is not None]
    lines = side_by_side([plan.measured or {} for plan in done], every)
    names = [plan.name for plan in done]
    if html_file is not None:
        _write(html_file, as_html(opened.title, names, lines))
    if done:
        _tell(opened.title, names, lines)
    for plan in found:
        if plan.measured is None:
            console.print(
                f"[yellow]Note:[/yellow] {escape(plan.name)} was not carried out: {escape(plan.refused)}"
            )
    if len(done) < len(found):
        raise typer.Exit(1)


#: A line of the table: title, unit, value of each plan as a person reads it, and which of them are best.
Line = tuple[str, str, list[str], list[bool]]


def side_by_side(measured: Sequence[dict[str, Any]], every: bool = False) -> list[Line]:
    """Lines of a table of plans.

    Parameters
    ----------
    measured : sequence of dict
        Of each plan, as `twin.meter.OperationMeter.measured`.
    every : bool
        Whether lines in which all plans agree are kept.
    """
    from twin.metric_table import Metric, rows

    values: dict[tuple[str, tuple[str, ...]], dict[int, float]] = {}
    about: dict[tuple[str, tuple[str, ...]], tuple[str, Metric]] = {}
    for number, one in enumerate(measured):
        for row in rows(one):
            key = row.metric.key, row.names
            about.setdefault(key, (row.title, row.metric))
            values.setdefault(key, {})[number] = row.value
    lines: list[Line] = []
    for key, (title, metric) in about.items():
        cells = [_number(values[key].get(number)) for number in range(len(measured))]
        if len(measured) > 1 and len(set(cells)) == 1 and not every:
            continue
        best = _best(cells, values[key], metric.better)
        lines.append((title, metric.unit, cells, best))
    return lines


def _best(cells: list[str], values: dict[int, float], better: str) -> list[bool]:
    """Which cells are the best of their row; none where all are the same, as shown."""
    if not better or len(set(cells)) < 2 or not values:
        return [False] * len(cells)
    chosen = (max if better == "more" else min)(values.values())
    shown = {cells[number] for number, value in values.items() if value == chosen}
    return [cell in shown for cell in cells]


def _number(value: float | None) -> str:
    """Three digits, as a person reads them; a dash where it does not apply."""
    if value is None:
        return "–"
    if value == 0.0:
        return "0"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else "under 0.001"


def as_html(title: str, names: Sequence[str], lines: Sequence[Line]) -> str:
    """The table as an HTML fragment; the best of a row is set in bold."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = []
    for words, unit, cells, best in lines:
        marked = "".join(
            f"<td>{f'<b>{html.escape(cell)}</b>' if good else html.escape(cell)}</td>"
            for cell, good in zip(cells, best, strict=True)
        )
        body.append(f"<tr><th>{html.escape(words)}</th><td>{html.escape(unit)}</td>{marked}</tr>")
    return (
        f'<table class="plans">\n<caption>Plans for {html.escape(title)}; the better of a row in bold</caption>\n'
        f"<thead><tr><th>measure</th><th>unit</th>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(body)
        + "\n</tbody>\n</table>\n"
    )


def _tell(title: str, names: Sequence[str], lines: Sequence[Line]) -> None:
    table = Table("measure", "unit", title=escape(f"Plans for {title}"))
    for name in names:
        table.add_column(escape(name), justify="right")
    for words, unit, cells, best in lines:
        shown = [
            f"[bold green]{cell}[/bold green]" if good else cell
            for cell, good in zip(cells, best, strict=True)
        ]
        table.add_row(escape(words), unit, *shown)
    table.caption = "green: the better of a row; docs/metrics.md says how each measure is computed"
    console.print(table)


def _write(path: Path, text: str) -> None:
    with whole_or_nothing(path) as partial:
        partial.write_text(text, encoding="utf-8")
