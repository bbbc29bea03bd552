"""Report: one self-contained page a surgeon can read, print and file.

Everything is inside the one HTML file: pictures as base64, charts as SVG, styles; it loads nothing and says where
every number comes from. Numbers that were not measured are left out, never guessed.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import ArrayLike

from anatomy.files import whole_or_nothing
from viewer import theme
from viewer.charts import LineChart, Span
from viewer.errors import ViewerError
from viewer.operation_table import KeyNumber, events, key_numbers, measures

_INK_FORCE, _INK_MOVED = "#b3540b", "#0d766b"
# Left to the table of the solver where the operation itself has numbers to show.
_SECONDARY = ("peak_force_N", "median_frame_ms")
_MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows; the leading one is drawn large."""

    path: Path
    title: str
    leading: bool = False


@dataclass(frozen=True)
class Act:
    """One act of the rehearsal as a person reads it."""

    start_s: float
    end_s: float
    name: str
    detail: str = ""


@dataclass
class Course:
    """How a rehearsal went.

    Parameters
    ----------
    time_s, force_N, displacement_mm : array_like, shape (k,)
        Of every frame: its time, the greatest force of a tool, the greatest displacement.
    acts : list of Act
        What was done and when.
    """

    time_s: ArrayLike
    force_N: ArrayLike
    displacement_mm: ArrayLike
    acts: list[Act] = field(default_factory=list)


