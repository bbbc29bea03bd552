import numpy as np
import pytest

from anatomy.embedding import distance_to_surface
from anatomy.lattice.topology import neighbours_of, volumes_of
from anatomy.manifold import pinched_edges, pinched_vertices
from anatomy.mesh import OrganMesh
from solver.cutting import BladeStroke, Offset, Plane, SplineSheet, Values, cut, pieces, without
from solver.cutting.snapping import UNMOVED_WITHIN, mean_ratios
from solver.cutting.split import POOREST_RATIO
from solver.errors import SolverError
from solver.verification.blocks import kuhn_block

BLOCK = (60.0, 40.0, 30.0)
DOWN = (0.0, 0.0, -1.0)


def block():
    return kuhn_block(BLOCK, (12, 8, 6))


def ball(radius=30.0, cells=12):
    """A round organ with a tumour in its middle: a cube pressed into a ball, smoothly."""
    cube = kuhn_block((2.0, 2.0, 2.0), (cells,) * 3)
    x, y, z = (cube.points - 1.0).T
    points = radius * np.column_stack(
        [
            x * np.sqrt(1 - y**2 / 2 - z**2 / 2 + y**2 * z**2 / 3),
            y * np.sqrt(1 - z**2 / 2 - x**2 / 2 + z**2 * x**2 / 3),
            z * np.sqrt(1 - x**2 / 2 - y**2 / 2 + x**2 * y**2 / 3),
        ]
    )
    middle = points[cube.tets].mean(axis=1)
    region = np.where(np.linalg.norm(middle, axis=1) < 0.4 * radius, 2, 1).astype(np.uint8)
    return OrganMesh(points, cube.tets, region, {1: "liver", 2: "tumour"})


def stars_hang_together(organ):
    """Whether the tetrahedra around every vertex are one piece over facets that hold it."""
    across = neighbours_of(organ.tets)
    groups = np.arange(organ.tets.size).reshape(
        -1, 4
    )  # a corner of a tetrahedron, joined to that of its neighbour
    while True:
        before = groups.copy()
        for facet in range(4):
            other = across[:, facet]
            here = np.flatnonzero(other >= 0)
            for corner in range(4):
                if corner == facet:
                    continue
                same = organ.tets[other[here]] == organ.tets[here, corner][:, None]
                theirs = groups[other[here], same.argmax(axis=1)]
                np.minimum.at(groups, (here, corner), theirs)
        if (groups == before).all():
            break
    return all(
        len(np.unique(groups.ravel()[order])) == 1
        for order in np.split(
            np.argsort(organ.tets.ravel(), kind="stable"), np.cumsum(np.bincount(organ.tets.ravel()))[:-1]
        )
    )


def check(change, shapes=()):
    """What must hold after every change."""
    before, after = change.before, change.after
    assert after.points.tobytes() == change.interpolate(before.points).tobytes()
    assert (change.of_tets(before.region) == after.region).all()
    assert not len(pinched_edges(after.exterior))
    assert not len(pinched_vertices(after.exterior))
    for shape in shapes:
        assert (volumes_of(change.interpolate(shape), after.tets) > 0).all()
    exterior = {tuple(sorted(facet)) for facet in after.exterior.tolist()}
    assert {tuple(sorted(facet)) for facet in change.raw.tolist()} <= exterior
    # The old surface and the raw facets are all there is.
    assert len(change.facets(before.exterior)) + len(change.raw) == len(after.exterior)


def check_cut(change, shapes=()):
    check(change, shapes)
    before, after = change.before, change.after
    assert after.tet_volumes.sum() == pytest.approx(before.tet_volumes.sum(), rel=1e-12)
    for structure, volume in before.volumes_ml.items():
        assert after.volumes_ml[structure] == pytest.approx(volume, rel=1e-12)
    for shape in shapes:
        whole = volumes_of(shape, before.tets).sum()
        assert volumes_of(change.interpolate(shape), after.tets).sum() == pytest.approx(whole, rel=1e-12)
    assert change.cut_area_mm2 > 0
    assert len(change.raw) % 2 == 0


def _behind_old(change):
    """Tetrahedra of the new mesh behind facets of the old surface."""
    return change.after.exterior_tets[change.facet_parts(change.before.exterior) >= 0]


