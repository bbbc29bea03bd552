"""Fronts: a dissection spelt out in unknowns, what enters each front, and which subtrees two threads may take.

Every array that `solver.elimination` walks over is found here once for a pattern. A subtree of the elimination tree is
a contiguous range of supernodes and of places, and two subtrees neither of which contains the other share no
unknown. `Shares` deals such subtrees out in two equal parts; what is above them both is left to one thread. The parts
depend on the tree alone, never on how many threads there are, so that sums come out the same with one thread or two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from solver.dissection import Dissection, Ints, children_of

Flags = NDArray[np.bool_]
# Subtrees are split this often at most, in search of two equal parts with little above them.
SPLITS = 24


@dataclass(frozen=True)
class Shares:
    """Supernodes by who works on them.

    Parameters
    ----------
    first, second : ndarray of int64
        Supernodes of the two parts, children before parents.
    top : ndarray of int64
        Supernodes above both.
    top_places : ndarray of int64
        Their places in the elimination order.
    """

    first: Ints
    second: Ints
    top: Ints
    top_places: Ints

    @staticmethod
    def of(starts: Ints, parent: Ints, children: tuple[Ints, Ints], cost: Ints) -> Shares:
        """Parts whose work is soonest done, given the cost of every supernode."""
        total, size = cost.astype(np.float64), np.ones(len(parent), dtype=np.int64)
        for s, above in enumerate(parent):
            if above >= 0:
                total[above] += total[s]
                size[above] += size[s]
        roots: list[int] = np.flatnonzero(parent < 0).tolist()
        top: list[int] = []
        soonest, best = np.inf, (roots, top)
        for _ in range(SPLITS):
            done = max(_dealt(roots, total)[1]) + float(cost[top].sum())
            if done < soonest:
                soonest, best = done, (roots, top)
            heaviest = max(roots, key=lambda s: (total[s], s))
            below = children[1][children[0][heaviest] : children[0][heaviest + 1]].tolist()
            roots, top = [s for s in roots if s != heaviest] + below, [*top, heaviest]
            if not below:
                break
        dealt = _dealt(best[0], total)[0]
        none = np.zeros(0, dtype=np.int64)
        first, second = (
            np.sort(np.concatenate([none, *(np.arange(s - size[s] + 1, s + 1) for s in part)]))
            for part in dealt
        )
        above_all = np.sort(np.array(best[1], dtype=np.int64))
        places = [np.arange(starts[s], starts[s + 1]) for s in above_all]
        return Shares(first, second, above_all, np.concatenate([none, *places]))


def _dealt(roots: list[int], total: NDArray[np.float64]) -> tuple[tuple[list[int], list[int]], list[float]]:
    """Subtrees dealt out in two parts, the heaviest first, and the load of each part."""
    parts: tuple[list[int], list[int]] = ([], [])
    loads = [0.0, 0.0]
    for s in sorted(roots, key=lambda s: (-total[s], s)):
        least = int(loads[1] < loads[0])
        parts[least].append(s)
        loads[least] += float(total[s])
    return parts, loads


@dataclass(frozen=True)
class Fronts:
    """Dissection spelt out in unknowns: each front's own (positive ones first), then those it reaches.

    Parameters
    ----------
    order : ndarray, shape (N,), int64
        Unknown at each place.
    starts : ndarray, shape (s + 1,), int64
        First place of each front.
    row_starts : ndarray, shape (s + 1,), int64
    rows : ndarray, int64
        Places reached, ascending in each front.
    relative : ndarray, int64
        Of each entry of `rows`, its row in the front of the parent.
    panel_starts : ndarray, shape (s + 1,), int64
        First number of each front's own rows, which are stored as a rectangle.
    children : tuple of ndarray
        See `solver.dissection.children_of`.
    entry_first, entry, entry_row, entry_column : ndarray
        For each front, the matrix entries that enter it, and at which row and column.
    update_starts : ndarray, shape (s,), int64
        Where the update of each front is kept until its parent takes it.
    update_room, largest : int
        Numbers to keep room for, for all updates and for the largest front.
    shares : Shares
    """

    order: Ints
    starts: Ints
    row_starts: Ints
    rows: Ints
    relative: Ints
    panel_starts: Ints
    children: tuple[Ints, Ints]
    entry_first: Ints
    entry: Ints
    entry_row: Ints
    entry_column: Ints
    update_starts: Ints
    update_room: int
    largest: int
    shares: Shares

    @staticmethod
    def of(tree: Dissection, pattern: sparse.csr_array, node: Ints, negative: Flags) -> Fronts:
        """Fronts of a tree over the nodes that the unknowns of a pattern belong to."""
        supernodes = len(tree.parent)
        place_of_node = np.empty(len(tree.order), dtype=np.int64)
        place_of_node[tree.order] = np.arange(len(tree.order))
        owner_of_place = np.repeat(np.arange(supernodes), np.diff(tree.starts))
        owner = owner_of_place[place_of_node[node]]
        # One key instead of three: a sort of integers is several times faster.
        order = np.argsort((owner * 2 + negative) * len(tree.order) + place_of_node[node], kind="stable")
        starts = np.searchsorted(owner[order], np.arange(supernodes + 1)).astype(np.int64)
        children = children_of(tree.parent)
        row_starts, rows, relative = _unknown_rows(
            tree.starts, tree.row_starts, tree.rows, tree.parent, owner_of_place,
            *_node_unknowns(order, place_of_node[node], negative, len(tree.order)), starts,
        )  # fmt: skip
        wide, tall = np.diff(starts), np.diff(row_starts)
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        entry_first, entry, entry_row, entry_column = _entry_places(
            pattern.indptr.astype(np.int64), pattern.indices.astype(np.int64), place, owner[order],
            starts, row_starts, rows,
        )  # fmt: skip
        shares = Shares.of(starts, tree.parent, children, wide * (wide + tall))
        update_starts, room = _update_places(tall * (tall + 1) // 2, children, shares)
        return Fronts(
            order, starts, row_starts, rows, relative,
            np.concatenate([[0], np.cumsum(wide * (wide + tall))]).astype(np.int64),
            children, entry_first, entry, entry_row, entry_column, update_starts, room,
            int((wide + tall).max()), shares,
        )  # fmt: skip


def node_graph(pattern: sparse.csr_array, node: Ints, count: int) -> sparse.csr_array:
    """Adjacency of nodes whose unknowns meet in the matrix, with the diagonal."""
    listed = np.argsort(node, kind="stable").astype(np.int64)
    first = np.searchsorted(node[listed], np.arange(count + 1)).astype(np.int64)
    row, column = _node_pairs(
        pattern.indptr.astype(np.int64), pattern.indices.astype(np.int64), node, listed, first
    )
    both = np.concatenate([row, column]), np.concatenate([column, row])
    graph = sparse.coo_array((np.ones(2 * len(row), dtype=np.int32), both), shape=(count, count)).tocsr()
    graph.sum_duplicates()
    return graph


@numba.njit(nogil=True, cache=True)
def _node_pairs(indptr, indices, node, listed, first):  # type: ignore[no-untyped-def]
    """Pairs of nodes that meet, each once for each node in whose rows it is found."""
    count = len(first) - 1
    rows, columns = np.empty(16 * count + 16, dtype=np.int64), np.empty(16 * count + 16, dtype=np.int64)
    seen, at = np.full(count, -1, dtype=np.int64), 0
    for a in range(count):
        for i in listed[first[a] : first[a + 1]]:
            for k in range(indptr[i], indptr[i + 1]):
                b = node[indices[k]]
                if seen[b] == a:
                    continue
                seen[b] = a
                if at == len(rows):
                    rows = np.concatenate((rows, np.empty(len(rows), dtype=np.int64)))
                    columns = np.concatenate((columns, np.empty(len(columns), dtype=np.int64)))
                rows[at], columns[at] = a, b
                at += 1
    return rows[:at].copy(), columns[:at].copy()


def _node_unknowns(order: Ints, place_of: Ints, negative: Flags, count: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Places of the unknowns of the node at each place: positive ones (first, list), then negative ones."""
    node, kind = place_of[order], negative[order]
    found = []
    for sign in (False, True):
        places = np.flatnonzero(kind == sign)
        places = places[np.argsort(node[places], kind="stable")]
        found += [
            np.searchsorted(node[places], np.arange(count + 1)).astype(np.int64),
            places.astype(np.int64),
        ]
    return found[0], found[1], found[2], found[3]