def write_report(
    path: str | Path,
    case: Any,
    metrics: Mapping[str, Any],
    pictures: Sequence[Picture],
    course: Course,
    slices: Picture | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Write the report of a rehearsal, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The .html file.
    case : Case
        Title, facts (`case.json`) and organ mesh.
    metrics : mapping
        What `metrics.json` holds; units are in the keys.
    pictures : sequence of Picture
        PNG or JPEG files in order; three a row, or two beside a leading one.
    course : Course
        Forces and displacements over time, and the acts.
    slices : Picture, optional
        The scan's slices with the outlines.
    warnings : sequence of str
        Whatever a reader must know; those of the case are added.

    Raises
    ------
    ViewerError
        If a picture cannot be read or the file cannot be written.
    """
    path = Path(path)
    facts = dict(getattr(case, "facts", {}) or {})
    page = (
        _environment()
        .from_string(_template())
        .render(
            title=case.title,
            rehearsal=str(metrics.get("title") or ""),
            wordmark=theme.WORDMARK,
            notice=theme.RESEARCH_NOTICE,
            written=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
            numbers=_key_numbers(metrics),
            measures=measures(metrics.get("operation") or {}),
            events=events(metrics.get("events") or []),
            pictures=[
                {"title": p.title, "data": _embedded(p.path), "leading": p.leading}
                for p in sorted(pictures, key=lambda p: not p.leading)
            ],
            slices={"title": slices.title, "data": _embedded(slices.path)} if slices else None,
            structures=_structure_rows(facts, metrics),
            acts=course.acts,
            charts=[chart.svg() for chart in _charts(course)],
            solver_facts=_solver_facts(metrics),
            provenance=_provenance(case, facts, metrics),
            warnings=[*facts.get("warnings", []), *warnings],
        )
    )
    with whole_or_nothing(path, ViewerError) as partial:
        partial.write_text(page, encoding="utf-8")


@cache
def _template() -> str:
    return (resources.files("viewer") / "report.html.j2").read_text(encoding="utf-8")


def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _embedded(path: Path) -> str:
    media = _MEDIA.get(Path(path).suffix.lower())
    if media is None:
        raise ViewerError(f"{path} is not a PNG or JPEG picture; the report cannot show it.")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ViewerError(f"{path} cannot be read for the report ({error.strerror}).") from error
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"


def _key_numbers(metrics: Mapping[str, Any]) -> list[KeyNumber]:
    """The numbers at the head of the page: only those that were measured."""
    known = (
        ("peak_force_N", "{:.2f}", "N", "Peak force", "greatest pull of a tool on the tissue"),
        (
            "peak_displacement_mm",
            "{:.1f}",
            "mm",
            "Peak displacement",
            "farthest any tissue moved from the scan",
        ),
        (
            "reference_error_mm",
            "{:.3f}",
            "mm",
            "Distance to equilibrium",
            "mean over the organ, against the fully converged solution on the same mesh",
        ),
        ("median_frame_ms", "{:.0f}", "ms", "Median frame", "time the solver took for one step"),
    )
    first = key_numbers(metrics.get("operation") or {})
    return first + [
        KeyNumber(_number(form, metrics[key]), unit, name, meaning)
        for key, form, unit, name, meaning in known
        if metrics.get(key) is not None and not (first and key in _SECONDARY)
    ]


def _number(form: str, value: float) -> str:
    """A number as its format has it; one that would read as zero though it is not becomes '< 0.001'."""
    text = form.format(value)
    if value > 0 and float(text) == 0:
        return f"< {text[:-1]}1"
    return text


def _structure_rows(facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Structures with their volume in the label map and in the mesh, ml, and the difference in percent."""
    entries = facts.get("structures")
    if not entries:
        entries = [{"name": n, "volume_ml": v} for n, v in _volumes(metrics).items()]
    carried = facts.get("carried") or {}
    volume_of = {entry["name"]: entry.get("volume_ml") or 0.0 for entry in entries}
    rows = []
    for entry in entries:
        voxels, mesh = entry.get("volume_ml"), entry.get("mesh_volume_ml")
        # The tissue of carried vessels is meshed as the organ's, and compared with both.
        whole = (voxels or 0.0) + sum(
            volume_of.get(n, 0.0) for n, organ in carried.items() if organ == entry["name"]
        )
        difference = 100.0 * (mesh - whole) / whole if whole and mesh is not None else None
        rows.append(
            {
                "title": theme.title_of(entry["name"]),
                "colour": theme.hex_colour(theme.colour_of(entry["name"])),
                "volume": _volume(voxels),
                "mesh": "in the tissue" if mesh is None and "mesh_volume_ml" in entry else _volume(mesh),
                "with_vessels": entry["name"] in carried.values(),
                "difference": "–" if difference is None else f"{difference:+.1f} %".replace("-", "−"),
            }
        )
    return rows


def _volumes(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Volumes by structure from the metrics, whether given as numbers or as records."""
    found = metrics.get("structures") or {}
    if isinstance(found, Mapping):
        return {n: float(v["volume_ml"] if isinstance(v, Mapping) else v) for n, v in found.items()}
    return {entry["name"]: float(entry["volume_ml"]) for entry in found}


def _volume(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ml" if value < 100 else f"{value:.0f} ml"


def _charts(course: Course) -> list[LineChart]:
    time = np.asarray(course.time_s, dtype=float)
    spans = [Span(act.start_s, act.end_s, act.name) for act in course.acts if act.end_s > act.start_s]
    force, moved = np.asarray(course.force_N, dtype=float), np.asarray(course.displacement_mm, dtype=float)
    charts = [LineChart("Greatest displacement, mm", time, moved, "mm", _INK_MOVED, spans)]
    if force.any():
        charts.insert(0, LineChart("Force on the tissue, N", time, force, "N", _INK_FORCE, spans))
    return charts


def _solver_facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = (
        ("tets", "Tetrahedra", "{:,}"),
        ("dofs", "Degrees of freedom", "{:,}"),
        ("frames", "Frames", "{:,}"),
        ("median_frame_ms", "Median frame", "{:.1f} ms"),
        ("worst_frame_ms", "Worst frame", "{:.1f} ms"),
        ("converged_frames", "Frames that reached equilibrium", "{:,}"),
        ("reference_error_max_mm", "Greatest distance to equilibrium", "{:.3f} mm"),
    )
    rows = [
        (name, form.format(metrics[key]).replace(",", "\u202f"))
        for key, name, form in known
        if isinstance(metrics.get(key), int | float)
    ]
    stages = metrics.get("build_seconds") or {}
    if isinstance(stages, Mapping) and stages:
        rows.append(("Build", ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in stages.items())))
    return rows


def _provenance(case: Any, facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    software = facts.get("software") or {}
    rows = [
        ("Software", ", ".join(f"{name} {version}" for name, version in software.items())),
        ("Case made", str(facts.get("created", ""))),
        ("Case SHA-256", str(getattr(case, "sha256", "") or "")),
        ("State SHA-256", str(metrics.get("state_hash") or metrics.get("state_sha256") or "")),
        ("Scan", _scan_line(facts.get("scan") or {})),
    ]
    return [(name, value) for name, value in rows if value]


def _scan_line(scan: Mapping[str, Any]) -> str:
    if not scan:
        return ""
    size = " × ".join(str(n) for n in scan.get("size", []))
    spacing = " × ".join(f"{mm:g}" for mm in scan.get("spacing_mm", []))
    return f"{scan.get('modality', '')} {size} voxels of {spacing} mm".strip()
