# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a stack only when all of it has passed by: frames in its pixels, and samples rejected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from nanstack.stack.stacked import StackedCell


class Tally:
    """Counts strips that pass through it.

    Attributes
    ----------
    coverage : ndarray of int64, shape (n + 1,)
        How many pixels have so many frames: 0 to the highest number there is.
    rejected, samples, holes, masked, spared : int
        See `nanstack.stack.stacked.StackedCell`.
    """

    def __init__(self) -> None:
        self.coverage = np.zeros(1, dtype=np.int64)
        self.rejected = self.samples = self.holes = self.masked = self.spared = 0

    def over(self, strips: Iterable[tuple[int, StackedCell]]) -> Iterator[tuple[int, StackedCell]]:
        """Give strips on, and count them."""
        for top, strip in strips:
            found = np.bincount(strip.coverage.ravel(), minlength=len(self.coverage))
            found[: len(self.coverage)] += self.coverage
            self.coverage = found
            self.rejected, self.samples = self.rejected + strip.rejected, self.samples + strip.samples
            self.holes += strip.holes
            self.masked, self.spared = self.masked + strip.masked, self.spared + strip.spared
            yield top, strip

    def cards(self) -> dict[str, tuple[int | float, str]]:
        """Return the cards that say so, for `nanstack.io.canvas_fits.write_canvas` to write last."""
        cards = {"NPA_COVX": (len(self.coverage) - 1, "most frames in a pixel")}
        if self.coverage[1:].any():
            cards["NPA_COVM"] = (median_coverage(self.coverage), "median of the frames in a pixel with data")
        if self.samples:
            share = round(100 * self.rejected / self.samples, 4)
            cards["NPA_REJP"] = (share, "[%] rejected of the samples with data")
        if self.holes:
            cards["NPA_HOLE"] = (
                round(share_of_holes(self.coverage, self.holes), 4),
                "[%] of the pixels seen: no drop reached them",
            )
        return cards


def share_of_holes(counts: np.ndarray, holes: int) -> float:
    """Return how many of the pixels that frames saw no drop reached, in percent; counts are as below."""
    seen = holes + int(np.sum(counts[1:]))
    return 100 * holes / seen if seen else 0.0


def median_coverage(counts: np.ndarray) -> int:
    """Return the median number of frames of the pixels that any frame shows; 0 where there are none.

    Parameters
    ----------
    counts : ndarray of int, shape (n,)
        How many pixels show no frame, one, two ...
    """
    shown = np.cumsum(counts[1:])
    return int(1 + np.searchsorted(shown, shown[-1] / 2)) if len(shown) and shown[-1] else 0
