"""Cleaning the labels of the cut lattice: no specks, no pinched surfaces.

Works by relabelling tetrahedra only, the background's included, so the mesh stays conforming. A speck is a
piece of a label (or a hole) smaller than a stated volume; it joins the label it shares most facets with.

The surface of a label is a 2-manifold exactly when, around every vertex, the label's tetrahedra hang together
across facets that contain the vertex, and so do all others: the star of an inner vertex is a ball, its boundary
a sphere, and a part of a sphere is a disc when it and the rest are each connected. The number of parts too many,
over all labels and the background, is the vertex's *excess*; it counts edges in which more than two triangles
meet and vertices with more than one fan alike. Groups of tetrahedra change sides where that lowers the sum of
the excess of all vertices; where nothing lowers it, a group may pass its excess on, each tetrahedron once, so the
cleaning ends, with the best labels it met.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import pieces_of, stars_of

# Moves that may raise the excess, in all, at each width and slack.
_SLACK_MOVES = 300


def without_specks(
    label: NDArray[np.int64], neighbours: NDArray[np.int64], volume: NDArray[np.float64], speck_mm3: float
) -> NDArray[np.int64]:
    """Labels (m,) in which pieces and enclosed holes below `speck_mm3` have joined their main neighbour."""
    label = label.copy()
    for _ in range(4):
        piece = pieces_of(label, neighbours)
        size = np.bincount(piece, weights=volume)
        # A piece that reaches the lattice's rim is the surrounding background, whatever its size.
        size[np.unique(piece[(neighbours < 0).any(axis=1)])] = np.inf
        small = size < speck_mm3
        row = np.flatnonzero(small[piece])
        if not len(row):
            break
        row = np.repeat(row, 4)
        column = neighbours[row[::4]].reshape(-1)
        border = (column >= 0) & (piece[row] != piece[np.maximum(column, 0)])
        number = np.cumsum(small) - 1
        votes = np.zeros((int(small.sum()), int(label.max()) + 1), dtype=np.int64)
        np.add.at(votes, (number[piece[row[border]]], label[column[border]]), 1)
        joins = votes.argmax(axis=1)
        inside = row[::4]
        label[inside] = joins[number[piece[inside]]]
    return label


def pinches(
    tets: NDArray[np.int64], label: NDArray[np.int64], neighbours: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Excess of each vertex, shape (n,): 0 where the surfaces of all labels are 2-manifolds around it."""
    starts, around = stars_of(tets, int(tets.max()) + 1)
    excess: NDArray[np.int64] = _excesses(tets, label, neighbours, starts, around)
    return excess


def without_pinches(
    tets: NDArray[np.int64],
    label: NDArray[np.int64],
    neighbours: NDArray[np.int64],
    volume: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Labels (m,) after which every label's surface, the outer one included, is a 2-manifold."""
    label = label.copy()
    starts, around = stars_of(tets, int(tets.max()) + 1)
    _clean(tets, label, neighbours, volume, starts, around)
    return label


@numba.njit(cache=True)
def _flood(members, inside, tets, neighbours, vertex, local, group):  # type: ignore[no-untyped-def]
    """Number the parts of `members[inside]` joined over facets at a vertex in `group`; how many there are."""
    count = 0
    stack = np.empty(len(members), np.int64)
    for k in range(len(members)):
        group[k] = -1
    for seed in range(len(members)):
        if not inside[seed] or group[seed] >= 0:
            continue
        group[seed] = count
        stack[0] = seed
        depth = 1
        while depth:
            depth -= 1
            k = stack[depth]
            t = members[k]
            for f in range(4):
                other = neighbours[t, f]
                # The facet opposite the vertex leads out of its star.
                if tets[t, f] == vertex or other < 0:
                    continue
                j = local[other]
                if inside[j] and group[j] < 0:
                    group[j] = count
                    stack[depth] = j
                    depth += 1
        count += 1
    return count


@numba.njit(cache=True)
def _excess(vertex, tets, label, neighbours, starts, around, local):  # type: ignore[no-untyped-def]
    """Parts too many around a vertex, over all labels."""
    members = around[starts[vertex] : starts[vertex + 1]]
    first = label[members[0]]
    same = True
    for t in members:
        same &= label[t] == first
    if same:
        return 0
    size = len(members)
    inside, group = np.empty(size, np.bool_), np.empty(size, np.int64)
    done = np.zeros(size, np.bool_)
    for k in range(size):
        local[members[k]] = k
    excess = 0
    for k in range(size):
        if done[k]:
            continue
        mine = label[members[k]]
        for j in range(size):
            inside[j] = label[members[j]] == mine
            done[j] |= inside[j]
        excess += _flood(members, inside, tets, neighbours, vertex, local, group) - 1
        for j in range(size):
            inside[j] = not inside[j]
        excess += _flood(members, inside, tets, neighbours, vertex, local, group) - 1
    return excess


@numba.njit(cache=True)
def _excesses(tets, label, neighbours, starts, around):  # type: ignore[no-untyped-def]
    count = len(starts) - 1
    out = np.zeros(count, np.int64)
    local = np.zeros(len(tets), np.int64)
    for v in range(count):
        if starts[v + 1] > starts[v]:
            out[v] = _excess(v, tets, label, neighbours, starts, around, local)
    return out


@numba.njit(cache=True)
def _change(turned, count, to, tets, label, neighbours, starts, around, excess, local):  # type: ignore[no-untyped-def]
    """By how much the excess changes when tetrahedra `turned[:count]` take label `to`; labels are put back."""
    before = np.empty(count, np.int64)
    for k in range(count):
        before[k] = label[turned[k]]
        label[turned[k]] = to
    change = 0
    for k in range(count):
        for i in range(4):
            v = tets[turned[k], i]
            seen = False
            for j in range(k):
                for h in range(4):
                    seen |= tets[turned[j], h] == v
            if not seen:
                change += _excess(v, tets, label, neighbours, starts, around, local) - excess[v]
    for k in range(count):
        label[turned[k]] = before[k]
    return change


@numba.njit(cache=True)
def _clean(tets, label, neighbours, volume, starts, around):  # type: ignore[no-untyped-def]
    """Lower the excess, in place, until no move lowers it."""
    vertices = len(starts) - 1
    local = np.zeros(len(tets), np.int64)
    excess = _excesses(tets, label, neighbours, starts, around)
    # Tetrahedra that passed excess on; they do so once.
    spent = np.zeros(len(tets), np.bool_)
    best, least = label.copy(), excess.sum()
    for wide, slack in ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 4), (1, 4)):
        moving, left = True, _SLACK_MOVES
        while moving and least > 0:
            moving = False
            for vertex in range(vertices):
                while excess[vertex] > 0:
                    done = _relieve(
                        vertex, tets, label, neighbours, volume, starts, around, excess, local, wide, spent, 0
                    )
                    if not done and slack > 0 and left > 0:
                        left -= 1
                        done = _relieve(
                            vertex,
                            tets,
                            label,
                            neighbours,
                            volume,
                            starts,
                            around,
                            excess,
                            local,
                            wide,
                            spent,
                            slack,
                        )
                    if not done:
                        break
                    moving = True
            if excess.sum() < least:
                best[:], least = label, excess.sum()
        label[:] = best
        excess[:] = _excesses(tets, label, neighbours, starts, around)


