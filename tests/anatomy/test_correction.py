"""Corrections by a person: what each kind does, what none may do, and what three of them are worth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anatomy import AnatomyError, LabelMap, Scan, segment
from anatomy.agreement import dice
from anatomy.segmentation.correction import (
    Brush,
    Correction,
    Outlines,
    Seed,
    apply,
    correct,
    from_json,
    to_json,
)
from benchmarks.corrections import outlines_by_rule, outlines_through

SPACING = (2.0, 1.5, 2.5)
# An oblique grid, so that a mistake between voxels and millimetres shows.
ANGLE = 0.4
DIRECTION = (np.cos(ANGLE), -np.sin(ANGLE), 0.0, np.sin(ANGLE), np.cos(ANGLE), 0.0, 0.0, 0.0, 1.0)


def image_of(array: NDArray[np.generic]) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((-40.0, 12.0, 100.0))
    image.SetDirection(DIRECTION)
    return image


def at(image: sitk.Image, zyx: NDArray[np.generic]) -> tuple[float, float, float]:
    x, y, z = image.TransformContinuousIndexToPhysicalPoint([float(v) for v in np.asarray(zyx)[::-1]])
    return x, y, z


def balls() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """An organ, a neighbour that touches it, and a lesion within it; arrays (40, 48, 56)."""
    z, y, x = np.ogrid[:40, :48, :56]
    mm = [v * s for v, s in zip((z, y, x), SPACING[::-1], strict=True)]
    organ = (mm[0] - 50) ** 2 + (mm[1] - 36) ** 2 + (mm[2] - 40) ** 2 < 24**2
    other = (mm[0] - 50) ** 2 + (mm[1] - 36) ** 2 + (mm[2] - 82) ** 2 < 17**2
    lesion = (mm[0] - 50) ** 2 + (mm[1] - 30) ** 2 + (mm[2] - 34) ** 2 < 6**2
    return organ, other, lesion


@pytest.fixture
def made() -> tuple[Scan, LabelMap]:
    """A scan in which the organ is a little brighter than its neighbour, and its true labels."""
    organ, other, lesion = balls()
    rng = np.random.default_rng(3)
    values = rng.normal(0.0, 8.0, organ.shape)
    values += np.where(organ, 100.0, 0.0) + np.where(other, 70.0, 0.0)
    array = (organ * 1 + other * 2).astype(np.uint8)
    array[lesion] = 3
    labels = LabelMap(image_of(array), {1: "liver", 2: "stomach", 3: "liver_tumour"})
    return Scan(image_of(values.astype(np.int16))), labels


def relabelled(labels: LabelMap, change: NDArray[np.bool_], value: int) -> LabelMap:
    array = labels.array.copy()
    array[change] = value
    return LabelMap(image_of(array), labels.names, labels.confidence, labels.warnings)


def test_brush_adds_and_removes_exactly_the_balls_of_its_path(made: tuple[Scan, LabelMap]) -> None:
    scan, labels = made
    path = np.array([[20.0, 24.0, 20.0], [20.0, 30.0, 14.0]])
    stroke = Brush("liver", path_mm=[at(scan.image, p) for p in path], radius_mm=5.03, adds=False)
    done, change = apply(scan, labels, stroke)
    centres = np.stack(np.meshgrid(*map(np.arange, labels.array.shape), indexing="ij"), -1) * SPACING[::-1]
    a, b = path * SPACING[::-1]
    share = np.clip((centres - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    touched = np.linalg.norm(centres - a - share[..., None] * (b - a), axis=-1) <= 5.03
    assert np.array_equal(done.mask("liver"), labels.mask("liver") & ~touched)
    assert change.added_ml == 0.0
    assert change.removed_ml == pytest.approx(labels.volumes_ml["liver"] - done.volumes_ml["liver"])
    back = dataclasses.replace(stroke, adds=True)
    again, _ = apply(scan, done, back)
    assert np.array_equal(again.mask("liver"), labels.mask("liver") | (touched & (labels.array == 0)))


def test_a_correction_that_changes_nothing_says_so(made: tuple[Scan, LabelMap]) -> None:
    scan, labels = made
    corner = at(scan.image, np.array([1, 1, 1]))
    done = correct(scan, labels, [Seed("liver", points_mm=[corner], inside=False)])
    assert np.array_equal(done.array, labels.array)
    assert any("changed nothing" in said for said in done.warnings)


def test_other_structures_are_changed_only_on_request_and_then_it_is_said(
    made: tuple[Scan, LabelMap],
) -> None:
    scan, labels = made
    centre = at(scan.image, np.array([20, 24, 36]))
    done, change = apply(scan, labels, Brush("liver", path_mm=[centre], radius_mm=8.0))
    assert np.array_equal(done.mask("stomach"), labels.mask("stomach"))
    assert np.array_equal(done.mask("liver_tumour"), labels.mask("liver_tumour"))
    assert change.taken_ml == {}
    assert list(change.left_ml) == ["stomach"]
    assert any("into stomach, which kept them" in said for said in done.warnings)
    taking = Brush("liver", from_others=True, path_mm=[centre], radius_mm=8.0)
    done, change = apply(scan, labels, taking)
    lost = labels.volumes_ml["stomach"] - done.volumes_ml["stomach"]
    assert change.taken_ml == {"stomach": pytest.approx(lost, abs=0.01)}
    assert any("took" in said and "from stomach" in said for said in done.warnings)


def test_a_negative_seed_gives_back_what_leaked(made: tuple[Scan, LabelMap]) -> None:
    scan, truth = made
    _, other, _ = balls()
    leaked = relabelled(truth, other, 1)
    organ = truth.mask("liver")
    seed = Seed("liver", points_mm=[at(scan.image, np.array([20, 24, 41]))], inside=False, reach_mm=26.0)
    done, change = apply(scan, leaked, seed)
    assert dice(leaked.mask("liver"), organ) < 0.87
    assert dice(done.mask("liver"), organ) > 0.96
    assert change.added_ml == 0.0


def test_a_positive_seed_brings_back_what_is_missing(made: tuple[Scan, LabelMap]) -> None:
    scan, truth = made
    organ, other, _ = balls()
    z = np.arange(40)[:, None, None]
    cut = relabelled(truth, organ & (z > 20) & (truth.array == 1), 0)
    seed = Seed("liver", points_mm=[at(scan.image, np.array([25, 24, 20]))], reach_mm=26.0)
    done, change = apply(scan, cut, seed)
    assert dice(cut.mask("liver"), truth.mask("liver")) < 0.8
    assert dice(done.mask("liver"), truth.mask("liver")) > 0.95
    assert change.removed_ml == 0.0
    assert np.array_equal(done.mask("stomach"), other)


def test_a_seed_changes_nothing_beyond_its_reach(made: tuple[Scan, LabelMap]) -> None:
    scan, truth = made
    _, other, _ = balls()
    leaked = relabelled(truth, other, 1)
    place = np.array([20, 24, 41])
    seed = Seed("liver", points_mm=[at(scan.image, place)], inside=False, reach_mm=12.0)
    done, _ = apply(scan, leaked, seed)
    where = np.argwhere(done.array != leaked.array)
    assert len(where)
    assert np.linalg.norm((where - place) * SPACING[::-1], axis=1).max() <= 12.0


def test_drawn_slices_hold_exactly_and_the_slices_between_follow(made: tuple[Scan, LabelMap]) -> None:
    scan, truth = made
    organ, other, _ = balls()
    leaked = relabelled(truth, other, 1)
    place = np.array([20, 24, 41])
    done, _ = apply(scan, leaked, outlines_through(scan.image, organ, place, "liver"))
    whole = done.mask("liver") | done.mask("liver_tumour")
    for axis in range(3):
        assert np.array_equal(np.take(whole, place[axis], axis), np.take(organ, place[axis], axis))
    assert dice(whole, organ) > 0.96
    # A lesion within the organ need not be drawn to be kept, and nobody complains of it.
    assert np.array_equal(done.mask("liver_tumour"), truth.mask("liver_tumour"))
    assert done.warnings == []


def test_outlines_of_what_is_right_change_nothing(made: tuple[Scan, LabelMap]) -> None:
    scan, truth = made
    organ, _, _ = balls()
    done, change = apply(scan, truth, outlines_through(scan.image, organ, np.array([20, 24, 20]), "liver"))
    assert np.array_equal(done.array, truth.array)
    assert (change.added_ml, change.removed_ml) == (0.0, 0.0)


def test_corrections_are_deterministic_and_survive_json(made: tuple[Scan, LabelMap]) -> None:
    scan, truth = made
    organ, other, _ = balls()
    leaked = relabelled(truth, other, 1)
    todo: list[Correction] = [
        Seed("hepar", points_mm=[at(scan.image, np.array([20, 24, 41]))], inside=False, reach_mm=20.0),
        Brush("liver", path_mm=[at(scan.image, np.array([12, 20, 20]))], radius_mm=4.0),
        outlines_through(scan.image, organ, np.array([20, 24, 40]), "liver"),
    ]
    again = from_json(json.dumps(to_json(todo)))
    assert again == todo
    assert again[0].structure == "liver"
    first, second = correct(scan, leaked, todo), correct(scan, leaked, again)
    assert np.array_equal(first.array, second.array)
    assert "liver" not in first.confidence


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.tuples(st.integers(0, 39), st.integers(0, 47), st.integers(0, 55)),
    inside=st.booleans(),
    reach=st.floats(2.0, 40.0),
)
def test_any_seed_leaves_the_others_alone_and_is_obeyed(
    made: tuple[Scan, LabelMap], place: tuple[int, int, int], inside: bool, reach: float
) -> None:
    scan, labels = made
    seed = Seed("liver", points_mm=[at(scan.image, np.array(place))], inside=inside, reach_mm=reach)
    done, change = apply(scan, labels, seed)
    for name in ("stomach", "liver_tumour"):
        assert np.array_equal(done.mask(name), labels.mask(name))
    own = labels.array[place] in (0, 1)
    assert not own or (done.array[place] == 1) == inside
    assert (change.removed_ml if inside else change.added_ml) == 0.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Seed("liver"), "a seed has 0 points|needs points"),
        (lambda: Seed("liver", points_mm=[(0, 0, float("nan"))]), "needs points"),
        (lambda: Seed("liver", points_mm=[(0, 0, 0)], reach_mm=500.0), "give 2 to 100 mm"),
        (lambda: Brush("liver", path_mm=[(0, 0, 0)], radius_mm=0.0), "give 0.5 to 100 mm"),
        (lambda: Outlines("liver"), "draw at least one"),
        (lambda: Outlines("liver", outlines_mm=[[(0, 0, 0), (1, 0, 0)]]), "an outline has 2 points"),
        (lambda: Correction("liver"), "a Seed, a Brush or Outlines"),
        (lambda: from_json('[{"kind": "sed"}]'), "correction 1 has no kind"),
        (lambda: from_json('[{"kind": "seed", "structure": "liver", "at": 3}]'), "knows no 'at'"),
        (lambda: from_json('[{"kind": "seed", "structure": "liver", "points_mm": 3}]'), "correction 1"),
        (lambda: from_json("{"), "not JSON"),
    ],
)
def test_bad_corrections_are_refused_in_words(make: object, words: str) -> None:
    with pytest.raises(AnatomyError, match=words):
        make()  # type: ignore[operator]


def test_what_cannot_be_applied_is_refused_in_words(made: tuple[Scan, LabelMap]) -> None:
    scan, labels = made
    centre = at(scan.image, np.array([20, 24, 20]))
    with pytest.raises(AnatomyError, match="outside the scan"):
        apply(scan, labels, Seed("liver", points_mm=[(900.0, 0.0, 0.0)]))
    with pytest.raises(AnatomyError, match="has no 'spleen'"):
        apply(scan, labels, Seed("spleen", points_mm=[centre]))
    with pytest.raises(AnatomyError, match="would remove all of 'liver'"):
        apply(scan, labels, Brush("liver", path_mm=[centre], radius_mm=60.0, adds=False))
    slanting = [at(scan.image, np.array(p)) for p in ([10, 10, 10], [20, 20, 10], [30, 10, 30], [12, 30, 12])]
    with pytest.raises(AnatomyError, match="draw it in one slice"):
        apply(scan, labels, Outlines("liver", outlines_mm=[slanting]))


def test_three_corrections_bring_a_native_liver_to_the_aim(shared_scans: Path) -> None:
    """Three corrections, each three drawn slices through the worst place, placed by a rule and not by a person."""
    scan = Scan.read(shared_scans / "abdomen_ct" / "ct.nii.gz")
    truth = LabelMap.read(shared_scans / "abdomen_ct" / "labels_v1.nii.gz").matched_to(scan).mask("liver")
    labels = segment(scan, ["liver"])
    for _ in range(3):
        correction = outlines_by_rule(scan, labels.mask("liver"), truth)
        if correction is not None:
            labels, _ = apply(scan, labels, correction)
    assert dice(labels.mask("liver"), truth) >= 0.96
