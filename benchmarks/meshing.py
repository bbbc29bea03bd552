"""The mesher on real label maps, beside fTetWild in the same run.

Three label maps of one CT (TotalSegmentator's reference files, in ../shared/scans): a liver with the vessels that
run along it, six abdominal organs, and a kidney in which a ball stands for a tumour. Ours meshes each with a budget
of 100,000 tetrahedra, twice, and the two must agree to the last bit. fTetWild (Hu et al. 2020, ACM TOG 39:117; through
pytetwild) knows no regions, so it gets the smooth outer surface of each label and meshes them one by one, with as long
an edge as ours. Distances are from the vertices and facet centroids of a label's surface in the mesh to the smooth
surface of its voxels, which is fTetWild's own input.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import LabelMap, OrganMesh, mesh_labels
from anatomy.embedding import distance_to_surface
from anatomy.files import whole_or_nothing
from anatomy.lattice.quality import dihedral_angles
from anatomy.lattice.topology import volumes_of
from anatomy.manifold import pinched_edges, pinched_vertices
from anatomy.mesh import unpaired_facets
from anatomy.progress import Progress
from anatomy.surfaces import Surface, show_surface
from benchmarks import Row
from benchmarks.real_labels import real_labels
from viewer.errors import ViewerError

BUDGET = 100_000
_PEER = "fTetWild"
# The ball that stands for a tumour: its radius, and how far its centre lies from the kidney's, mm.
_BALL_MM, _ASIDE_MM = 12.0, (10.0, 6.0, 0.0)


@dataclass(frozen=True)
class Outcome:
    """What a mesher made of one label."""

    structure: str
    tets: int
    volume_error_percent: float
    distance_mean_mm: float
    distance_95_mm: float
    dihedral_deg: tuple[float, float]
    closed: bool


def run(progress: Progress) -> list[Row]:
    """Mesh the three label maps with both."""
    rows: list[Row] = []
    maps = label_maps()
    mesh_labels(maps["kidney and ball"], budget_tets=2_000)  # compiles the kernels
    for done, (name, labels) in enumerate(maps.items()):
        progress(f"Meshing: {name}", done / len(maps))
        rows += _compared(name, labels)
    progress("Meshing", 1.0)
    return rows


def label_maps() -> dict[str, LabelMap]:
    """The three label maps by name.

    Raises
    ------
    ViewerError
        If the real scans are not there.
    """
    everything = real_labels("meshing")
    return {
        "liver and vessels": everything.select(
            ["liver", "portal_vein_and_splenic_vein", "inferior_vena_cava"]
        ),
        "six organs": everything.select(
            ["liver", "spleen", "kidney_right", "kidney_left", "gallbladder", "stomach"]
        ),
        "kidney and ball": _with_ball(everything.select(["kidney_right"])),
    }


def _with_ball(kidney: LabelMap) -> LabelMap:
    """A kidney in which the voxels of a ball count as a tumour."""
    voxels = (sitk.GetArrayFromImage(kidney.image) > 0).astype(np.uint8)
    spacing = np.array(kidney.image.GetSpacing())[::-1]
    index = np.argwhere(voxels)
    centre = (index * spacing).mean(axis=0) + np.array(_ASIDE_MM)[::-1]
    inside = index[np.linalg.norm(index * spacing - centre, axis=1) < _BALL_MM]
    voxels[tuple(inside.T)] = 2
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(kidney.image)
    return LabelMap(image, {1: "kidney_right", 2: "kidney_tumour"})


def _compared(name: str, labels: LabelMap) -> list[Row]:
    surfaces = {
        structure: show_surface(labels, structure, smoothing=0.5) for structure in labels.names.values()
    }
    began = time.perf_counter()
    organ = mesh_labels(labels, budget_tets=BUDGET)
    seconds = time.perf_counter() - began
    edge_mm, held = float(str(organ.report["edge_mm"])), float(str(organ.report["held_vertices"]))
    again = mesh_labels(labels, budget_tets=BUDGET)
    same = all(
        getattr(organ, part).tobytes() == getattr(again, part).tobytes()
        for part in ("points", "tets", "region")
    )
    ours = [_ours(organ, labels, structure, surfaces[structure]) for structure in surfaces]
    theirs, peer_seconds = [], 0.0
    for structure, surface in surfaces.items():
        began = time.perf_counter()
        points, tets = _ftetwild(surface, edge_mm)
        took = time.perf_counter() - began
        peer_seconds += took
        theirs.append(_outcome(structure, points, tets, labels.volumes_ml[structure], surface))
    rows = [
        Row("meshing", f"{name}: time", seconds, "s", _PEER, seconds / peer_seconds),
        Row("meshing", f"{name}: time of {_PEER}", peer_seconds, "s"),
        Row("meshing", f"{name}: tetrahedra", len(organ.tets), "1"),
        Row("meshing", f"{name}: two runs agree to the last bit", float(same), "1"),
        Row("meshing", f"{name}: vertices held to the lattice", held, "1"),
    ]
    for who, outcomes in (("", ours), (f" of {_PEER}", theirs)):
        for found in outcomes:
            rows += _rows(f"{name}, {found.structure}", who, found)
    return rows


def _rows(what: str, who: str, found: Outcome) -> list[Row]:
    quantities = (
        ("tetrahedra", float(found.tets), "1"),
        ("volume error", found.volume_error_percent, "%"),
        ("mean distance", found.distance_mean_mm, "mm"),
        ("95 % distance", found.distance_95_mm, "mm"),
        ("least dihedral angle", found.dihedral_deg[0], "°"),
        ("largest dihedral angle", found.dihedral_deg[1], "°"),
        ("surface closed and manifold", float(found.closed), "1"),
    )
    return [Row("meshing", f"{what}: {quantity}{who}", value, unit) for quantity, value, unit in quantities]


def _ours(organ: OrganMesh, labels: LabelMap, structure: str, surface: Surface) -> Outcome:
    tets = organ.tets[organ.tets_of(structure)]
    return _outcome(structure, organ.points, tets, labels.volumes_ml[structure], surface)


def _ftetwild(surface: Surface, edge_mm: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mesh one closed surface with fTetWild at an edge, its other settings as it comes."""
    try:
        import pytetwild
    except ImportError:
        raise ViewerError(
            "The benchmark 'meshing' needs pytetwild; install the dependency group peers."
        ) from None
    # It leaves a file of its own in the working folder.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        points, tets = pytetwild.tetrahedralize(
            surface.points, surface.triangles.astype(np.int32), edge_length_abs=edge_mm, quiet=True
        )
    return np.asarray(points, dtype=np.float64), _positive(
        np.asarray(points), np.asarray(tets, dtype=np.int64)
    )


