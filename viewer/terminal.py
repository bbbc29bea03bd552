"""The command `organtwin`.

Every command does one thing from the floors below and prints what a person needs; `--json` writes the same for
a pipeline. Floors are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anatomy.files import whole_or_nothing
from viewer.acts import acts
from viewer.correcting import correct
from viewer.plans import compare
from viewer.progress import TerminalProgress
from viewer.reducing import reduce
from viewer.refusals import refusals
from viewer.vascular import vessels

app = typer.Typer(
    name="organtwin",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Turn a patient's scan into a twin of the organ that can be operated on beforehand.\n\n"
    "For research use only; not a medical device.",
    epilog="Start with [bold]organtwin demo[/bold].",
)
console = Console(highlight=False)

_WITH_VESSELS = "* with the vessels that run through it"

CaseFolder = Annotated[Path, typer.Argument(metavar="CASE", help="Case folder.", show_default=False)]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the rows as JSON.", show_default=False),
]


def main() -> None:
    """Run the command; what `organtwin` starts."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from twin.case import software

        for package, version in software().items():
            console.print(f"{package} {version}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show versions and exit.")
    ] = False,
) -> None:
    """Take the options that come before the command."""


@app.command(epilog="Examples:\n\n  organtwin demo\n\n  organtwin demo --seed 7 -o seed-7 --headless")
@refusals
def demo(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the scan, case and rehearsal.")
    ] = Path("organtwin-demo"),
    seed: Annotated[int, typer.Option(min=1, max=9999, help="Which synthetic patient.")] = 1,
    headless: Annotated[
        bool, typer.Option("--headless", help="Replay and report even where a window could open.")
    ] = False,
) -> None:
    """The sample patient, from scan to open window.

    Makes a synthetic CT as a DICOM series, builds the case from it, and opens the window; without a display it
    replays the bundled rehearsal and writes pictures, a movie and the report.
    """
    from viewer.demo import run_demo

    with TerminalProgress(console) as progress:
        case = run_demo(out, seed, progress)
    _tell_case(case)
    if not headless and _has_display():
        rehearse(case.path)
        return
    from sample_scans import bundled_rehearsal

    replay(case.path, bundled_rehearsal("lift_liver_edge"), out / "rehearsal")


@app.command(
    epilog="Examples:\n\n  organtwin build CT/ -o anna\n\n"
    "  organtwin build study.zip --series 2 --repair deskew -o case\n\n"
    "  organtwin build ct.nii.gz --labels labels.nii.gz --structures liver,kidney_right -o case --edge 8\n\n"
    "  organtwin build CT/ --labels rs.dcm --structures liver,spleen --label-priority spleen,liver -o case\n\n"
    "  organtwin build t1.nii.gz --structures brain -o head\n\n"
    "  organtwin build CT/ --model totalsegmentator --download-weights --structures liver,spleen -o case"
)
@refusals
def build(
    scan: Annotated[
        Path,
        typer.Argument(
            metavar="SCAN",
            help="DICOM folder, zip archive or enhanced file, or NIfTI, NRRD or MHA file.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="CASE", help="Case folder to make.", show_default=False)
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Label map from another tool: NIfTI, NRRD, MHA, DICOM-SEG, RTSTRUCT or a folder of masks; "
            "segmented here if left out.",
            show_default=False,
        ),
    ] = None,
    label_names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|TABLE",
            help="Names of the labels: JSON {value: name}, or a class table such as totalsegmentator_v2.",
            show_default=False,
        ),
    ] = None,
    label_priority: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Structures that win where several overlap, the first first, with commas between.",
            show_default=False,
        ),
    ] = None,
    label_resample: Annotated[
        Literal["nearest", "linear"] | None,
        typer.Option(
            help="Bring labels on another grid to the scan's: nearest voxel, or linear vote; default: refuse.",
            show_default=False,
        ),
    ] = None,
    label_any_frame: Annotated[
        bool,
        typer.Option(
            "--label-any-frame",
            help="Take a DICOM-SEG or RTSTRUCT of another frame of reference: only if you know that it is registered.",
        ),
    ] = False,
    structures: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Structures to build, with commas between; default: liver, tumour and vessels.",
            show_default=False,
        ),
    ] = None,
    edge: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="Edge of the tetrahedra inside the organs, mm; default: as fine as rehearsal holds.",
            show_default=False,
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Which of several: the number of a DICOM series (2) or of a stack of one (2.1), a series UID, "
            "or the number of a volume in a four-dimensional file.",
            show_default=False,
        ),
    ] = None,
    repair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="drop|deskew|resample",
            help="Mend slices that are no regular volume, and keep in the case what was done: "
            "drop (localisers, copies, odd slices), deskew (gantry tilt), resample (uneven or missing slices, "
            "sheared axes). May be given several times.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Who segments: protocols, totalsegmentator or totalsegmentator:TASK (the extra deep).",
        ),
    ] = "protocols",
    download_weights: Annotated[
        bool, typer.Option("--download-weights", help="Let a model download its weights, several GB.")
    ] = False,
    title: Annotated[str, typer.Option(help="What to call the case.", show_default=False)] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace a case of that name.")] = False,
) -> None:
    """Scan to case folder: read, segment (or take a label map), mesh."""
    from anatomy.errors import AnatomyError
    from twin.build import Choice, LabelChoice, build_case

    if edge is not None and not 1.0 <= edge <= 50.0:
        raise AnatomyError(f"--edge is {edge:g} mm; give 1 to 50 mm.")
    names = None if structures is None else [name.strip() for name in structures.split(",") if name.strip()]
    if names == []:
        raise AnatomyError(
            "--structures names nothing; give names with commas between, such as liver,kidney_right."
        )
    choice = Choice(
        structures=names, edge_mm=edge, series=series, repair=repair or (), model=model,
        download_weights=download_weights, title=title, replace=replace,
    )  # fmt: skip
    first = [name.strip() for name in (label_priority or "").split(",") if name.strip()]
    label_choice = LabelChoice(label_names, first, label_resample, label_any_frame)
    with TerminalProgress(console) as progress:
        case = build_case(
            scan, out, labels=labels, label_choice=label_choice, choice=choice, progress=progress
        )
    _tell_case(case)


