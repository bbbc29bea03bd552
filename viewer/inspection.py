"""Inspection: is this case right? What was segmented, meshed and shown, measured against each other.

`inspect_case` measures, `write_inspection` puts the measurements and the pictures on one self-contained page that a
surgeon can look through before rehearsing: every structure outlined on the scan, its volume in the label map, in the
mesh and in the shown surface, how far the mesh lies from the labels, how well its tetrahedra are shaped, what the
segmentation said of itself, and where everything comes from.
"""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anatomy.files import whole_or_nothing
from anatomy.lattice.quality import all_dihedral_angles, radius_ratios
from anatomy.manifold import pinched_edges, pinched_vertices
from anatomy.mesh import OrganMesh
from anatomy.progress import Progress, silent
from viewer import report, theme
from viewer.cutaway import mesh_cutaway
from viewer.errors import ViewerError
from viewer.histogram import Histogram
from viewer.slices import PLANES, SliceModel

# Around a structure, so much of the patient is shown.
_MARGIN_MM = 22.0
_BAR = "#0d766b"
# What the mesher promises, degrees.
_DIHEDRAL_DEG = (12.0, 140.0)


def inspect_case(case: Any) -> dict[str, Any]:
    """Measure a case.

    Parameters
    ----------
    case : Case
        The case.

    Returns
    -------
    dict
        JSON-ready. `title`, `sha256`, `created`, `scan`, `software`, `source`, `warnings`; `mesh` with `tets`,
        `vertices`, `edge_mm`, `dihedral_deg` and `radius_ratio` (least, 5th percentile, median, largest); and
        `structures`, for each `name`, `labels_ml`, `mesh_ml` and `surface_ml` (ml), `mesh_error_percent`,
        `surface_error_percent`, `distance_mean_mm` and `distance_max_mm` (mesh to label surface), `tets`,
        `surface_triangles`, `surface_closed`, `carried_by`, `confidence`; None where it does not apply.
    """
    facts, organ = case.facts, case.organ
    carried = facts.get("carried") or {}
    voxels = case.labels.volumes_ml
    measured = dict(organ.report.get("labels") or {})
    return {
        "title": case.title,
        "sha256": case.sha256,
        "created": facts.get("created"),
        "scan": facts.get("scan"),
        "software": facts.get("software"),
        "source": facts.get("source"),
        "warnings": list(facts.get("warnings") or []),
        "mesh": {
            "tets": len(organ.tets),
            "vertices": len(organ.points),
            "edge_mm": organ.report.get("edge_mm"),
            "dihedral_deg": _spread(all_dihedral_angles(organ.points, organ.tets)),
            "radius_ratio": _spread(radius_ratios(organ.points, organ.tets)),
        },
        "structures": [
            _structure(case, name, voxels, carried, measured.get(name) or {}) for name in case.structure_names
        ],
    }


def _structure(
    case: Any, name: str, voxels: dict[str, float], carried: dict[str, str], measured: dict[str, Any]
) -> dict[str, Any]:
    surface = case.surfaces[name]
    # The tissue of carried vessels is meshed as the organ's; what lies in an organ is inside its surface.
    within = [n for n, organ in carried.items() if organ == name and n in voxels]
    whole = voxels[name] + sum(voxels[n] for n in within)
    meshed = case.organ.volumes_ml.get(name)
    entry = next(e for e in case.facts["structures"] if e["name"] == name)
    return {
        "name": name,
        "labels_ml": round(voxels[name], 4),
        "with_carried": within,
        "mesh_ml": None if meshed is None else round(meshed, 4),
        "mesh_error_percent": None if meshed is None else round(100 * (meshed / whole - 1), 3),
        "surface_ml": round(surface.volume_ml, 4),
        "surface_triangles": len(surface.triangles),
        "surface_closed": not len(pinched_edges(surface.triangles))
        and not len(pinched_vertices(surface.triangles)),
        "distance_mean_mm": measured.get("surface_distance_mean_mm"),
        "distance_95_mm": measured.get("surface_distance_95_mm"),
        "distance_max_mm": measured.get("surface_distance_max_mm"),
        "tets": entry.get("tets", 0),
        "pieces": measured.get("pieces"),
        "carried_by": carried.get(name),
        "confidence": (case.facts.get("confidence") or {}).get(name),
    }


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    least, low, median, most = np.percentile(values, [0, 5, 50, 100])
    return {
        "least": round(float(least), 3),
        "percentile_5": round(float(low), 3),
        "median": round(float(median), 3),
        "largest": round(float(most), 3),
    }


