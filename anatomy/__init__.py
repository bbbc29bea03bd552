"""Image in, labelled organ mesh out.

A medical image is read into a checked `Scan` (LPS frame, millimetres), labelled into a `LabelMap`, and meshed
as one conforming multi-tissue tetrahedral `OrganMesh`. Names are imported when first used, so that reading a
mesh does not load the image libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anatomy.agreement as agreement
    from anatomy.errors import AnatomyError
    from anatomy.labels import LabelMap
    from anatomy.mesh import OrganMesh
    from anatomy.meshing import mesh_labels
    from anatomy.scan import Scan
    from anatomy.segmentation import segment

__all__ = ["AnatomyError", "LabelMap", "OrganMesh", "Scan", "agreement", "mesh_labels", "segment"]

_HOME = {
    "AnatomyError": "anatomy.errors",
    "LabelMap": "anatomy.labels",
    "OrganMesh": "anatomy.mesh",
    "Scan": "anatomy.scan",
    "mesh_labels": "anatomy.meshing",
    "segment": "anatomy.segmentation",
}


def __getattr__(name: str) -> Any:
    if name == "agreement":
        return importlib.import_module("anatomy.agreement")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'anatomy' has no attribute {name!r}")