app.command(
    epilog="Examples:\n\n  organtwin correct anna corrections.json\n\n"
    "  organtwin correct anna --outside liver:-62,14,-180 --reach 15\n\n  organtwin correct anna --undo 1\n\n"
    "Corrections in a file, as many as needed; places in LPS mm, which grow to the patient's left, back and head:\n\n"
    '  \\[{"kind": "seed", "structure": "liver", "points_mm": \\[\\[-62, 14, -180]], "inside": false, '
    '"reach_mm": 15},\n\n'
    '  {"kind": "brush", "structure": "liver", "path_mm": \\[\\[-40, 0, -150], \\[-35, 0, -150]], "radius_mm": 5, '
    '"adds": true},\n\n'
    '  {"kind": "outlines", "structure": "liver", "outlines_mm": \\[\\[\\[-80, 20, -160], \\[-40, -30, -160], '
    "\\[-20, 40, -160]]]}]"
)(correct)


app.command(
    epilog="Examples:\n\n  organtwin vessels organtwin-demo/case\n\n"
    "  organtwin vessels anna --clamp=-32,-28,8 --json anna-vessels.json"
)(vessels)


app.command(
    epilog="Examples:\n\n  organtwin compare anna wedge.json right-hepatectomy.json\n\n"
    "  organtwin compare anna plans.json --every --json plans-measured.json --html plans.html"
)(compare)


