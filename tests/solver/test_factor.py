import numpy as np
import pytest
from scipy import sparse

from anatomy.mesh import OrganMesh
from solver.dissection import dissect
from solver.errors import SolverError
from solver.factor import Factor
from solver.verification.blocks import kuhn_block


def _mixed_matrix(block, seed, definite=True):
    """A random quasi-definite matrix, three unknowns and one of the other kind a vertex of a block."""
    rng = np.random.default_rng(seed)
    n = len(block.points)
    near = sparse.coo_array((np.ones(block.tets.size * 4), _pairs(block.tets)), shape=(n, n)).tocsr()
    graph = sparse.kron(near, np.ones((4, 4))).tocsr()
    graph.data[:] = rng.normal(size=graph.nnz)
    matrix = ((graph + graph.T) / 2).tocsr()
    negative = np.tile([False, False, False, True], n)
    weight = np.abs(matrix).sum(axis=1) * (1.1 if definite else 0.01)
    matrix = (matrix + sparse.diags_array(np.where(negative, -weight, weight))).tocsr()
    return matrix, np.repeat(np.arange(n), 4), negative


def _pairs(tets):
    return np.repeat(tets, 4, axis=1).ravel(), np.tile(tets, (1, 4)).ravel()


def _upper(matrix):
    upper = sparse.csr_array(sparse.triu(matrix))
    upper.sort_indices()
    return upper


def test_back_solve_of_a_quasi_definite_matrix_is_exact_to_half_precision_and_refines_to_more():
    block = kuhn_block((40, 20, 20), (8, 4, 4))
    matrix, node, negative = _mixed_matrix(block, 0)
    upper = _upper(matrix)
    factor = Factor(upper, node, block.points, negative).refilled(upper.data)
    right = np.random.default_rng(1).normal(size=(3, matrix.shape[0]))
    found = factor.solve(right)
    exact = sparse.linalg.spsolve(matrix.tocsc(), right.T).T
    assert np.abs(found - exact).max() < 1e-4 * np.abs(exact).max()
    assert np.array_equal(factor.solve(right[1]), found[1])
    refined = found + factor.solve(right - found @ matrix)
    assert np.abs(refined - exact).max() < 1e-8 * np.abs(exact).max()


def test_one_thread_and_two_give_the_same_bits(monkeypatch):
    block = kuhn_block((60, 30, 30), (14, 7, 7))
    matrix, node, negative = _mixed_matrix(block, 5)
    upper = _upper(matrix)
    empty = Factor(upper, node, block.points, negative)
    monkeypatch.setattr("solver.factor.WORTH_TWO_THREADS", 0)
    right = np.random.default_rng(2).normal(size=matrix.shape[0])
    found = []
    for threads in (1, 2, 2):
        monkeypatch.setattr("solver.pairs.THREADS", threads)
        found.append(empty.refilled(upper.data).solve(right))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[1], found[2])


def test_held_unknowns_stay_where_they_are_and_the_others_answer():
    block = kuhn_block((40, 20, 20), (8, 4, 4))
    matrix, node, negative = _mixed_matrix(block, 6)
    upper = _upper(matrix)
    factor = Factor(upper, node, block.points, negative).refilled(upper.data)
    held = np.flatnonzero(np.isin(node, [3, 40, 41, 170]) & ~negative)
    right = np.random.default_rng(3).normal(size=matrix.shape[0])
    found = factor.solve(right, factor.hold(held))
    free = np.setdiff1d(np.arange(len(node)), held)
    exact = sparse.linalg.spsolve(matrix[free][:, free].tocsc(), right[free])
    assert (found[held] == 0).all()
    assert np.abs(found[free] - exact).max() < 1e-4 * np.abs(exact).max()


def _bisected(block, edges):
    """The block with some edges bisected: points, tetrahedra, and the two vertices each vertex lies between."""
    points, tets = block.points, block.tets
    parents = np.repeat(np.arange(len(points))[:, None], 2, axis=1)
    for a, b in edges:
        on = (tets == a).any(axis=1) & (tets == b).any(axis=1)
        first, second = tets[on].copy(), tets[on].copy()
        first[first == b] = second[second == a] = len(points)
        points = np.vstack([points, (points[a] + points[b]) / 2])
        parents = np.vstack([parents, [a, b]])
        tets = np.concatenate([tets[~on], first, second])
    return points, tets, parents


