"""Bone in a CT, cortex and marrow together.

Dense parts with a cortex are bone (see `ct_body`). The marrow of a young spine is denser than soft tissue, that of
an old hip is fat: so marrow is what a cortex encloses, found by closing the cortex's gaps and filling what is then
shut in, in slices of all three directions. The spinal canal is shut in too; it is left out by its place right behind
the vertebral body and its softness.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.morphology import Mask, closed, grow, opened

# Marrow and disc against the canal's contents (20 to 40 HU).
_CANAL_HU, _CANAL_MM2, _CANAL_ASIDE_MM = 70.0, 900.0, 16.0
_GAP_MM = 6.0
# Half-way from soft tissue (50 HU) to a thin cortex as such voxels show it (about 200 HU).
_RIM, _RIM_HU = 1.5, 110.0
_MOST_MM2 = 3000.0


def find_whole_bone(body: Body, vessels: Mask) -> Mask:
    """Bone with its marrow on the working grid.

    Parameters
    ----------
    body : Body
        The scan on the working grid.
    vessels : ndarray, shape (z, y, x), bool
        Great vessels, which may be as dense as bone and touch it with a calcified wall.
    """
    edge = body.edge_mm
    bone = body.bone & ~vessels
    # Voxels that bone shares with soft tissue, and spongy bone that a thin cortex covers.
    bone |= grow(bone, _RIM * edge, edge) & (body.hu > _RIM_HU) & ~vessels
    shut = closed(bone, _GAP_MM, edge) & body.trunk & ~body.lungs
    canal = _canal(body, bone, shut)
    shut &= ~canal
    whole = shut.copy()
    for axis in range(3):
        planes, source = np.moveaxis(whole, axis, 0), np.moveaxis(shut, axis, 0)
        for z in range(len(planes)):
            planes[z] |= _small_holes_filled(source[z], edge)
    whole &= ~canal & ~body.lungs & body.trunk
    # Closing bridges soft tissue between neighbours (ribs and vertebrae, the joints): only dense voxels stay there.
    thick = opened(whole, _GAP_MM, edge)
    bridge = whole & ~bone & ~thick & (body.hu < _RIM_HU)
    return whole & ~bridge & ~vessels


def _small_holes_filled(plane: Mask, edge: float) -> Mask:
    holes, count = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
    if count == 0:
        return plane
    small = np.bincount(holes.ravel(), minlength=count + 1) * edge**2 < _MOST_MM2
    small[0] = False
    return plane | small[holes]


def _canal(body: Body, bone: Mask, shut: Mask) -> Mask:
    """The contents of the vertebral canal: soft holes in axial slices right behind the vertebral bodies."""
    edge = body.edge_mm
    canal = np.zeros_like(shut)
    soft = body.even < _CANAL_HU
    for z, plane in enumerate(shut):
        holes, count = ndimage.label(ndimage.binary_fill_holes(plane) & soft[z] & ~bone[z])
        if count == 0:
            continue
        numbers = np.arange(1, count + 1)
        area = np.bincount(holes.ravel(), minlength=count + 1)[1:] * edge**2
        centre = np.atleast_2d(ndimage.center_of_mass(holes > 0, holes, numbers))
        aside = np.abs(centre[:, 1] - body.spine[z, 0]) * edge
        behind = (centre[:, 0] - body.spine[z, 1]) * edge
        right_place = (aside < _CANAL_ASIDE_MM) & (behind > 4.0) & (behind < 45.0)
        canal[z] = np.isin(holes, numbers[right_place & (area > 60.0) & (area < _CANAL_MM2)])
    return canal
