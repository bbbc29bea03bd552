from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anatomy.embedding import distance_to_surface
from solver.cutting import Plane, cut
from twin.margins import cut_faces as cut_facets
from viewer.cut_surfaces import LEVELS
from viewer.scene import Scene
from viewer.seams import onto_faces, open_edges


def test_only_the_edge_of_an_open_surface_is_open() -> None:
    square = np.array([[0, 1, 2], [0, 2, 3]])
    assert set(open_edges(np.eye(4, 3), square, 2)[:, 0].tolist()) == {0, 1, 2, 3}
    closed = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    assert len(open_edges(np.eye(4, 3), closed, 2)) == 0


def test_points_go_to_the_wall_on_their_own_side() -> None:
    facets = np.array([[0, 1, 2], [3, 5, 4]])
    corners = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
    points = np.concatenate([corners, corners])  # two walls of a closed cleft, one looking up and one down
    both = type("Mesh", (), {"points": points})()
    at = np.array([[1.0, 1.0, 0.5]])
    for inner, wall in ((-1.0, {0, 1, 2}), (1.0, {3, 4, 5})):
        found, of, weights = onto_faces(at, np.array([[1.0, 1.0, inner]]), both, facets, np.array([1.0]))
        assert found.all()
        assert set(of[0].tolist()) == wall
        assert weights[0] @ points[of[0]] == pytest.approx([1.0, 1.0, 0.0])
    assert not onto_faces(at, at - 1.0, both, facets, np.array([0.1]))[0].any()


def test_a_cut_surface_ends_on_the_cut_face(small_case: Any) -> None:
    organ = small_case.organ
    middle = organ.points.mean(axis=0) - np.array([7.0, 0.0, 0.0])
    change = cut(organ, organ.points, Plane(middle, np.array([1.0, 0.3, 0.1])))
    assert change is not None
    used, local = np.unique(organ.exterior, return_inverse=True)
    skin = SimpleNamespace(points=organ.points[used], triangles=local.reshape(-1, 3))
    scene = Scene(replace(small_case, surfaces={"liver": skin}))
    scene.remesh(1, change.after, change.raw)
    shown = scene.skins["liver"]
    edge = open_edges(shown.rest.astype(np.float64), shown.triangles, LEVELS)[:, 0]
    assert len(edge) > 100
    away = distance_to_surface(shown.rest[edge].astype(np.float64), change.after.points, change.raw)
    # Without the seams the teeth of the small triangles stand out by up to 2 mm, a fifth of an edge of the mesh.
    assert np.quantile(away, 0.99) < 0.01
    assert len(cut_facets(change.after, organ)) == len(change.raw)
