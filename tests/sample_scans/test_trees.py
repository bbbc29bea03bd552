"""Vessel trees: Murray's law at every fork, graphs in order, inside the organ, apart from each other."""

from __future__ import annotations

import numpy as np
import pytest

from sample_scans import Patient, make_patient
from sample_scans.trees import MURRAY_EXPONENT


@pytest.fixture(scope="module", params=(1, 7))
def patient(request: pytest.FixtureRequest) -> Patient:
    return make_patient(request.param, size=128, slice_mm=5.0)


@pytest.mark.parametrize("name", ["portal_vein", "hepatic_vein"])
def test_murrays_law_holds_at_every_fork(patient: Patient, name: str):
    # r_parent^3 = sum of r_child^3 (Murray 1926).
    tree = patient.trees[name]
    assert MURRAY_EXPONENT == 3.0
    assert len(tree.forks) > 80
    for fork in tree.forks:
        children = np.flatnonzero(tree.parent == fork)
        assert len(children) == 2
        assert np.sum(tree.radius[children] ** 3) == pytest.approx(tree.radius[fork] ** 3, rel=1e-9)


@pytest.mark.parametrize("name", ["portal_vein", "hepatic_vein"])
def test_calibre_changes_at_forks_only(patient: Patient, name: str):
    tree = patient.trees[name]
    single = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree.parent)) == 1
    rows = np.flatnonzero(tree.parent >= 0)
    rows = rows[single[tree.parent[rows]]]
    assert len(rows) > len(tree.points) / 2
    assert np.array_equal(tree.radius[rows], tree.radius[tree.parent[rows]])


def test_parents_come_first_and_roots_are_as_many_as_the_anatomy_has(patient: Patient):
    for name, roots in (("portal_vein", 1), ("hepatic_vein", 2)):
        tree = patient.trees[name]
        assert (tree.parent < np.arange(len(tree.parent))).all()
        assert (tree.parent == -1).sum() == roots
        assert 3.0 < tree.radius.max() < 7.5
        assert 0.8 < tree.radius.min() < 1.5


def test_trees_fill_the_liver(patient: Patient):
    # No part of the parenchyma is farther than 50 mm from a branch, and half of it is within 15 mm.
    index = np.argwhere(patient.labels.mask("liver"))[::17, ::-1]
    where = np.array(patient.scan.GetOrigin()) + index * np.array(patient.scan.GetSpacing())
    assert set(patient.trees) == {"portal_vein", "hepatic_vein"}
    for tree in patient.trees.values():
        far = np.linalg.norm(where[:, None] - tree.points[None, ::2], axis=2).min(axis=1)
        assert np.median(far) < 15.0
        assert far.max() < 50.0


def test_trees_keep_apart(patient: Patient):
    portal, hepatic = patient.trees["portal_vein"], patient.trees["hepatic_vein"]
    gap = np.linalg.norm(portal.points[:, None] - hepatic.points[None], axis=2)
    overlap = gap < np.maximum(portal.radius[:, None], hepatic.radius[None])
    assert overlap.any(axis=1).mean() < 0.02


def test_voxels_of_the_tree_are_near_its_graph(patient: Patient):
    for name, tree in patient.trees.items():
        index = np.argwhere(patient.labels.mask(name))[:, ::-1]
        where = np.array(patient.scan.GetOrigin()) + index * np.array(patient.scan.GetSpacing())
        gap = np.linalg.norm(where[:, None] - tree.points[None], axis=2) - tree.radius[None]
        assert gap.min(axis=1).max() < 4.0