def test_order_of_a_cut_mesh_follows_from_the_order_before():
    block = kuhn_block((40, 20, 20), (8, 4, 4))
    matrix, node, negative = _mixed_matrix(block, 0)
    before = Factor(_upper(matrix), node, block.points, negative)
    middle = np.flatnonzero(np.abs(block.points[:, 0] - 20) < 1e-9)
    edges = [(v, v + 1) for v in middle if v + 1 < len(block.points)]
    near = {tuple(sorted(p)) for p in zip(*_pairs(block.tets), strict=True)}
    points, tets, parents = _bisected(block, [e for e in edges if e in near])
    assert len(points) > len(block.points) + 15
    # A copy of a vertex, which takes half of its tetrahedra, and a piece that is gone.
    around = np.flatnonzero((tets == middle[7]).any(axis=1))[::2]
    tets[around] = np.where(tets[around] == middle[7], len(points), tets[around])
    points, parents = np.vstack([points, points[middle[7]]]), np.vstack([parents, [middle[7], middle[7]]])
    stays = points[:, 0] < 36
    tets = tets[stays[tets].all(axis=1)]
    kept, tets = np.unique(tets, return_inverse=True)
    after = OrganMesh(points[kept], tets.reshape(-1, 4), np.ones(len(tets), np.uint8), {1: "liver"})
    cut, node, negative = _mixed_matrix(after, 7)
    upper = _upper(cut)
    factor = before.extended(upper, node, after.points, negative, parents[kept]).refilled(upper.data)
    assert np.array_equal(factor._tree.parent, before._tree.parent)
    right = np.random.default_rng(4).normal(size=cut.shape[0])
    exact = sparse.linalg.spsolve(cut.tocsc(), right)
    assert np.abs(factor.solve(right) - exact).max() < 1e-4 * np.abs(exact).max()


def test_an_order_that_no_longer_fits_is_found_anew():
    block = kuhn_block((40, 20, 20), (8, 4, 4))
    matrix, node, negative = _mixed_matrix(block, 0)
    before = Factor(_upper(matrix), node, block.points, negative)
    # Opposite ends of the block become neighbours: no path of the tree joins them.
    joined = matrix.tolil()
    joined[0, -4] = joined[-4, 0] = 0.1
    upper = _upper(joined.tocsr())
    same = np.repeat(np.arange(len(block.points))[:, None], 2, axis=1)
    factor = before.extended(upper, node, block.points, negative, same).refilled(upper.data)
    assert not np.array_equal(factor._tree.parent, before._tree.parent)
    right = np.random.default_rng(5).normal(size=len(node))
    exact = sparse.linalg.spsolve(joined.tocsc(), right)
    assert np.abs(factor.solve(right) - exact).max() < 1e-4 * np.abs(exact).max()


def test_positive_definite_matrix_needs_no_second_kind():
    block = kuhn_block((10, 10, 10), (3, 3, 3))
    n = len(block.points)
    graph = sparse.coo_array((np.ones(block.tets.size * 4), _pairs(block.tets)), shape=(n, n)).tocsr()
    matrix = (sparse.diags_array(graph.sum(axis=1) + 1.0) - graph + sparse.eye_array(n)).tocsr()
    upper = _upper(matrix)
    factor = Factor(upper, np.arange(n), block.points).refilled(upper.data)
    right = np.ones(n)
    found = factor.solve(right)
    assert matrix @ found == pytest.approx(right, abs=5e-3)
    found += factor.solve(right - matrix @ found)
    assert matrix @ found == pytest.approx(right, abs=1e-5)


def test_wrong_inertia_is_refused():
    block = kuhn_block((10, 10, 10), (3, 3, 3))
    matrix, node, negative = _mixed_matrix(block, 2, definite=False)
    upper = _upper(matrix)
    with pytest.raises(SolverError, match="not definite"):
        Factor(upper, node, block.points, negative).refilled(upper.data)


def test_refilling_leaves_the_old_factor_alone():
    block = kuhn_block((10, 10, 10), (2, 2, 2))
    matrix, node, negative = _mixed_matrix(block, 3)
    upper = _upper(matrix)
    first = Factor(upper, node, block.points, negative).refilled(upper.data)
    right = np.ones(matrix.shape[0])
    before = first.solve(right)
    second = first.refilled(2 * upper.data)
    assert np.array_equal(first.solve(right), before)
    assert second.solve(right) == pytest.approx(before / 2, rel=1e-3, abs=1e-5)


def test_dissection_is_a_permutation_whose_separators_separate():
    block = kuhn_block((40, 40, 40), (10, 10, 10))
    n = len(block.points)
    graph = sparse.csr_array((np.ones(block.tets.size * 4), _pairs(block.tets)), shape=(n, n))
    tree = dissect(block.points, graph)
    assert np.array_equal(np.sort(tree.order), np.arange(n))
    top = np.diff(tree.starts)[-1]
    assert 60 <= top <= 130  # a plane of 11 × 11 vertices, or a little less
    left = np.flatnonzero(tree.parent == len(tree.parent) - 1)[0]
    first, second = tree.order[: tree.starts[left + 1]], tree.order[tree.starts[left + 1] : -top]
    assert graph[first][:, second].nnz == 0
    # Fill of nested dissection grows as n^(4/3); reverse Cuthill–McKee would need 11² entries a vertex.
    assert tree.entries < 0.6 * n * 121
