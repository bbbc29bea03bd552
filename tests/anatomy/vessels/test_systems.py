from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.vessels import tell_apart
from tests.anatomy.vessels.conftest import CENTRE, empty_image, positions


def two_systems(image):
    """A vessel from below and one from above that touch where their tips pass, and the great vessels they join."""
    at = positions(image) - CENTRE
    lower = (np.hypot(at[..., 0] + 2.0, at[..., 1]) < 3.0) & (np.abs(at[..., 2] + 15.0) < 15.0)
    upper = (np.hypot(at[..., 0] - 3.5, at[..., 1]) < 3.0) & (np.abs(at[..., 2] - 13.5) < 16.5)
    upper &= ~lower
    labels = np.zeros(at.shape[:3], dtype=np.uint8)
    labels[lower | upper] = 1
    labels[(np.abs(at[..., 2] + 36.0) < 5.5) & (np.hypot(at[..., 0], at[..., 1]) < 8.0)] = 2
    labels[(np.abs(at[..., 2] - 36.0) < 5.5) & (np.hypot(at[..., 0], at[..., 1]) < 8.0)] = 3
    out = sitk.GetImageFromArray(labels)
    out.CopyInformation(image)
    names = {1: "liver_vessels", 2: "portal_vein_and_splenic_vein", 3: "inferior_vena_cava"}
    return LabelMap(out, names), lower, upper


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 0.9, 2.0)])
def test_systems_are_told_apart_by_the_great_vessel_they_join(spacing):
    image = empty_image((44, 44, int(90 / spacing[2])), spacing)
    labels, lower, upper = two_systems(image)
    found = tell_apart(labels)
    assert sorted(found.labels.structures) == ["hepatic_vein", "portal_vein"]
    portal, hepatic = found.labels.mask("portal_vein"), found.labels.mask("hepatic_vein")
    assert np.array_equal(portal | hepatic, lower | upper)
    assert (portal & lower).sum() / lower.sum() > 0.95
    assert (hepatic & upper).sum() / upper.sum() > 0.95
    assert found.confidence > 0.6


def test_one_great_vessel_is_not_enough():
    labels, _, _ = two_systems(empty_image((44, 44, 90)))
    with pytest.raises(AnatomyError, match="seen to join portal_vein: to tell systems apart"):
        tell_apart(labels.select(["liver_vessels", "portal_vein_and_splenic_vein"]))
    with pytest.raises(AnatomyError, match="has no 'liver_vessels'"):
        tell_apart(labels.select(["inferior_vena_cava"]))