def write_inspection(path: str | Path, case: Any, found: dict[str, Any], progress: Progress = silent) -> None:
    """Write the page of an inspection, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The .html file.
    case : Case
        The case.
    found : dict
        What `inspect_case` measured.
    progress : Progress
        Who watches.

    Raises
    ------
    ViewerError
        If this machine cannot draw or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ViewerError(f"'{path}' is no name for a page; it must end in .html.")
    progress("Drawing the mesh", 0.0)
    cutaway = _jpeg(mesh_cutaway(case.organ, size=(1200, 640)))
    progress("Drawing the mesh", 1.0)
    full = SliceModel(case.scan, case.labels)
    structures = []
    for done, entry in enumerate(found["structures"]):
        progress("Drawing the outlines", done / len(found["structures"]))
        structures.append(_shown(entry) | {"slices": _outlines(case, full, entry["name"])})
    progress("Drawing the outlines", 1.0)
    page = (
        report._environment()
        .from_string(_template())
        .render(
            style=report_style(),
            title=case.title,
            wordmark=theme.WORDMARK,
            notice=theme.RESEARCH_NOTICE,
            written=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
            numbers=_key_numbers(found),
            warnings=found["warnings"],
            structures=structures,
            cutaway=cutaway,
            histograms=[chart.svg() for chart in _histograms(case.organ)],
            mesh_facts=_mesh_facts(case.organ, found),
            provenance=_provenance(found),
        )
    )
    with whole_or_nothing(path, ViewerError) as partial:
        partial.write_text(page, encoding="utf-8")


@cache
def _template() -> str:
    return (resources.files("viewer") / "inspection.html.j2").read_text(encoding="utf-8")


def report_style() -> str:
    """The style sheet of the rehearsal report, so that all pages look alike."""
    return (
        report._template()
        .split("<style>", 1)[1]
        .split("</style>", 1)[0]
        .replace("{{ numbers|length or 1 }}", "4")
    )


def _key_numbers(found: dict[str, Any]) -> list[dict[str, str]]:
    meshed = [e for e in found["structures"] if e["mesh_error_percent"] is not None]
    far = [e for e in meshed if e["distance_mean_mm"] is not None]
    sure = [e for e in found["structures"] if e["confidence"] is not None]
    angles = found["mesh"]["dihedral_deg"]
    tets = f"of {found['mesh']['tets']:,} tetrahedra".replace(",", "\u202f")
    numbers = []
    if meshed:
        worst = max(meshed, key=lambda e: abs(e["mesh_error_percent"]))
        error, meaning = _signed(worst["mesh_error_percent"]), f"{_title(worst)}, against the label map"
        numbers.append(("Largest volume error of the mesh", error, "%", meaning))
    if far:
        worst = max(far, key=lambda e: e["distance_mean_mm"])
        distance, meaning = (
            f"{worst['distance_mean_mm']:.2f}",
            f"{_title(worst)}, mesh surface to label surface",
        )
        numbers.append(("Largest mean distance", distance, "mm", meaning))
    numbers.append(("Dihedral angles", f"{angles['least']:.0f}–{angles['largest']:.0f}", "°", tets))
    if sure:
        least = min(sure, key=lambda e: e["confidence"])
        share, meaning = f"{100 * least['confidence']:.0f}", f"{_title(least)}, by the segmentation itself"
        numbers.append(("Least confidence", share, "%", meaning))
    return [dict(zip(("name", "value", "unit", "meaning"), number, strict=True)) for number in numbers]


def _title(structure: dict[str, Any]) -> str:
    return theme.title_of(structure["name"])


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    """One structure as the page writes it."""
    millimetres = lambda value: "–" if value is None else f"{value:.2f} mm"  # noqa: E731 - used thrice
    millilitres = lambda value: "–" if value is None else f"{value:.1f} ml"  # noqa: E731 - used thrice
    error = entry["mesh_error_percent"]
    return {
        "title": theme.title_of(entry["name"]),
        "colour": theme.hex_colour(theme.colour_of(entry["name"])),
        "labels": millilitres(entry["labels_ml"]),
        "mesh": millilitres(entry["mesh_ml"]) if entry["carried_by"] is None else "in the tissue",
        "with_carried": bool(entry["with_carried"]),
        "error": "–" if error is None else f"{_signed(error)} %",
        "surface": millilitres(entry["surface_ml"]),
        "closed": "closed" if entry["surface_closed"] else "not closed",
        "mean": millimetres(entry["distance_mean_mm"]),
        "high": millimetres(entry["distance_95_mm"]),
        "largest": millimetres(entry["distance_max_mm"]),
        "tets": f"{entry['tets']:,}".replace(",", "\u202f") if entry["tets"] else "–",
        "confidence": "–" if entry["confidence"] is None else f"{100 * entry['confidence']:.0f} %",
        "carried_by": theme.title_of(entry["carried_by"]) if entry["carried_by"] else "",
    }


def _histograms(organ: OrganMesh) -> list[Histogram]:
    angles = all_dihedral_angles(organ.points, organ.tets).ravel()
    ratios = radius_ratios(organ.points, organ.tets)
    return [
        Histogram(
            "Dihedral angles", angles, 0.0, 180.0, (0, 30, 60, 90, 120, 150, 180), "°", _BAR, _DIHEDRAL_DEG
        ),
        Histogram(
            "Radius ratio (1 is regular, 0 is flat)", ratios, 0.0, 1.0, (0, 0.2, 0.4, 0.6, 0.8, 1), "", _BAR
        ),
    ]


def _mesh_facts(organ: OrganMesh, found: dict[str, Any]) -> list[tuple[str, str]]:
    mesh, thin = found["mesh"], "\u202f"
    rows = [
        ("Tetrahedra", f"{mesh['tets']:,}".replace(",", thin)),
        ("Vertices", f"{mesh['vertices']:,}".replace(",", thin)),
        ("Typical edge", "" if mesh["edge_mm"] is None else f"{mesh['edge_mm']:.1f} mm"),
        ("Separate pieces", str(organ.report.get("pieces", ""))),
        ("Pinched vertices", str(organ.report.get("pinched_vertices", ""))),
        ("Meshed in", f"{organ.report['seconds']:.1f} s" if "seconds" in organ.report else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _provenance(found: dict[str, Any]) -> list[tuple[str, str]]:
    source = found["source"] or {}
    rows = [
        ("Scan", " ".join(filter(None, [source.get("scan"), report._scan_line(found["scan"] or {})]))),
        ("Label map", source.get("labels") or source.get("segmentation") or ""),
        ("Case made", found["created"] or ""),
        ("Case SHA-256", found["sha256"]),
        ("Software", ", ".join(f"{name} {version}" for name, version in (found["software"] or {}).items())),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _outlines(case: Any, full: SliceModel, name: str) -> str:
    """Axial, coronal and sagittal slices through a structure as a data URL.

    Outlines of all labels are thin; bold is where the mesh (or, of what is carried, the shown surface) is cut.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    one = SliceModel(case.scan, case.labels.select([name]))
    full.index = one.index.copy()
    if name in case.organ.volumes_ml:
        points, triangles = case.organ.points, case.organ.surface_of(name)
    else:
        points, triangles = case.surfaces[name].points, case.surfaces[name].triangles
    pixels = [one.pixel_mm(plane) for plane in PLANES]
    extents = _same_scale([one.extent(plane, _MARGIN_MM) for plane in PLANES], pixels)
    widths = [(e[1] - e[0]) * p[0] for e, p in zip(extents, pixels, strict=True)]
    height = (extents[0][3] - extents[0][2]) * pixels[0][1]
    figure = Figure(figsize=(9.0, 9.0 * height / sum(widths) / 0.93), dpi=120)
    figure.patch.set_facecolor(theme.BACKGROUND)
    grid = figure.add_gridspec(
        1, 3, width_ratios=widths, left=0.004, right=0.996, top=0.93, bottom=0.004, wspace=0.012
    )
    for column, plane in enumerate(PLANES):
        axes = figure.add_subplot(grid[0, column], facecolor="black")
        _panel(axes, full, plane, extents[column], pixels[column], name)
        segments = one.cut_surface(plane, points, triangles)
        colour = theme.hex_colour(theme.colour_of(name))
        axes.add_collection(LineCollection(list(segments), colors=colour, linewidths=1.7))
    file = io.BytesIO()
    figure.savefig(file, facecolor=figure.get_facecolor(), format="png")
    return _jpeg(np.asarray(Image.open(file).convert("RGB")))


