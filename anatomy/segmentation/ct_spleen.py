"""The spleen in a CT, with or without contrast.

Protocol. The spleen lies far to the left under the diaphragm, against the ribs and behind the stomach; it is the
thickest even tissue there, 219 (SD 76) ml (Henderson et al. 1981, Radiology 141:525). The mode of the values in that
place, weighted by depth below the tissue's own surface and steep edges, is the spleen's; the deep places of that
value are its core, and the region of the core's range around it is the spleen (see `growing`). Kidney, liver, chest
wall, lung, bone and fat are competitors and stay outside. Where nothing of a spleen's size is found there, the
answer is empty: it may have been removed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.segmentation.ct_body import Body
from anatomy.segmentation.growing import Values, grown, values_in, without_necks
from anatomy.segmentation.morphology import Mask, distance, largest, opened

Volume = NDArray[np.float32]

# Where spleens lie beside the centre of the vertebral column and in front of it, mm: middle and spread.
_ASIDE_MM, _ASIDE_SPREAD_MM = 105.0, 25.0
_FRONT_MM, _FRONT_SPREAD_MM = 22.0, 35.0
_LEAST_ASIDE_MM = 45.0
# Wide of what spleens show, with and without contrast.
_LOWEST_HU, _HIGHEST_HU = 20.0, 220.0
_FAT_HU = -20.0
_CORE_MM, _NECK_MM, _TONGUE_MM = 6.0, 6.0, 14.0
# Squared distance from the expected place, in spreads, from which a voxel costs more, and how much more.
_ODD_PLACE, _ODD_COST = 5.0, 0.6
_REACH_MM, _FADE_MM = 55.0, 10.0
_LEAST_ML, _MOST_ML = 40.0, 2500.0
_STEEP_HU_PER_MM = 12.0


@dataclass(frozen=True, eq=False)
class Spleen:
    """The spleen on the working grid.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x), bool
        The organ.
    values : Values
        Its range.
    """

    mask: Mask
    values: Values


def find_spleen(body: Body, others: Mask) -> Spleen | None:
    """Find the spleen; None where there is none.

    Parameters
    ----------
    body : Body
        The scan on the working grid.
    others : ndarray, shape (z, y, x), bool
        Organs already found, which the spleen cannot be: kidneys, liver.
    """
    edge = body.edge_mm
    wall = body.chest_wall
    never = ~body.trunk | body.lungs | body.bone | wall | others | (body.even < _FAT_HU)
    prior, allowed = _where_expected(body)
    never |= ~allowed
    core = _core(body, never, prior)
    if core is None:
        return None
    values = values_in(body.even, core)
    away = distance(core, edge)
    odd = -2.0 * np.log(np.maximum(prior, 1e-6))
    place = np.maximum((away - _REACH_MM) / _FADE_MM, 0.0) + _ODD_COST * np.maximum(odd - _ODD_PLACE, 0.0)
    mask = grown(body.even, never, core, place.astype(np.float32), values, edge)
    mask = without_necks(opened(mask, edge, edge), core, _NECK_MM, edge, _TONGUE_MM)
    mask = np.stack([ndimage.binary_fill_holes(plane) for plane in mask]) & ~others & ~body.lungs
    if not _LEAST_ML <= mask.sum() * edge**3 / 1e3 <= _MOST_ML:
        return None
    return Spleen(mask, values)


def _where_expected(body: Body) -> tuple[Volume, Mask]:
    """How likely a spleen is at each place by its distance from the spine (1 at best), and where it may be at all."""
    _, y, x = np.ogrid[: body.trunk.shape[0], : body.trunk.shape[1], : body.trunk.shape[2]]
    edge = body.edge_mm
    aside = (x - body.spine[:, 0][:, None, None]) * edge
    front = (body.spine[:, 1][:, None, None] - y) * edge
    away = ((aside - _ASIDE_MM) / _ASIDE_SPREAD_MM) ** 2 + ((front - _FRONT_MM) / _FRONT_SPREAD_MM) ** 2
    return np.asarray(np.exp(-0.5 * away), dtype=np.float32), np.asarray(aside > _LEAST_ASIDE_MM - 0 * y)


def _core(body: Body, never: Mask, prior: Volume) -> Mask | None:
    """Deep even tissue of the commonest value where a spleen lies."""
    edge = body.edge_mm
    gradient = sitk.GradientMagnitudeRecursiveGaussian(
        sitk.GetImageFromArray(np.clip(body.hu, -150, 250)), 2.0 / edge
    )
    steep = sitk.GetArrayFromImage(gradient) > _STEEP_HU_PER_MM * edge
    tissue = ~never & (body.even > _LOWEST_HU) & (body.even < _HIGHEST_HU)
    depth = np.minimum(distance(~tissue | steep, edge), 20.0)
    deep = tissue & (depth >= _CORE_MM)
    weight = np.where(deep, depth**2 * prior, 0.0)
    if weight.sum() == 0:
        return None
    edges = np.arange(_LOWEST_HU, _HIGHEST_HU + 1.0, 2.0)
    counts = ndimage.gaussian_filter1d(np.histogram(body.even, bins=edges, weights=weight)[0], 2.0)
    value = float(edges[int(counts.argmax())] + 1.0)
    alike = deep & (np.abs(body.even - value) < 15.0) & (prior > 0.1)
    core = largest(alike)
    parts, count = ndimage.label(alike)
    if count == 0:
        return None
    weights = np.bincount(parts.ravel(), weights=weight.ravel(), minlength=count + 1)
    weights[0] = 0
    core = parts == int(weights.argmax())
    return core if core.sum() * edge**3 / 1e3 > 3.0 else None