def bend(points, amount=4.0):
    """A smooth deformation without inversion."""
    x, y, z = points.T
    turned = np.column_stack(
        [
            x + amount * np.sin(y / 15.0),
            1.1 * y - 0.5 * amount * np.cos(x / 20.0),
            z + amount * np.sin((x + y) / 25.0),
        ]
    )
    c, s = np.cos(0.6), np.sin(0.6)
    return turned @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]).T + [10.0, -20.0, 5.0]


def test_a_plane_along_the_facets_cuts_exactly_there():
    organ = block()
    change = cut(organ, organ.points, Plane((30, 0, 0), (1, 0, 0)))
    check_cut(change)
    assert len(change.after.tets) == len(organ.tets)
    assert change.cut_area_mm2 == pytest.approx(40 * 30)
    assert np.bincount(pieces(change.after)).tolist() == [len(organ.tets) // 2] * 2
    assert len(change.after.points) == len(organ.points) + 9 * 7


@pytest.mark.parametrize("at", [21.3, 22.5, 23.7, 24.9])
def test_a_plane_takes_the_volume_it_should(at):
    organ = block()
    change = cut(organ, organ.points, Plane((at, 0, 0), (1, 0, 0)))
    check_cut(change)
    label = pieces(change.after)
    assert label.max() == 1
    taken = change.after.tet_volumes[label == 1].sum()
    # On the outer surface the plane is led through vertices up to a fifth of an edge away; inside it is exact.
    assert taken == pytest.approx(at * 40 * 30, rel=0.002)
    specimen, remnant = without(change.after, label == 0), without(change.after, label == 1)
    check(specimen)
    check(remnant)
    total = specimen.after.tet_volumes.sum() + remnant.after.tet_volumes.sum()
    assert total == pytest.approx(organ.tet_volumes.sum(), rel=1e-12)


def test_a_slanted_plane_parts_a_deformed_organ_where_it_lies_now():
    organ = ball()
    deformed, free = bend(organ.points), bend(organ.points, -3.0)
    middle, normal = deformed.mean(axis=0) + np.array([3.0, 1.0, 2.0]), np.array([1.0, 0.5, -0.3])
    change = cut(organ, deformed, Plane(middle, normal), shapes=(free,))
    check_cut(change, (deformed, free))
    label = pieces(change.after)
    assert label.max() == 1
    now = change.interpolate(deformed)
    side = (now[change.after.tets].mean(axis=1) - middle) @ normal > 0
    assert max(np.mean(side == (label == 0)), np.mean(side == (label == 1))) > 0.985
    # The face of the cut lies on the plane, but at the surface and the tumour, where vertices do not move.
    off = np.abs((now[np.unique(change.raw)] - middle) @ normal) / np.linalg.norm(normal)
    assert np.median(off) < 1e-9
    pairs = deformed[organ.tets][:, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]]
    longest = np.linalg.norm(pairs[:, :, 0] - pairs[:, :, 1], axis=2).max()
    assert off.max() < UNMOVED_WITHIN * longest
    assert stars_hang_together(change.after)


def test_a_partial_stroke_opens_a_crack_that_ends_inside():
    organ = kuhn_block(BLOCK, (24, 16, 12))
    stroke = BladeStroke([(12, 20.4, 30), (48, 19.3, 30)], DOWN, 14.0, rounded=False)
    change = cut(organ, organ.points, stroke)
    check_cut(change)
    assert pieces(change.after).max() == 0
    assert change.cut_area_mm2 == pytest.approx(36 * 14, rel=0.2)
    faces = change.after.points[np.unique(change.raw)]
    assert faces[:, 2].min() == pytest.approx(30 - 14, abs=2.5)
    # Both faces lie over each other, joined at the front alone: a vertex there has no copy.
    twice = np.unique(change.raw)
    _, copies = np.unique(np.sort(change.parents[twice], axis=1), axis=0, return_counts=True)
    assert set(copies.tolist()) == {1, 2}
    assert stars_hang_together(change.after)


def test_a_stroke_that_misses_or_is_too_shallow_is_refused():
    organ = block()
    with pytest.raises(SolverError, match=r"misses the organ.*nearest vertex lies 30.0 mm"):
        cut(organ, organ.points, BladeStroke([(10, 20, 80), (50, 20, 80)], DOWN, 20.0, height_mm=5.0))
    with pytest.raises(SolverError, match="misses the organ"):
        cut(organ, organ.points, Plane((100, 0, 0), (1, 0, 0)))
    with pytest.raises(SolverError, match=r"misses the organ|opens nothing"):
        cut(organ, organ.points, BladeStroke([(30, 20, 30), (30.4, 20, 30)], DOWN, 0.3))


