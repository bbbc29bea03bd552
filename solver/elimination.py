"""Elimination: the compiled loops that factor fronts and substitute through them.

A front is a dense symmetric matrix over a supernode's own unknowns and those it reaches, of which the upper triangle
is kept. Its own rows are eliminated in strips (left-looking blocked LDLᵀ, D = ±1), the rest is the update its parent
takes. Matrix products go to the BLAS. What substitution reads again and again is kept small: each finished row is
scaled by its largest entry and kept in half precision (`panels`, `scales`), its pivot in single precision; sums are
in single precision.
"""

from __future__ import annotations

import numba
import numpy as np

from solver.blas import half_of, sgemm, single_of, strsm

# A pivot below this share of what stood on the diagonal before is lost to rounding in single precision.
SMALLEST_PIVOT = 1e-5
STRIP, UPDATE_STRIP = 32, 128
# Rows are scaled to this before they are rounded to half precision, whose largest number is 65,504.
HALF_RANGE = 1024.0
FAST = {"contract", "reassoc", "nsz"}


@numba.njit(nogil=True, cache=True)
def factorise(  # type: ignore[no-untyped-def]
    part, gemm, trsm, starts, row_starts, relative, child_first, child_list,
    entry_first, entry, entry_row, entry_column, values, update_starts, updates, largest,
    panel_starts, panels, scales, pivots, signs,
):  # fmt: skip
    """Eliminate the fronts of `part` in turn; updates of fronts outside of it must be there."""
    work = np.empty(largest * largest, dtype=np.float32)
    for s in part:
        own = starts[s + 1] - starts[s]
        size = own + row_starts[s + 1] - row_starts[s]
        front = work[: size * size].reshape(size, size)
        for i in range(size):
            front[i, i:] = np.float32(0.0)
        for k in range(entry_first[s], entry_first[s + 1]):
            front[entry_row[k], entry_column[k]] += np.float32(values[entry[k]])
        for c in child_list[child_first[s] : child_first[s + 1]]:
            _take_update(front, relative[row_starts[c] : row_starts[c + 1]], updates, update_starts[c])
        first = starts[s]
        _eliminate(front, own, signs[first : first + own], gemm, trsm)
        _update_rest(front, own, signs[first : first + own], gemm)
        at = update_starts[s]
        for i in range(own, size):
            updates[at : at + size - i] = front[i, i:]
            at += size - i
        for i in range(own):
            pivots[first + i] = np.float32(1.0) / front[i, i]
            scales[first + i] = _keep_half(front[i], i + 1, panels, panel_starts[s] + i * size)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _take_update(front, target, updates, at):  # type: ignore[no-untyped-def]
    """Add a child's update; where its unknowns are next to each other in the front, in one run."""
    size = len(target)
    for i in range(size):
        row, length = front[target[i]], size - i
        update = updates[at : at + length]
        at += length
        j = 0
        while j < length:
            first = target[i + j]
            if target[size - 1] - first == length - 1 - j:
                there, here = row[first : first + length - j], update[j:]
                for k in range(len(here)):
                    there[k] += here[k]
                break
            row[first] += update[j]
            j += 1


@numba.njit(nogil=True, cache=True)
def _eliminate(front, own, signs, gemm, trsm):  # type: ignore[no-untyped-def]
    """LDLᵀ of the first `own` rows of a front; fills their signs."""
    size = len(front)
    base, wide = front.ctypes.data, np.intp(size)
    before = np.empty(STRIP, dtype=np.float32)
    for start in range(0, own, STRIP):
        end = min(start + STRIP, own)
        for i in range(start, end):
            before[i - start] = abs(front[i, i])
        _subtract(front, 0, start, start, end, signs, gemm)
        for i in range(start, end):
            for q in range(start, i):
                factor = signs[q] * front[q, i]
                for j in range(i, end):
                    front[i, j] -= factor * front[q, j]
            pivot = front[i, i]
            signs[i] = np.float32(1.0) if pivot > 0.0 else np.float32(-1.0)
            if not np.isfinite(pivot):
                signs[i] = np.float32(np.nan)
            lifted = np.sqrt(max(abs(pivot), np.float32(SMALLEST_PIVOT) * before[i - start]))
            for j in range(i + 1, end):
                front[i, j] *= signs[i] / lifted
            front[i, i] = lifted
        if size > end:
            # The triangle is Uᵀ D U with rows of U scaled; the rest follows from Uᵀ (D X) = rest.
            strsm(
                trsm, np.intp(size - end), np.intp(end - start),
                base + 4 * (start * size + start), wide, base + 4 * (start * size + end), wide,
            )  # fmt: skip
            for i in range(start, end):
                if not signs[i] > 0.0:
                    for j in range(end, size):
                        front[i, j] *= signs[i]