@app.command(
    epilog="Examples:\n\n  organtwin inspect organtwin-demo/case\n\n"
    "  organtwin inspect organtwin-demo/case --page inspection.html --json inspection.json"
)
@refusals
def inspect(
    case: CaseFolder,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE", help="Also write a page with pictures.", show_default=False),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Is the case right? Volumes, distances, mesh quality and outlines, measured and shown."""
    from twin.case import Case
    from viewer.inspection import inspect_case, write_inspection

    opened = Case.open(case)
    opened.check_files()
    with TerminalProgress(console) as progress:
        found = inspect_case(opened)
        if page is not None:
            write_inspection(page, opened, found, progress)
    _write_json(json_file, found)
    _tell_inspection(found)
    if page is not None:
        console.print(f"Page: [bold]{escape(str(page))}[/bold]")


@app.command(epilog="Example:\n\n  organtwin rehearse organtwin-demo/case")
@refusals
def rehearse(case: CaseFolder) -> None:
    """Open the window on a case: grasp the tissue with the mouse, cut, resect, clamp, pierce, ablate, and undo."""
    from twin.case import Case
    from viewer import show

    show(Case.open(case))


app.command(
    epilog="Examples:\n\n  organtwin reduce organtwin-demo/case\n\n"
    "  organtwin reduce anna --at=-129.9,-190.6,301.4 --reach 40\n\n"
    "  organtwin reduce anna --at=-130,-191,301 --at=-89,-246,417 --together --json rows.json"
)(reduce)


app.command(epilog="Examples:\n\n  organtwin acts\n\n  organtwin acts resect clamp")(acts)


def _list_rehearsals(wanted: bool) -> None:
    if wanted:
        from sample_scans import bundled_rehearsal, bundled_rehearsals
        from twin.rehearsal import Rehearsal

        table = Table("name", "what is done", title="Rehearsals that come with organtwin")
        for name in bundled_rehearsals():
            table.add_row(name, escape(Rehearsal.read(bundled_rehearsal(name)).title))
        table.caption = "docs/rehearsals.md says which case each is made for"
        console.print(table)
        raise typer.Exit


@app.command(
    epilog="Examples:\n\n  organtwin replay organtwin-demo/case right_hepatectomy -o hepatectomy\n\n"
    "  organtwin replay organtwin-demo/case lift.json -o lift --view anterior --no-movie\n\n"
    "  organtwin replay --list\n\n"
    "How a script is written: organtwin acts, or docs/acts.md."
)
@refusals
def replay(
    case: CaseFolder,
    script: Annotated[
        Path,
        typer.Argument(
            metavar="SCRIPT",
            help="Rehearsal script: a JSON file, or the name of one that comes with organtwin (--list).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="Folder for what comes out.", show_default=False),
    ],
    movie: Annotated[bool, typer.Option(help="Write movie.mp4.")] = True,
    view: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where the eye stands: surgeon, anterior, posterior, left, right, superior or inferior.",
        ),
    ] = "surgeon",
    bundled: Annotated[
        bool,
        typer.Option(
            "--list", callback=_list_rehearsals, is_eager=True, help="Name the bundled scripts and exit."
        ),
    ] = False,
) -> None:
    """Replay a rehearsal script without a window.

    Writes metrics.json, pictures, movie.mp4 and report.html.
    """
    from sample_scans import bundled_rehearsal, bundled_rehearsals
    from twin.case import Case
    from twin.rehearsal import Rehearsal
    from viewer.headless import replay_case

    if not script.exists() and str(script) in bundled_rehearsals():
        script = bundled_rehearsal(str(script))
    opened, rehearsal = Case.open(case), Rehearsal.read(script)
    with TerminalProgress(console) as progress:
        metrics = replay_case(opened, rehearsal, out, movie=movie, view=view, progress=progress)
    _tell_metrics(metrics)
    console.print(f"Report, pictures and movie: [bold]{escape(str(out))}[/bold] (open report.html)")