def test_positions_that_make_no_sense_are_refused():
    organ = block()
    plane = Plane((30, 0, 0), (1, 0, 0))
    with pytest.raises(SolverError, match="Positions have shape"):
        cut(organ, organ.points[:-1], plane)
    broken = organ.points.copy()
    broken[5] = np.nan
    with pytest.raises(SolverError, match="not finite"):
        cut(organ, broken, plane)
    with pytest.raises(SolverError, match="flat or inverted"):
        cut(organ, organ.points * [1, 1, -1], plane)
    with pytest.raises(SolverError, match="floor"):
        cut(organ, organ.points, plane, floor_mm=-1.0)


def test_two_crossing_strokes_part_four_corners():
    organ = block()
    deep = 45.0
    one = cut(organ, organ.points, BladeStroke([(31.2, -5, 30), (31.2, 45, 30)], DOWN, deep))
    two = cut(one.after, one.after.points, BladeStroke([(-5, 18.8, 30), (65, 18.8, 30)], DOWN, deep))
    check_cut(one)
    check_cut(two)
    assert pieces(one.after).max() == 1
    assert pieces(two.after).max() == 3
    expected = sorted([31.2 * 18.8, 31.2 * 21.2, 28.8 * 18.8, 28.8 * 21.2])
    volumes = np.sort(np.bincount(pieces(two.after), weights=two.after.tet_volumes)) / 30.0
    assert volumes == pytest.approx(expected, rel=0.04)


def test_the_same_stroke_twice_opens_nothing_new():
    organ = block()
    plane = Plane((31.7, 0, 0), (1, 0.2, 0.1))
    once = cut(organ, organ.points, plane)
    stroke = BladeStroke([(10, 20.4, 30), (50, 19.3, 30)], DOWN, 14.0)
    partial = cut(organ, organ.points, stroke)
    with pytest.raises(SolverError, match="open already"):
        cut(partial.after, partial.after.points, stroke)
    with pytest.raises(SolverError, match="open already"):
        cut(once.after, once.after.points, plane)


def test_a_margin_keeps_its_distance_from_the_tumour():
    organ = ball()
    deformed = bend(organ.points)
    for opened in (False, True):
        sheet = Offset.around(organ, deformed, "tumour", 7.0, opened)
        change = cut(organ, deformed, sheet)
        check_cut(change, (deformed,))
        after, label = change.after, pieces(change.after)
        assert label.max() == 1
        inside = label[after.tets_of("tumour")]
        assert len(np.unique(inside)) == 1
        face = change.interpolate(deformed)[np.unique(change.raw)]
        tumour = organ.surface_of("tumour")
        assert distance_to_surface(face, deformed, tumour).min() > 7.0 - UNMOVED_WITHIN * 6.0
        # Opened, the wedge reaches the old surface; closed, it is a ball inside.
        assert opened == (len(np.unique(label[_behind_old(change)])) == 2)


def test_a_spline_sheet_cuts_through_the_tumour_too():
    organ = ball()
    u, v = np.meshgrid([-30.0, 0.0, 30.0], [-30.0, 0.0, 30.0])
    control = np.column_stack([u.ravel(), v.ravel(), 2.0 + 0.004 * u.ravel() ** 2 - 0.006 * v.ravel() ** 2])
    change = cut(organ, organ.points, SplineSheet(control))
    check_cut(change)
    assert pieces(change.after).max() == 1
    halves = [change.after.region[pieces(change.after) == i] for i in range(2)]
    assert all(set(np.unique(half)) == {1, 2} for half in halves)


def test_a_level_of_values_cuts_out_a_territory():
    organ = ball()
    value = organ.points @ np.array([1.0, 0.2, 0.4])
    change = cut(organ, organ.points, Values(value, 6.0))
    check_cut(change)
    label = pieces(change.after)
    assert label.max() == 1
    carried = change.interpolate(value)[change.after.tets].mean(axis=1)
    assert ((carried > 6.0) == (label == 1)).mean() > 0.98