def _same_scale(
    extents: list[tuple[float, float, float, float]], pixels: list[tuple[float, float]]
) -> list[tuple[float, float, float, float]]:
    """Extents widened about their middles to one height in mm and no less than 0.6 of it in width."""
    height = max((e[3] - e[2]) * p[1] for e, p in zip(extents, pixels, strict=True))
    wide = []
    for (left, right, top, bottom), (across, down) in zip(extents, pixels, strict=True):
        half = max((right - left) * across, 0.6 * height) / across / 2
        x, y, tall = (left + right) / 2, (top + bottom) / 2, height / down / 2
        wide.append((x - half, x + half, y - tall, y + tall))
    return wide


def _panel(
    axes: Any,
    model: SliceModel,
    plane: str,
    extent: tuple[float, float, float, float],
    pixel_mm: tuple[float, float],
    name: str,
) -> None:
    left, right, top, bottom = extent
    axes.imshow(
        model.picture(plane),
        cmap="gray",
        vmin=0,
        vmax=255,
        aspect=pixel_mm[1] / pixel_mm[0],
        interpolation="bilinear",
    )
    for contour in model.outlines(plane):
        colour = theme.hex_colour(theme.colour_of(contour.structure))
        for line in contour.lines:
            axes.plot(
                line[:, 0], line[:, 1], color="#ffffff" if contour.structure == name else colour, lw=0.6
            )
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_axis_off()
    letters = model.letters(plane)
    style = {"color": theme.TEXT, "fontsize": 8, "transform": axes.transAxes, "ha": "center", "va": "center"}
    for letter, x, y in zip(letters, (0.03, 0.97, 0.5, 0.5), (0.5, 0.5, 0.96, 0.04), strict=True):
        axes.text(x, y, letter, **style)
    bar = 20.0 / pixel_mm[0]
    x, y = left + 0.05 * (right - left), bottom - 0.05 * (bottom - top)
    axes.plot([x, x + bar], [y, y], color=theme.TEXT, lw=1.6, solid_capstyle="butt")
    axes.text(
        x + bar / 2,
        y - 0.02 * (bottom - top),
        "20 mm",
        color=theme.TEXT,
        fontsize=7,
        ha="center",
        va="bottom",
    )
    axes.set_title(
        f"{plane.capitalize()}  {model.depth_mm(plane):.0f} mm",
        color=theme.MUTED,
        fontsize=8,
        loc="left",
        pad=3,
    )


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    """A picture as a JPEG data URL."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