@app.command(
    epilog="Examples:\n\n  organtwin verify\n\n  organtwin verify cook land --full\n\n"
    "  organtwin verify --full --json rows.json --docs docs/verification.md"
)
@refusals
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROBLEM]...", help="Single problems; default: all quick ones."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Also the problems that take longer.")] = False,
    json_file: JsonFile = None,
    docs: Annotated[
        Path | None,
        typer.Option(help="Write the problems that ran into this Markdown page; needs --full."),
    ] = None,
) -> None:
    """Solve problems with known answers and show the errors; exit 1 if one is out of tolerance."""
    from solver.errors import SolverError
    from solver.verification import verify_each
    from solver.verification.page import write_page

    if docs is not None and not full:
        raise SolverError("--docs records every row of a problem; add --full.")
    with TerminalProgress(console) as progress:
        found = verify_each(names or None, full=full, progress=progress)
    rows = [row.record() for part in found.values() for row in part]
    _write_json(json_file, rows)
    if docs is not None:
        write_page(docs, found)
    table = Table(
        "problem", "quantity", "value", "reference", "error", "tolerance", "", "source", title="Verification"
    )
    for row in rows:
        mark = "[green]pass[/green]" if row["passed"] else "[red]FAIL[/red]"
        value = "unsolved" if row["value"] is None else f"{row['value']:.8g}"
        error = "" if row["error"] is None else f"{row['error']:.1e}"
        numbers = (value, f"{row['reference']:.8g}", error, f"{row['tolerance']:.1g}")
        table.add_row(escape(row["problem"]), escape(row["quantity"]), *numbers, mark, escape(row["source"]))
    console.print(table)
    failed = sum(not row["passed"] for row in rows)
    console.print(f"{len(rows) - failed} of {len(rows)} within tolerance.")
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Examples:\n\n  organtwin bench\n\n  organtwin bench interactive --json rows.json")
@refusals
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Single benchmarks; default: all.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Measure speed and accuracy on this machine, beside named peers where there are any."""
    from benchmarks import run_benchmarks

    with TerminalProgress(console) as progress:
        rows = run_benchmarks(names or None, progress=progress)
    _write_json(json_file, rows)
    table = Table("benchmark", "quantity", "value", "unit", "peer", "ratio", title="Benchmarks")
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        value = f"{row['value']:.4g}"
        table.add_row(row["benchmark"], row["quantity"], value, row["unit"], row["peer"] or "", ratio)
    console.print(table)


def _write_json(path: Path | None, rows: list[dict[str, Any]] | dict[str, Any]) -> None:
    if path is not None:
        with whole_or_nothing(path) as partial:
            partial.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _tell_case(case: Any) -> None:
    carried, confidence = case.facts.get("carried") or {}, case.facts.get("confidence") or {}
    table = Table("structure", title=escape(case.title))
    for heading in ("volume (ml)", "mesh (ml)", "tetrahedra", *["confidence (%)"] * bool(confidence)):
        table.add_column(heading, justify="right")
    for entry in case.facts["structures"]:
        name, meshed = entry["name"], entry["mesh_volume_ml"]
        with_vessels = "*" if name in carried.values() else ""
        cells = [
            f"{entry['volume_ml']:.1f}",
            f"in {carried.get(name, 'the tissue')}" if meshed is None else f"{meshed:.1f}{with_vessels}",
            "" if meshed is None else f"{entry['tets']:,}",
        ]
        if confidence:
            cells.append(f"{100 * confidence[name]:.0f}" if name in confidence else "")
        table.add_row(escape(name), *cells)
    table.caption = _WITH_VESSELS if carried else None
    console.print(table)
    for warning in case.facts["warnings"]:
        console.print(f"[yellow]Note:[/yellow] {escape(warning)}")
    console.print(f"Case: [bold]{escape(str(case.path))}[/bold]")


def _tell_inspection(found: dict[str, Any]) -> None:
    sure = any(entry["confidence"] is not None for entry in found["structures"])
    table = Table("structure", title=escape(found["title"]))
    for heading in (
        "labels\nml",
        "mesh\nml",
        "error\n%",
        "mean\nmm",
        "largest\nmm",
        *["confidence\n%"] * sure,
    ):
        table.add_column(heading, justify="right")
    number = lambda value, form: "" if value is None else form.format(value)  # noqa: E731 - a cell
    for entry in found["structures"]:
        carried, confidence = entry["carried_by"], entry["confidence"]
        cells = [
            f"{entry['labels_ml']:.1f}",
            f"in {carried}"
            if carried
            else number(entry["mesh_ml"], "{:.1f}") + "*" * bool(entry["with_carried"]),
            number(entry["mesh_error_percent"], "{:+.2f}"),
            number(entry["distance_mean_mm"], "{:.2f}"),
            number(entry["distance_max_mm"], "{:.2f}"),
        ]
        if sure:
            cells.append(number(None if confidence is None else 100 * confidence, "{:.0f}"))
        table.add_row(escape(entry["name"]), *cells)
        if not entry["surface_closed"]:
            console.print(
                f"[yellow]Note:[/yellow] the shown surface of {escape(entry['name'])} is not closed"
            )
    table.caption = "error: of the mesh's volume; mean, largest: distance of its surface from the labels'"
    if any(entry["with_carried"] for entry in found["structures"]):
        table.caption += f"; {_WITH_VESSELS}"
    console.print(table)
    mesh = found["mesh"]
    angles, ratio = mesh["dihedral_deg"], mesh["radius_ratio"]
    console.print(
        f"Mesh: {mesh['tets']:,} tetrahedra, dihedral angles {angles['least']:.1f}° to {angles['largest']:.1f}°, "
        f"radius ratio {ratio['least']:.2f} at worst, {ratio['median']:.2f} in the middle"
    )
    for warning in found["warnings"]:
        console.print(f"[yellow]Note:[/yellow] {escape(warning)}")


def _plain(value: float) -> str:
    """Three digits without powers of ten; what is too small to matter only says so."""
    if 0 < abs(value) < 0.001:
        return "under 0.001"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _tell_metrics(metrics: dict[str, Any]) -> None:
    table = Table("metric", "value", title="Rehearsal")
    for name, words, unit in (
        ("peak_force_N", "peak force", "N"),
        ("peak_displacement_mm", "peak displacement", "mm"),
        ("reference_error_mm", "distance to the converged equilibrium, mean", "mm"),
        ("median_frame_ms", "median frame", "ms"),
        ("worst_frame_ms", "worst frame", "ms"),
    ):
        value = metrics[name]
        table.add_row(words, "not compared, see the report" if value is None else f"{_plain(value)} {unit}")
    console.print(table)


if __name__ == "__main__":
    main()
