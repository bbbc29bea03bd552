from __future__ import annotations

import json

import numpy as np
import SimpleITK as sitk

from anatomy.labels import LabelMap
from anatomy.vessels import liver_vessels
from tests.anatomy.vessels.conftest import empty_image, filled, painted, positions
from tests.anatomy.vessels.test_couinaud import hepatic, portal


def labelled(common: bool) -> LabelMap:
    """The made liver with its vessels painted, as two trees or as one common label, and the great vessels."""
    image = empty_image((110, 75, 70), (2.0, 2.0, 2.0), centre=np.array([-5.0, -50.0, -45.0]))
    at = positions(image)
    shape = (at[..., 0] / 105.0) ** 2 + (at[..., 1] / 115.0) ** 2 + ((at[..., 2] + 45.0) / 50.0) ** 2 < 1.0
    labels = (shape & (at[..., 1] < 5.0)).astype(np.uint8)
    labels[painted(portal()[0], image)] = 2
    labels[painted(hepatic(), image)] = 2 if common else 3
    labels[np.hypot(at[..., 0], at[..., 1]) < 11.0] = 4
    labels[(np.linalg.norm(at - [-5.0, -25.0, -82.0], axis=-1) < 9.0)] = 5
    names = {1: "liver", 2: "liver_vessels" if common else "portal_vein", 4: "inferior_vena_cava"}
    names |= {5: "portal_vein_and_splenic_vein"} | ({} if common else {3: "hepatic_vein"})
    out = sitk.GetImageFromArray(labels)
    out.CopyInformation(image)
    return LabelMap(out, names)


def test_trees_begin_at_the_great_vessels_and_segments_follow():
    found = liver_vessels(labelled(common=False))
    assert found.warnings == []
    portal_root = found.trees["portal_vein"].points[found.trees["portal_vein"].roots[0]]
    assert np.linalg.norm(portal_root - [-5.0, -25.0, -73.0]) < 8.0
    for root in found.trees["hepatic_vein"].roots:
        assert np.hypot(*found.trees["hepatic_vein"].points[root][:2]) < 20.0
    assert len(found.couinaud.labels.structures) == 8
    facts = json.loads(json.dumps(found.describe()))
    assert facts["trees"]["portal_vein"]["strahler"] == 4
    assert len(found.trees["portal_vein"].leaves) == 8
    assert abs(facts["trees"]["hepatic_vein"]["calibre_mm"] - 8.0) < 1.5


def test_a_common_label_is_divided_first():
    apart, together = liver_vessels(labelled(common=False)), liver_vessels(labelled(common=True))
    assert sorted(together.trees) == ["hepatic_vein", "portal_vein"]
    for name, tree in together.trees.items():
        assert abs(tree.volume_ml / apart.trees[name].volume_ml - 1) < 0.1
    same = apart.couinaud.labels.array == together.couinaud.labels.array
    assert same[apart.couinaud.labels.array > 0].mean() > 0.9


def test_without_great_vessels_a_common_label_stays_together():
    labels = labelled(common=True).select(["liver", "liver_vessels"])
    found = liver_vessels(labels)
    assert found.trees == {}
    assert found.couinaud is None
    assert "to tell systems apart" in found.warnings[0]


def test_a_liver_without_vessels_has_no_trees():
    image = empty_image((30, 30, 30))
    labels = LabelMap(filled(image, np.ones((30, 30, 30), dtype=bool)), {1: "liver"})
    found = liver_vessels(labels)
    assert found.trees == {}
    assert found.warnings == []
