# SPDX-License-Identifier: GPL-3.0-or-later
"""What of frames is known to show what does not belong into a stack: it does not count where another frame does better.

A mask is made of lines with a radius: a disc around a star has no length, a satellite's trail is long. Where all frames
that show a place are masked there, all count: no place loses its data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nanstack.stack.noise_model import FrameNoise
from nanstack.stack.stacked import StackedCell

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.levels.placed import PlacedFrame
    from nanstack.register.mesh import Box

DARKER = np.float32(4.0)  # noise, by which a single sample is too bright to be held by itself


def masked_on_canvas(placed: PlacedFrame, canvas: Canvas) -> np.ndarray:
    """Return what is masked of a frame in pixels of a canvas: (m, 5), as `PlacedFrame.masked`.

    Lines stay straight: planes of one sky keep them so, and a distortion bends them by less than a mask's margin.
    """
    if not len(placed.masked):
        return placed.masked
    view = placed.frame.view
    x0, y0, x1, y1, radius = placed.masked.T
    ends = (canvas.view.pixels(view.directions(x, y)) for x, y in ((x0, y0), (x1, y1)))
    there = np.column_stack([*(side for end in ends for side in end), radius * canvas.view.focal / view.focal])
    return there[np.isfinite(there).all(axis=1)]


def drawn(masked: np.ndarray, box: Box) -> np.ndarray | None:
    """Return the pixels of a box that a mask covers; None where it covers none.

    Parameters
    ----------
    masked : ndarray of float64, shape (m, 5)
        Ends and radius, in the pixels that the box is counted in.
    box : Box

    Returns
    -------
    ndarray of bool, shape (h, w), or None
    """
    x0, y0, x1, y1, radius = masked.T
    near = np.minimum(x0, x1) - radius < box.right
    near &= np.maximum(x0, x1) + radius > box.left - 1
    near &= np.minimum(y0, y1) - radius < box.bottom
    near &= np.maximum(y0, y1) + radius > box.top - 1
    mask = None
    for line in masked[near]:
        part, covered = _covered(line, box)
        if covered.any():
            mask = np.zeros(box.shape, dtype=bool) if mask is None else mask
            mask[part] |= covered
    return mask


def _covered(line: np.ndarray, box: Box) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the part of a box around a line, and which of its pixels lie within the line's radius."""
    x0, y0, x1, y1, radius = line.tolist()
    left, right = (max(int(min(x0, x1) - radius) - 1, box.left), min(int(max(x0, x1) + radius) + 2, box.right))
    top, bottom = (max(int(min(y0, y1) - radius) - 1, box.top), min(int(max(y0, y1) + radius) + 2, box.bottom))
    x, y = np.arange(left, right) - x0, np.arange(top, bottom)[:, np.newaxis] - y0
    along, down = x1 - x0, y1 - y0
    square = along * along + down * down
    share = np.clip((x * along + y * down) / square, 0, 1) if square > 0 else 0.0
    within = (x - share * along) ** 2 + (y - share * down) ** 2 <= radius * radius
    return np.s_[top - box.top : bottom - box.top, left - box.left : right - box.left], within


def hidden(
    samples: np.ndarray, masks: Sequence[np.ndarray | None], known: FrameNoise
) -> tuple[np.ndarray, np.ndarray] | None:
    """Take masked samples out of a block where another frame shows the place without a mask: they become NaN.

    Where that is a single one, nothing would tell its hot pixels and cosmic rays. A mask covers light that does not
    belong there: what is under it and darker than the single sample, by more than noise, stays beside it.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C)
        Changed in place.
    masks : sequence of (ndarray of bool, shape (h, w), or None)
    known : FrameNoise
        Of the frames.

    Returns
    -------
    gone, stay : ndarray of uint16, shape (h, w)
        How many frames' samples went, and how many stay under a mask as no other frame shows the place. None for no
        mask.
    """
    if all(mask is None for mask in masks):
        return None
    shown = np.isfinite(samples[..., 0])  # no data is none in all colours
    gone, stay, count = (np.zeros(samples.shape[1:3], dtype=np.uint16) for _ in range(3))
    single = np.zeros(samples.shape[1:], dtype=np.float32)
    variance = np.zeros(samples.shape[1:], dtype=np.float32)
    for number, (layer, there, mask) in enumerate(zip(samples, shown, masks, strict=True)):
        is_open = there if mask is None else there & ~mask
        count += is_open
        single[is_open], variance[is_open] = layer[is_open], known.variance_at(number, layer[is_open])
    for number, (layer, there, mask) in enumerate(zip(samples, shown, masks, strict=True)):
        if mask is None:
            continue
        covered = mask & there
        stay += covered & (count == 0)
        away = covered & (count > 0)
        at = np.nonzero(covered & (count == 1))
        less, both = single[at] - layer[at], variance[at] + known.variance_at(number, layer[at])
        away[at] = (less <= DARKER * np.sqrt(both)).all(axis=1)
        layer[away] = np.nan
        gone += away
    return gone, stay


def with_hidden(cell: StackedCell, gone: np.ndarray) -> StackedCell:
    """Return a stacked cell whose samples that masks took out count as covered, and as rejected."""
    number = int(gone.sum()) * cell.image.shape[-1]
    return replace(cell, coverage=cell.coverage + gone, rejected=cell.rejected + number, samples=cell.samples + number)


def with_masked(cell: StackedCell, gone: np.ndarray, stay: np.ndarray) -> StackedCell:
    """Return a stacked cell that says how many samples masks took out, and how many stay under one."""
    masked, left = (int(part.sum()) * cell.image.shape[-1] for part in (gone, stay))
    return replace(cell, masked=masked, spared=left)