@numba.njit(nogil=True, cache=True)
def _subtract(front, first, last, start, end, signs, gemm):  # type: ignore[no-untyped-def]
    """Take the finished rows first…last out of the rows start…end, from column `start` on."""
    size = len(front)
    base, wide = front.ctypes.data, np.intp(size)
    while first < last:
        run = first + 1
        while run < last and signs[run] == signs[first]:
            run += 1
        row = base + 4 * (first * size + start)
        sgemm(
            gemm, np.intp(1), np.intp(size - start), np.intp(end - start), np.intp(run - first),
            np.float32(-signs[first]), row, wide, row, wide,
            np.float32(1.0), base + 4 * (start * size + start), wide,
        )  # fmt: skip
        first = run


@numba.njit(nogil=True, cache=True)
def _update_rest(front, own, signs, gemm):  # type: ignore[no-untyped-def]
    """Schur complement a front hands to its parent, upper triangle, in place."""
    size = len(front)
    for start in range(own, size, UPDATE_STRIP):
        _subtract(front, 0, own, start, min(start + UPDATE_STRIP, size), signs, gemm)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _keep_half(row, start, panels, at):  # type: ignore[no-untyped-def]
    """Round the entries of a row from `start` on to half precision; returns what to multiply them by."""
    largest = np.float32(0.0)
    for value in row[start:]:
        largest = max(largest, abs(value))
    if not largest > 0.0:
        largest = np.float32(1.0)
    factor = np.float32(HALF_RANGE) / largest
    kept, there = panels[at + start : at + len(row)], row[start:]
    for j in range(len(kept)):
        kept[j] = half_of(there[j] * factor)
    return np.float32(1.0) / factor


# The two loops below are where a back-solve spends its time. Slices that start at zero let the compiler see that no
# index is negative, without which it does not vectorise; four rows at once spare it loading y for each.


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _take_four(a, b, c, d, u, v, w, z, y):  # type: ignore[no-untyped-def]
    """Take multiples of four half-precision rows from y."""
    for i in range(len(y)):
        y[i] -= single_of(a[i]) * u + single_of(b[i]) * v + single_of(c[i]) * w + single_of(d[i]) * z


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _dot_four(a, b, c, d, y):  # type: ignore[no-untyped-def]
    """Inner products of four half-precision rows with y."""
    p = q = r = t = np.float32(0.0)
    for i in range(len(y)):
        p += single_of(a[i]) * y[i]
        q += single_of(b[i]) * y[i]
        r += single_of(c[i]) * y[i]
        t += single_of(d[i]) * y[i]
    return p, q, r, t


@numba.njit(nogil=True, cache=True)
def forward(part, starts, row_starts, rows, panel_starts, panels, scales, pivots, x, beyond, largest):  # type: ignore[no-untyped-def]
    """Overwrite the own places of `part` in `x` with L⁻¹ x; what is to be added elsewhere goes to `beyond`."""
    y = np.empty(largest, dtype=np.float32)
    for s in part:
        first, own = starts[s], starts[s + 1] - starts[s]
        reached = rows[row_starts[s] : row_starts[s + 1]]
        size = own + len(reached)
        for j in range(own):
            y[j] = x[first + j] + beyond[first + j]
        y[own:size] = np.float32(0.0)
        inverse, scale = pivots[first : first + own], scales[first : first + own]
        at, j = panel_starts[s], 0
        while j + 4 <= own:
            a, b = panels[at : at + size], panels[at + size : at + 2 * size]
            c, d = panels[at + 2 * size : at + 3 * size], panels[at + 3 * size : at + 4 * size]
            p = y[j] * inverse[j]
            u = p * scale[j]
            q = (y[j + 1] - single_of(a[j + 1]) * u) * inverse[j + 1]
            v = q * scale[j + 1]
            r = (y[j + 2] - single_of(a[j + 2]) * u - single_of(b[j + 2]) * v) * inverse[j + 2]
            w = r * scale[j + 2]
            t = y[j + 3] - single_of(a[j + 3]) * u - single_of(b[j + 3]) * v - single_of(c[j + 3]) * w
            t *= inverse[j + 3]
            z = t * scale[j + 3]
            y[j], y[j + 1], y[j + 2], y[j + 3] = p, q, r, t
            j += 4
            _take_four(a[j:], b[j:], c[j:], d[j:], u, v, w, z, y[j:size])
            at += 4 * size
        while j < own:
            y[j] *= inverse[j]
            u, a = y[j] * scale[j], panels[at : at + size]
            j += 1
            for i in range(j, size):
                y[i] -= single_of(a[i]) * u
            at += size
        x[first : first + own] = y[:own]
        for i in range(len(reached)):
            beyond[reached[i]] += y[own + i]