@numba.njit(nogil=True, cache=True)
def _unknown_rows(  # type: ignore[no-untyped-def]
    node_starts, node_row_starts, node_rows, parent, owner,
    positive_first, positive, negative_first, negative, starts,
):  # fmt: skip
    """Rows of every front in unknowns, ascending, and their places in the parent's front."""
    count = len(parent)
    row_starts = np.zeros(count + 1, dtype=np.int64)
    for s in range(count):
        size = 0
        for k in range(node_row_starts[s], node_row_starts[s + 1]):
            p = node_rows[k]
            size += positive_first[p + 1] - positive_first[p] + negative_first[p + 1] - negative_first[p]
        row_starts[s + 1] = row_starts[s] + size
    rows = np.empty(row_starts[count], dtype=np.int64)
    for s in range(count):
        at, k, last = row_starts[s], node_row_starts[s], node_row_starts[s + 1]
        while k < last:
            end = k
            while end < last and owner[node_rows[end]] == owner[node_rows[k]]:
                end += 1
            for m in range(k, end):
                for q in positive[positive_first[node_rows[m]] : positive_first[node_rows[m] + 1]]:
                    rows[at] = q
                    at += 1
            for m in range(k, end):
                for q in negative[negative_first[node_rows[m]] : negative_first[node_rows[m] + 1]]:
                    rows[at] = q
                    at += 1
            k = end
    relative = np.zeros(len(rows), dtype=np.int64)
    for s in range(count):
        above = parent[s]
        if above < 0:
            continue
        wide, m = starts[above + 1] - starts[above], row_starts[above]
        for k in range(row_starts[s], row_starts[s + 1]):
            if rows[k] < starts[above + 1]:
                relative[k] = rows[k] - starts[above]
                continue
            while rows[m] < rows[k]:
                m += 1
            relative[k] = wide + m - row_starts[above]
    return row_starts, rows, relative