def _positive(points: NDArray[np.float64], tets: NDArray[np.int64]) -> NDArray[np.int64]:
    inverted = volumes_of(points, tets) < 0
    tets[inverted] = tets[inverted][:, [1, 0, 2, 3]]
    return tets


def _outcome(
    structure: str, points: NDArray[np.float64], tets: NDArray[np.int64], volume_ml: float, surface: Surface
) -> Outcome:
    facets, _ = unpaired_facets(tets)
    at = np.concatenate([points[np.unique(facets)], points[facets].mean(axis=1)])
    distance = distance_to_surface(at, surface.points, surface.triangles)
    angles = dihedral_angles(points, tets)
    return Outcome(
        structure,
        len(tets),
        100.0 * (float(volumes_of(points, tets).sum()) / 1000.0 / volume_ml - 1.0),
        float(distance.mean()),
        float(np.percentile(distance, 95)),
        (float(angles[:, 0].min()), float(angles[:, 1].max())),
        not len(pinched_edges(facets)) and not len(pinched_vertices(facets)),
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of `run` as a Markdown table: one line a structure and mesher."""
    value = {row["quantity"]: row["value"] for row in rows}
    lines = [
        "| label map | structure | mesher | time, s | tetrahedra | dihedral angles | volume error "
        "| distance, mean | 95 % | closed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key in value:
        what, _, quantity = key.partition(": ")
        if not quantity.startswith("volume error"):
            continue
        name, _, structure = what.partition(", ")
        who = quantity.removeprefix("volume error")
        of = lambda words, what=what, who=who: value[f"{what}: {words}{who}"]  # noqa: E731 - a look-up
        seconds = value[f"{name}: time{who}"]
        lines.append(
            f"| {name} | {structure.replace('_', ' ')} | {_PEER if who else 'organtwin'} | {seconds:.1f} (all) "
            f"| {of('tetrahedra'):.0f} | {of('least dihedral angle'):.1f}–{of('largest dihedral angle'):.1f}° "
            f"| {of('volume error'):+.2f} % | {of('mean distance'):.2f} mm | {of('95 % distance'):.2f} mm "
            f"| {'yes' if of('surface closed and manifold') else 'no'} |"
        )
    for name in dict.fromkeys(key.partition(": ")[0] for key in value if key.endswith(": time")):
        same = "agree" if value[f"{name}: two runs agree to the last bit"] else "do not agree"
        count = int(value[f"{name}: tetrahedra"])
        lines.append(
            f"\n{name.capitalize()}: {count:,} tetrahedra in one mesh; two runs {same} to the last bit."
        )
    return "\n".join(lines)


def main() -> None:
    """Write the measured section of docs/meshing.md from the JSON file named on the command line."""
    import json
    import sys

    page = Path(__file__).resolve().parents[1] / "docs" / "meshing.md"
    before, rest = page.read_text(encoding="utf-8").split("<!-- begin measured -->\n", 1)
    after = rest.split("<!-- end measured -->", 1)[1]
    text = table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    with whole_or_nothing(page) as partial:
        partial.write_text(
            f"{before}<!-- begin measured -->\n{text}\n<!-- end measured -->{after}", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
