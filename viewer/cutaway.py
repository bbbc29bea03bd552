"""A picture of a tetrahedral mesh cut open, whole tetrahedra kept, so that its inside can be judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyvista as pv
from numpy.typing import NDArray
from PIL import Image

from anatomy.files import whole_or_nothing
from anatomy.mesh import OrganMesh, unpaired_facets
from viewer import theme
from viewer.errors import ViewerError


def mesh_cutaway(
    organ: OrganMesh,
    path: str | Path | None = None,
    size: tuple[int, int] = (1400, 900),
    normal: tuple[float, float, float] = (0.0, -1.0, 0.25),
) -> NDArray[np.uint8]:
    """Draw a mesh with the half in front of its middle taken away.

    Parameters
    ----------
    organ : OrganMesh
        The mesh, LPS mm.
    path : str or Path, optional
        PNG or JPEG file to write, whole or not at all.
    size : tuple of int
        Width and height in pixels.
    normal : tuple of float
        Out of the cut towards the eye, LPS; from the patient's front and a little from above by default.

    Returns
    -------
    ndarray, shape (height, width, 3), uint8

    Raises
    ------
    ViewerError
        If this machine cannot draw off screen.
    """
    towards = np.array(normal) / np.linalg.norm(normal)
    centroid = organ.points[organ.tets].mean(axis=1)
    middle = np.average(centroid, axis=0, weights=organ.tet_volumes)
    kept = (centroid - middle) @ towards < 0
    facets, behind = unpaired_facets(organ.tets[kept])
    region = organ.region[kept][behind]
    try:
        plotter = pv.Plotter(off_screen=True, window_size=[2 * size[0], 2 * size[1]])
        plotter.set_background("white")
        for value in np.unique(region).tolist():
            mesh = pv.PolyData.from_regular_faces(organ.points, facets[region == value])  # type: ignore[arg-type]
            plotter.add_mesh(
                mesh,
                color=theme.colour_of(organ.structures[value]),
                show_edges=True,
                edge_color="#2b3640",
                line_width=1.2,
                ambient=0.35,
                diffuse=0.7,
                specular=0.0,
                smooth_shading=False,
            )
        plotter.view_vector(towards, viewup=(0.0, 0.0, 1.0))
        plotter.camera.zoom(1.35)
        large = np.asarray(plotter.screenshot(return_img=True), dtype=np.uint16)
        plotter.close()
    except (RuntimeError, ImportError) as error:
        raise ViewerError(
            f"This machine cannot draw off screen ({error}); install libegl1, libgl1 and libgl1-mesa-dri."
        ) from error
    smooth = ((large.reshape(size[1], 2, size[0], 2, 3).sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
    if path is not None:
        form = "JPEG" if Path(path).suffix.lower() in (".jpg", ".jpeg") else "PNG"
        with whole_or_nothing(Path(path), ViewerError) as partial:
            Image.fromarray(smooth).save(partial, format=form, quality=86)
    return smooth