@numba.njit(nogil=True, cache=True)
def _entry_places(indptr, indices, place, owner, starts, row_starts, rows):  # type: ignore[no-untyped-def]
    """Per front: which matrix entries enter it, and at which row and column of its upper triangle."""
    count, unknowns = len(starts) - 1, len(place)
    first = np.zeros(count + 1, dtype=np.int64)
    for i in range(unknowns):
        for k in range(indptr[i], indptr[i + 1]):
            first[owner[min(place[i], place[indices[k]])] + 1] += 1
    for s in range(count):
        first[s + 1] += first[s]
    entry = np.empty(first[count], dtype=np.int32)
    low, high = np.empty(first[count], dtype=np.int32), np.empty(first[count], dtype=np.int32)
    following = first.copy()
    for i in range(unknowns):
        for k in range(indptr[i], indptr[i + 1]):
            p, q = place[i], place[indices[k]]
            if p > q:
                p, q = q, p
            at = following[owner[p]]
            following[owner[p]] += 1
            entry[at], low[at], high[at] = k, p, q
    row_of = np.zeros(unknowns, dtype=np.int32)
    for s in range(count):
        wide = starts[s + 1] - starts[s]
        for k in range(row_starts[s], row_starts[s + 1]):
            row_of[rows[k]] = wide + k - row_starts[s]
        for k in range(first[s], first[s + 1]):
            low[k] -= starts[s]
            high[k] = high[k] - starts[s] if high[k] < starts[s + 1] else row_of[high[k]]
    return first, entry, low, high


def _update_places(room: Ints, children: tuple[Ints, Ints], shares: Shares) -> tuple[Ints, int]:
    """Where each update is kept: a stack for each part, for children are taken in the order they were made."""
    at = np.zeros(len(room), dtype=np.int64)
    on_top = np.zeros(len(room), dtype=bool)
    on_top[shares.top] = True
    most = 0
    for part in (shares.first, shares.second, shares.top):
        end = most
        for s in part.tolist():
            below = children[1][children[0][s] : children[0][s + 1]]
            mine = below[on_top[below] == on_top[s]]
            at[s] = at[mine[0]] if len(mine) else end
            end = int(at[s] + room[s])
            most = max(most, end)
    return at, most
