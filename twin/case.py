"""Case: one patient's organ as a folder on disk.

A case holds the scan, its label map, the mechanical mesh and the surfaces to show, and a `case.json` that says
where they come from, how they were made, and the SHA-256 of every file. It carries no identity: the scan's
header gives only technical facts. A case is written whole or not at all, and is not changed afterwards;
rehearsals lie beside it.

=================  ==========================================================
`case.json`        title, provenance, structures with volumes, stages, checksums
`scan.nrrd`        the scan (Hounsfield units for CT), LPS millimetres
`labels.nrrd`      the label map on the scan's grid, names in the header
`labels_original.nrrd`  the same before a person corrected it, where one did
`organ.vtu`        the conforming multi-tissue tetrahedral mesh
`surfaces/*.vtp`   one smooth surface a structure, for showing
`vessels/*.vtp`    one centreline tree a vessel system inside the organ
`segments.nrrd`    Couinaud segments, where the vessels show them
=================  ==========================================================
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.mesh import OrganMesh
from anatomy.scan import Scan
from anatomy.surfaces import Surface
from anatomy.vessels import LiverVessels, VesselTree
from twin.errors import TwinError
from twin.folder import folder_or_nothing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMAT = "organtwin-case"
VERSION = 1
#: File of the label map as it was before a person corrected it.
ORIGINAL = "labels_original.nrrd"


class Case:
    """A patient's organ, read from its folder when first asked for.

    Use `Case.create` or `Case.open`. Parts are loaded lazily, so that opening a case costs nothing.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.facts = dict(facts)

    # --- making and opening ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        scan: Scan,
        labels: LabelMap,
        organ: OrganMesh,
        surfaces: Mapping[str, Surface],
        vessels: LiverVessels | None = None,
        title: str = "",
        facts: Mapping[str, Any] | None = None,
        original: LabelMap | None = None,
        keep: Iterable[Path] = (),
        replace: bool = False,
    ) -> Case:
        """Write a case folder whole, or not at all.

        Parameters
        ----------
        path : str or Path
            The folder to make.
        scan, labels : Scan, LabelMap
            The image and its label map on the same grid, LPS millimetres.
        organ : OrganMesh
            The mechanical mesh, millimetres.
        surfaces : mapping of str to Surface
            Surface to show of each structure, millimetres.
        vessels : LiverVessels, optional
            Trees of the vessels inside the organ, and the segments that follow from them.
        title : str
            What a person calls the case; the folder's name if empty.
        facts : mapping, optional
            JSON-ready extras to keep: stages in seconds, segmentation confidence, warnings, source.
        original : LabelMap, optional
            The label map before a person corrected it; the corrections are in `facts`.
        keep : iterable of Path
            Files of the folder that is replaced, which are no part of the case, to be carried over.
        replace : bool
            Whether a case of that name may be replaced.

        Raises
        ------
        TwinError
            If something else stands at `path`, or the folder cannot be written.
        AnatomyError
            If label map and scan lie on different grids.
        """
        path = Path(path)
        check_free(path, replace=replace)
        labels.check_grid(scan)
        with folder_or_nothing(path) as folder:
            _write_parts(folder, scan, labels, organ, surfaces, original)
            _write_vessels(vessels, folder)
            content = {
                "format": FORMAT,
                "version": VERSION,
                "title": title or path.name,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "software": software(),
                "scan": _scan_facts(scan),
                "structures": _structure_facts(labels, organ, surfaces),
                "vessels": vessels.describe() if vessels and vessels.trees else None,
                "mesh": {"tets": len(organ.tets), "points": len(organ.points), "report": dict(organ.report)},
                **(facts or {}),
            }
            _write_facts(folder, content)
            _carry_over(keep, path, folder)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Case:
        """Open a case folder.

        Raises
        ------
        TwinError
            If the folder is not a case, is from a newer version, or a file of it is missing.
        """
        path = Path(path)
        manifest = path / "case.json"
        if not manifest.is_file():
            raise TwinError(
                f"{path} is not a case: it has no case.json. Make one with `organtwin build SCAN -o {path}`."
            )
        try:
            facts = json.loads(manifest.read_text(encoding="utf-8"))
            right = facts.get("format") == FORMAT and isinstance(facts.get("version"), int)
        except (ValueError, AttributeError, OSError) as error:
            raise TwinError(f"{manifest} cannot be read ({error}); build the case anew.") from error
        if not right:
            raise TwinError(f"{manifest} does not describe an organtwin case; build the case anew.")
        if facts["version"] > VERSION:
            raise TwinError(
                f"{path} was written by a newer organtwin (case version {facts['version']}, this one reads "
                f"{VERSION}); update organtwin."
            )
        missing = [name for name in facts.get("files", {}) if not (path / name).is_file()]
        if missing:
            raise TwinError(f"{path} has lost {', '.join(missing)}; build the case anew.")
        return cls(path, facts)

    def check_files(self) -> None:
        """Compare every file with its SHA-256 in `case.json`.

        Raises
        ------
        TwinError
            Naming the files that changed since the case was made.
        """
        changed = [name for name, sha in self.facts["files"].items() if _sha256(self.path / name) != sha]
        if changed:
            raise TwinError(
                f"{self.path}: {', '.join(changed)} changed since the case was made; build it anew."
            )

    # --- its parts --------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What a person calls the case."""
        return str(self.facts["title"])

    @cached_property
    def scan(self) -> Scan:
        """The scan, LPS millimetres."""
        return Scan.read(self.path / "scan.nrrd")

    @cached_property
    def labels(self) -> LabelMap:
        """The label map on the scan's grid."""
        return LabelMap.read(self.path / "labels.nrrd")

    @cached_property
    def original_labels(self) -> LabelMap:
        """The label map before a person corrected it; `labels` where nobody did."""
        corrected = ORIGINAL in self.facts["files"]
        return LabelMap.read(self.path / ORIGINAL) if corrected else self.labels

    @cached_property
    def organ(self) -> OrganMesh:
        """The mechanical mesh, millimetres."""
        try:
            return OrganMesh.read(self.path / "organ.vtu")
        except AnatomyError as error:
            raise TwinError(f"The case {self.path} is damaged: {error}") from error

    @cached_property
    def surfaces(self) -> dict[str, Surface]:
        """Surface to show of each structure, millimetres."""
        return {name: Surface.read(self.path / "surfaces" / f"{name}.vtp") for name in self.structure_names}

    @cached_property
    def vessels(self) -> dict[str, VesselTree]:
        """Centreline tree of each vessel system inside the organ, LPS millimetres; empty where none was labelled."""
        trees = (self.facts.get("vessels") or {}).get("trees", {})
        return {name: VesselTree.read(self.path / "vessels" / f"{name}.vtp") for name in trees}

    @cached_property
    def segments(self) -> LabelMap | None:
        """Couinaud segments, on the part of the scan's grid round the liver; None where the vessels show none."""
        file = self.path / "segments.nrrd"
        return LabelMap.read(file) if file.is_file() else None

    @property
    def structure_names(self) -> list[str]:
        """Names of the structures in the case, in the order they were asked for."""
        return [entry["name"] for entry in self.facts["structures"]]

    @property
    def sha256(self) -> str:
        """Identity of the case's content: SHA-256 over the checksums of its files."""
        return hashlib.sha256(json.dumps(self.facts["files"], sort_keys=True).encode()).hexdigest()