@pytest.mark.parametrize("organ", [block(), ball()], ids=["block", "ball"])
def test_forty_strokes_leave_a_sound_mesh(organ):
    rng = np.random.default_rng(7)
    deformed, free = bend(organ.points), bend(organ.points, 2.0)
    floor, opened, cuts, now = 0.75, 0.0, 0, organ
    for _ in range(40):
        facet = now.exterior[rng.integers(len(now.exterior))]
        start = deformed[facet].mean(axis=0)
        inwards = -np.cross(*(deformed[facet[1:]] - deformed[facet[0]]))
        direction = inwards / np.linalg.norm(inwards) + rng.normal(size=3) * 0.3
        across = np.cross(direction, rng.normal(size=3))
        across *= rng.uniform(10, 25) / np.linalg.norm(across)
        try:
            change = cut(
                now, deformed, BladeStroke([start - across, start + across], direction, rng.uniform(6, 25)),
                floor, (free,),
            )  # fmt: skip
        except SolverError:
            continue
        check_cut(change, (deformed, free))
        deformed, free, now = change.interpolate(deformed), change.interpolate(free), change.after
        opened += change.cut_area_mm2
        cuts += 1
    assert cuts >= 36
    assert opened > 8000
    assert stars_hang_together(now)
    before = mean_ratios(organ.points, organ.tets).min()
    assert mean_ratios(now.points, now.tets).min() > 0.999 * min(POOREST_RATIO, before)
    corner = now.points[now.tets]
    edges = np.linalg.norm(corner[:, [0, 0, 0, 1, 1, 2]] - corner[:, [1, 2, 3, 2, 3, 3]], axis=2)
    assert edges.min() > 0.5 * floor
    assert now.tet_volumes.sum() == pytest.approx(organ.tet_volumes.sum(), rel=1e-12)


def test_a_plane_parts_an_organ_that_was_cut_many_times():
    organ = ball()
    rng = np.random.default_rng(11)
    now, floor = organ, 0.9
    for _ in range(10):
        start, end = rng.uniform(-30, 30, (2, 3))
        across = np.cross(end - start, rng.normal(size=3))
        now = cut(now, now.points, BladeStroke([start, end], across, 18.0), floor).after
    for _ in range(10):
        plane = Plane(rng.uniform(-15, 15, 3), rng.normal(size=3))
        change = cut(now, now.points, plane, floor)
        check_cut(change)
        after, label = change.after, pieces(change.after)
        distance = plane.distance(after.points[after.tets].mean(axis=1))
        front, behind = (
            np.bincount(label, weights=after.tet_volumes * half) for half in (distance > 2.2, distance < -2.2)
        )
        # Crumbs, and tetrahedra that would leave the surface pinched, may stay on the other side; no bridge may.
        assert np.minimum(front, behind).max() < 0.003 * organ.tet_volumes.sum()


def test_two_runs_agree_to_the_last_bit():
    organ = ball()
    stroke = BladeStroke([(-20, 3, 30), (20, -4, 30)], DOWN, 25.0)
    one, two = (cut(organ, organ.points, stroke) for _ in range(2))
    assert one.after.points.tobytes() == two.after.points.tobytes()
    assert one.after.tets.tobytes() == two.after.tets.tobytes()
    assert one.raw.tobytes() == two.raw.tobytes()


def test_taking_tetrahedra_away():
    organ = block()
    gone = (organ.points[organ.tets].mean(axis=1) < [10, 10, 10]).all(axis=1)
    change = without(organ, gone)
    check(change)
    assert len(change.after.tets) == len(organ.tets) - gone.sum()
    assert change.cut_area_mm2 == pytest.approx(300.0)
    assert change.after.tet_volumes.sum() == pytest.approx(60 * 40 * 30 - 1000)
    with pytest.raises(SolverError, match="whole organ"):
        without(organ, np.arange(len(organ.tets)))
    with pytest.raises(SolverError, match="Nothing was chosen"):
        without(organ, np.zeros(0, dtype=np.int64))
    with pytest.raises(SolverError, match="no tetrahedron 99999"):
        without(organ, np.array([99999]))


def test_pieces_that_touch_in_an_edge_come_apart_there():
    organ = block()
    middle = organ.points[organ.tets].mean(axis=1)
    gone = (middle[:, 0] < 30) != (middle[:, 1] < 20)
    change = without(organ, gone)
    check(change)
    assert pieces(change.after).max() == 1


def test_what_would_leave_tissue_touching_itself_is_refused():
    organ = block()
    outer = np.zeros(len(organ.points), dtype=bool)
    outer[organ.exterior] = True
    # A hollow that meets the outer surface in one vertex.
    one = np.flatnonzero(outer[organ.tets].sum(axis=1) == 1)[:1]
    with pytest.raises(SolverError, match="touch itself in an edge or a point"):
        without(organ, one)
