"""Vessel trees painted into label maps, with the trees they were painted from."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.vessels import VesselTree

CENTRE = np.array([10.0, -20.0, 30.0])


def empty_image(size=(90, 90, 90), spacing=(1.0, 1.0, 1.0), direction=None, centre=CENTRE):
    """An empty label image around a point of the patient."""
    image = sitk.Image(list(size), sitk.sitkUInt8)
    image.SetSpacing(spacing)
    if direction is not None:
        image.SetDirection(np.asarray(direction).ravel().tolist())
    half = (np.array(size) - 1) / 2 * np.array(spacing)
    image.SetOrigin((centre - np.array(image.GetDirection()).reshape(3, 3) @ half).tolist())
    return image


def positions(image):
    """LPS position of every voxel, shape (z, y, x, 3)."""
    z, y, x = np.indices(image.GetSize()[::-1])
    index = np.stack([x, y, z], axis=-1) * np.array(image.GetSpacing())
    return np.array(image.GetOrigin()) + index @ np.array(image.GetDirection()).reshape(3, 3).T


def filled(image, mask):
    """A label image with ones where the mask is."""
    out = sitk.GetImageFromArray(mask.astype(np.uint8))
    out.CopyInformation(image)
    return out


def painted(tree: VesselTree, image):
    """Mask of the capsules around a tree's pieces."""
    at = positions(image)
    mask = np.zeros(at.shape[:3], dtype=bool)
    for a, b, r in zip(*tree.segments, strict=True):
        way = b - a
        t = np.clip((at - a) @ way / (way @ way), 0.0, 1.0)
        mask |= ((at - a - t[..., None] * way) ** 2).sum(axis=-1) <= r**2
    return mask


@pytest.fixture(scope="session")
def fork() -> VesselTree:
    """A trunk of radius 3 that divides into two branches that keep Murray's law."""
    arm = 3.0 / 2 ** (1 / 3)
    steps = np.linspace(0.0, 1.0, 9)[1:, None]
    trunk = CENTRE + np.array([0.0, 0.0, -35.0]) * (1 - steps)
    points = [CENTRE + np.array([0.0, 0.0, -35.0]), *trunk]
    parent, radius = [-1, *range(8)], [3.0] * 9
    for side in (-1.0, 1.0):
        end = CENTRE + np.array([side * 25.0, 0.0, 25.0])
        for number, t in enumerate(steps):
            parent.append(8 if number == 0 else len(points) - 1)
            points.append(CENTRE * (1 - t) + end * t)
            radius.append(arm)
    return VesselTree(np.array(points), np.array(radius), np.array(parent, dtype=np.int64))
