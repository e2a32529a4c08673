# SPDX-License-Identifier: GPL-3.0-or-later
"""Tracks: which of all the stars that frames show are one and the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from nanstack.register.links import Link

FIRST_BATCH = 2  # frames; each further batch is as large as all before it
SEED = 16


def linked_tracks(links: Sequence[Link], first_of: np.ndarray) -> np.ndarray:
    """Return the number of the track of each sighting, by the pairs of stars of links; -1 where it is in none.

    Parameters
    ----------
    links : sequence of Link
    first_of : ndarray of int, shape (frames + 1,)
        Where the sightings of each frame begin, and their number.
    """
    count = int(first_of[-1])
    mine = np.concatenate([first_of[link.first] + link.mine for link in links])
    theirs = np.concatenate([first_of[link.second] + link.theirs for link in links])
    graph = scipy.sparse.coo_array((np.ones(len(mine), dtype=np.int8), (mine, theirs)), shape=(count, count))
    return seen_twice(scipy.sparse.csgraph.connected_components(graph, directed=False)[1])


def merged_tracks(points: np.ndarray, frame: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return the number of the track of each sighting, by where it lies; -1 where none is near.

    Frames come in batches, each as large as all before it, in an order that mixes them: what a batch shows is mostly
    known by then, and many frames of one place cost no more than their number times its logarithm.

    Parameters
    ----------
    points : ndarray, shape (n, d)
    frame : ndarray of int, shape (n,)
        In ascending order.
    radius : ndarray, shape (n,)
        How near a sighting must be to its track.
    """
    frames, first = np.unique(frame, return_index=True)
    order = np.random.default_rng(SEED).permutation(len(frames))
    rank = np.empty(len(frames), dtype=np.int64)
    rank[order] = np.arange(len(frames))
    rank = np.repeat(rank, np.diff(np.append(first, len(frame))))
    stars, reach = np.empty((0, points.shape[1])), float(radius.max())
    low, high = 0, FIRST_BATCH
    while low < len(frames):
        batch = points[(rank >= low) & (rank < high)]
        if len(stars):
            batch = batch[~np.isfinite(scipy.spatial.cKDTree(stars).query(batch, distance_upper_bound=reach)[0])]
        if len(batch):
            stars = np.concatenate([stars, _clustered(batch, reach)])
        low, high = high, 2 * high
    track = nearest_track(stars, points, frame, radius)
    counts = np.bincount(track[track >= 0], minlength=len(stars))
    known = counts > 1
    centres = np.stack([np.bincount(track[track >= 0], axis[track >= 0], len(stars)) for axis in points.T], axis=1)
    return seen_twice(nearest_track(centres[known] / counts[known, None], points, frame, radius))


def nearest_track(stars: np.ndarray, points: np.ndarray, frame: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return the number of the star next to each sighting, each at most once a frame; -1 where none is near."""
    track = np.full(len(points), -1)
    if not len(stars):
        return track
    distance, near = scipy.spatial.cKDTree(stars).query(points, distance_upper_bound=float(radius.max()))
    close = np.flatnonzero(distance < radius)
    order = close[np.lexsort((distance[close], near[close], frame[close]))]
    repeats = (np.diff(frame[order], prepend=-1) == 0) & (np.diff(near[order], prepend=-1) == 0)
    order = order[~repeats]
    track[order] = near[order]
    return track


def _clustered(points: np.ndarray, reach: float) -> np.ndarray:
    """Return the middles of clusters of points that are near each other."""
    pairs = scipy.spatial.cKDTree(points).query_pairs(reach, output_type="ndarray")
    ones = np.ones(len(pairs), dtype=np.int8)
    graph = scipy.sparse.coo_array((ones, tuple(pairs.T)), shape=(len(points), len(points)))
    count, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    middles = np.stack([np.bincount(label, axis, count) for axis in points.T], axis=1)
    return middles / np.bincount(label, minlength=count)[:, None]


def seen_twice(track: np.ndarray) -> np.ndarray:
    """Number tracks from 0 without gaps; -1 for those with one sighting."""
    counts = np.bincount(track + 1)
    counts[0] = 0
    numbers = np.full(len(counts), -1)
    numbers[counts > 1] = np.arange(np.count_nonzero(counts > 1))
    return numbers[track + 1]