def check_free(path: Path, *, replace: bool) -> None:
    """Refuse early, before any work, when `path` cannot become a case folder.

    Raises
    ------
    TwinError
        If a file or a foreign folder stands there, or a case that may not be replaced.
    """
    if not path.exists():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    if not (path / "case.json").is_file():
        raise TwinError(f"{path} exists and is not a case; choose another name with -o.")
    if not replace:
        raise TwinError(
            f"{path} is a case already; choose another name with -o, or --replace to make it anew."
        )


def software() -> dict[str, str]:
    """Versions that a result depends on, by package name."""
    packages = (
        "organtwin",
        "SimpleITK",
        "vtk",
        "numpy",
        "dolfinx-solver-real",
        "fenics-dolfinx",
        "fenics-ufl",
    )
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _write_parts(
    folder: Path,
    scan: Scan,
    labels: LabelMap,
    organ: OrganMesh,
    surfaces: Mapping[str, Surface],
    original: LabelMap | None,
) -> None:
    scan.write(folder / "scan.nrrd")
    labels.write(folder / "labels.nrrd")
    if original is not None:
        original.write(folder / ORIGINAL)
    organ.write(folder / "organ.vtu")
    (folder / "surfaces").mkdir()
    for name, surface in surfaces.items():
        surface.write(folder / "surfaces" / f"{name}.vtp")


def _write_facts(folder: Path, content: Mapping[str, Any]) -> None:
    """Write case.json, with the digest of every file that stands in the folder by now."""
    files = {str(file.relative_to(folder)): _sha256(file) for file in _files(folder)}
    text = json.dumps({**content, "files": files}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "case.json").write_text(text, encoding="utf-8")


def _carry_over(keep: Iterable[Path], old: Path, new: Path) -> None:
    """Copy files from a case folder to their places in the one that replaces it."""
    for file in keep:
        target = new / file.relative_to(old)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)


def _write_vessels(vessels: LiverVessels | None, folder: Path) -> None:
    if vessels is None or not vessels.trees:
        return
    (folder / "vessels").mkdir()
    for name, tree in vessels.trees.items():
        tree.write(folder / "vessels" / f"{name}.vtp")
    if vessels.couinaud is not None:
        vessels.couinaud.labels.write(folder / "segments.nrrd")


def _scan_facts(scan: Scan) -> dict[str, Any]:
    return {
        "modality": scan.modality,
        "size": [int(n) for n in scan.image.GetSize()],
        "spacing_mm": [float(s) for s in scan.image.GetSpacing()],
        "origin_mm": [float(x) for x in scan.image.GetOrigin()],
        "direction": [float(x) for x in scan.image.GetDirection()],
    }


def _structure_facts(
    labels: LabelMap, organ: OrganMesh, surfaces: Mapping[str, Surface]
) -> list[dict[str, Any]]:
    """Per structure that is shown: its volume by voxels, and what of it is meshed."""
    voxels, meshed = labels.volumes_ml, organ.volumes_ml
    tets = {name: int((organ.region == value).sum()) for value, name in organ.structures.items()}
    return [
        {
            "name": name,
            "volume_ml": voxels[name],
            "mesh_volume_ml": meshed.get(name),
            "tets": tets.get(name, 0),
        }
        for name in surfaces
    ]


def _files(folder: Path) -> Iterator[Path]:
    return iter(sorted(file for file in folder.rglob("*") if file.is_file()))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
