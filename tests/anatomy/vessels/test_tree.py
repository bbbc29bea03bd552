from __future__ import annotations

import numpy as np
import pytest

from anatomy.errors import AnatomyError
from anatomy.vessels import VesselTree


def tree(parent, points=None, radius=None):
    n = len(parent)
    points = np.arange(3.0 * n).reshape(n, 3) if points is None else np.array(points, dtype=float)
    return VesselTree(
        points, np.ones(n) if radius is None else np.array(radius), np.array(parent, dtype=np.int64)
    )


def test_orders_follow_strahler_and_bends_are_no_forks():
    # 0-1-2, at 2 two branches: 3-5 (an end) and 4, which forks into the ends 6 and 7
    t = tree([-1, 0, 1, 2, 2, 3, 4, 4])
    assert t.strahler.tolist() == [2, 2, 2, 1, 2, 1, 1, 1]
    assert t.generation.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert [b.nodes.tolist() for b in t.branches] == [[0, 1, 2], [2, 3, 5], [2, 4], [4, 6], [4, 7]]
    assert t.forks.tolist() == [2, 4]
    assert t.leaves.tolist() == [5, 6, 7]


def test_what_lies_below_a_node():
    t = tree([-1, 0, 1, 2, 2, 3, 4, 4])
    assert t.below(4).tolist() == [4, 6, 7]
    assert t.below(0).tolist() == list(range(8))
    kept = t.keep(t.below(4))
    assert kept.parent.tolist() == [-1, 0, 0]
    assert np.array_equal(kept.points, t.points[[4, 6, 7]])


def test_length_and_volume_of_a_straight_vessel():
    t = tree([-1, 0, 1], [[0, 0, 0], [0, 0, 3], [0, 4, 3]], [2.0, 2.0, 1.0])
    assert t.distance_from_root_mm.tolist() == [0.0, 3.0, 7.0]
    assert t.volume_ml == pytest.approx(np.pi * (4 * 3 + 1 * 4) / 1000)
    assert t.branches[0].calibre_mm == pytest.approx(2 * (2 * 3 + 1 * 4) / 7)
    assert t.nearest([0, 3.9, 3.1])[0] == 2


def test_written_and_read_again_it_is_the_same(tmp_path, fork):
    fork.write(tmp_path / "fork.vtp")
    again = VesselTree.read(tmp_path / "fork.vtp")
    for name in ("points", "radius", "parent"):
        assert np.array_equal(getattr(again, name), getattr(fork, name))
    assert [p.name for p in tmp_path.iterdir()] == ["fork.vtp"]


def test_a_file_that_is_no_tree_is_refused(tmp_path):
    (tmp_path / "x.vtp").write_text("nothing")
    with pytest.raises(AnatomyError, match="holds no vessel tree"):
        VesselTree.read(tmp_path / "x.vtp")
    with pytest.raises(AnatomyError, match="there is no vessel tree"):
        VesselTree.read(tmp_path / "y.vtp")


def test_a_child_before_its_parent_is_refused(fork):
    with pytest.raises(AnatomyError, match="every parent comes before its children"):
        tree([1, -1])
    with pytest.raises(AnatomyError, match="nodes 0 to"):
        fork.below(99)