@numba.njit(cache=True)
def _gather(members, tets, starts, around, wide, group, part, turned):  # type: ignore[no-untyped-def]
    """Put the tetrahedra of a move into `turned`: a part of the star, all of it, or the stars of its vertices."""
    count = 0
    if wide == 2:
        for t in members:
            for i in range(4):
                v = tets[t, i]
                for s in around[starts[v] : starts[v + 1]]:
                    if not (turned[:count] == s).any():
                        turned[count] = s
                        count += 1
    else:
        for k in range(len(members)):
            if wide == 1 or group[k] == part:
                turned[count] = members[k]
                count += 1
    return count


@numba.njit(cache=True)
def _relieve(vertex, tets, label, neighbours, volume, starts, around, excess, local, wide, spent, slack):  # type: ignore[no-untyped-def]
    """Make the move around a vertex that lowers the excess most, the smallest of those; False without one.

    With slack, a move of tetrahedra that are not yet `spent` may raise the excess by less than that. Narrow (0), a
    part of the star changes to another label of the star; wider, the whole star does (1), or
    the stars of all its vertices (2).
    """
    members = around[starts[vertex] : starts[vertex + 1]]
    size = len(members)
    kinds = np.unique(label[members])
    turned, best = np.empty(len(tets) if wide == 2 else size, np.int64), np.empty(0, np.int64)
    best_change, best_volume, best_to = slack, np.inf, -1
    inside, group = np.empty(size, np.bool_), np.empty(size, np.int64)
    for mine in kinds:
        for outside in range(2 if wide == 0 else 1):
            if wide == 0:
                for k in range(size):
                    local[members[k]] = k
                    inside[k] = (label[members[k]] == mine) != (outside == 1)
                parts = _flood(members, inside, tets, neighbours, vertex, local, group)
                if parts < 2:
                    continue
            else:
                parts = 1
            for part in range(parts):
                count = _gather(members, tets, starts, around, wide, group, part, turned)
                amount, again = 0.0, False
                for k in range(count):
                    amount += volume[turned[k]]
                    again |= spent[turned[k]]
                if slack > 0 and again:
                    continue
                for to in kinds:
                    # A part of the label goes to another label; what parts the others goes to the label.
                    if wide == 0 and (to == mine) != (outside == 1):
                        continue
                    if wide > 0 and to != mine:
                        continue
                    change = _change(
                        turned, count, to, tets, label, neighbours, starts, around, excess, local
                    )
                    if change < best_change or (change == best_change < slack and amount < best_volume):
                        best_change, best_volume, best_to = change, amount, to
                        best = turned[:count].copy()
    if best_change >= slack:
        return False
    for t in best:
        label[t] = best_to
        spent[t] |= slack > 0
    for t in best:
        for i in range(4):
            v = tets[t, i]
            excess[v] = _excess(v, tets, label, neighbours, starts, around, local)
    return True