@numba.njit(nogil=True, cache=True)
def backward(part, starts, row_starts, rows, panel_starts, panels, scales, pivots, x, largest):  # type: ignore[no-untyped-def]
    """Overwrite the own places of `part` in `x` with L⁻ᵀ x, from the last front to the first."""
    y = np.empty(largest, dtype=np.float32)
    for s in part[::-1]:
        first, own = starts[s], starts[s + 1] - starts[s]
        reached = rows[row_starts[s] : row_starts[s + 1]]
        size = own + len(reached)
        y[:own] = x[first : first + own]
        for i in range(len(reached)):
            y[own + i] = x[reached[i]]
        inverse, scale = pivots[first : first + own], scales[first : first + own]
        at, j = panel_starts[s + 1], own
        while j % 4:
            j -= 1
            at -= size
            a, total = panels[at : at + size], np.float32(0.0)
            for i in range(j + 1, size):
                total += single_of(a[i]) * y[i]
            y[j] = (y[j] - total * scale[j]) * inverse[j]
        while j:
            j -= 4
            at -= 4 * size
            a, b = panels[at : at + size], panels[at + size : at + 2 * size]
            c, d = panels[at + 2 * size : at + 3 * size], panels[at + 3 * size : at + 4 * size]
            k = j + 4
            p, q, r, t = _dot_four(a[k:], b[k:], c[k:], d[k:], y[k:size])
            t = (y[j + 3] - t * scale[j + 3]) * inverse[j + 3]
            r = (y[j + 2] - (r + single_of(c[j + 3]) * t) * scale[j + 2]) * inverse[j + 2]
            q += single_of(b[j + 2]) * r + single_of(b[j + 3]) * t
            q = (y[j + 1] - q * scale[j + 1]) * inverse[j + 1]
            p += single_of(a[j + 1]) * q + single_of(a[j + 2]) * r + single_of(a[j + 3]) * t
            p = (y[j] - p * scale[j]) * inverse[j]
            y[j], y[j + 1], y[j + 2], y[j + 3] = p, q, r, t
        x[first : first + own] = y[:own]


@numba.njit(nogil=True, cache=True)
def forward_block(  # type: ignore[no-untyped-def]
    path, starts, row_starts, local, panel_starts, panels, scales, pivots, Y, place, gemm, trsm
):
    """L⁻¹ Y for the rows of a path to the root, all columns together, in place.

    `local` leads from a place of the elimination order to a row of Y; `place` are the places a front reaches.
    """
    columns = Y.shape[1]
    for s in path:
        first, own = starts[s], starts[s + 1] - starts[s]
        reached = place[row_starts[s] : row_starts[s + 1]]
        size = own + len(reached)
        if not own:
            continue
        panel = np.zeros((own, size), dtype=np.float32)
        for j in range(own):
            kept = panels[panel_starts[s] + j * size : panel_starts[s] + (j + 1) * size]
            panel[j, j] = np.float32(1.0) / pivots[first + j]
            for i in range(j + 1, size):
                panel[j, i] = single_of(kept[i]) * scales[first + j]
        row = local[first]
        # Row by row stored Y is column-major Yᵀ: Yᵀ ← Yᵀ U⁻¹ with L = Uᵀ.
        strsm(
            trsm, np.intp(columns), np.intp(own), panel.ctypes.data, np.intp(size),
            Y.ctypes.data + 4 * row * columns, np.intp(columns),
        )  # fmt: skip
        if size == own:
            continue
        taken = np.zeros((size - own, columns), dtype=np.float32)
        sgemm(
            gemm, np.intp(1), np.intp(columns), np.intp(size - own), np.intp(own), np.float32(1.0),
            Y.ctypes.data + 4 * row * columns, np.intp(columns),
            panel.ctypes.data + 4 * own, np.intp(size),
            np.float32(0.0), taken.ctypes.data, np.intp(columns),
        )  # fmt: skip
        for i in range(len(reached)):
            Y[local[reached[i]]] -= taken[i]
