# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames to stack: cheap noise where only the time counts, simulated star fields where stars are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

SKY = (1000.0, 720.0, 1080.0)  # ADU, of R, G, B
NOISE = 20.0  # ADU
OUTLIERS = 1e-3  # share of the samples
BORDER = 0.04  # widest NaN border as a share of the frame
FULL_SCALE = 65535.0  # Siril takes floating-point samples as shares of this


def noise_frames(count: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return sky, Gaussian noise and 0.1 % outliers: float32 (n, H, W, 3), finite."""
    rng = np.random.default_rng(seed)
    frames = np.empty((count, *shape, 3), dtype=np.float32)
    for frame in frames:
        rng.standard_normal(out=frame, dtype=np.float32)
        frame *= NOISE
        frame += np.asarray(SKY, dtype=np.float32)
        hit = rng.integers(0, frame.size, round(OUTLIERS * frame.size))
        frame.reshape(-1)[hit] += rng.uniform(500, 5000, hit.size).astype(np.float32)
    return frames


def add_nan_borders(frames: np.ndarray, seed: int = 1) -> None:
    """Set a border of each frame to NaN, in place, as a shift of up to 4 % each way leaves it."""
    for frame, (down, right) in zip(frames, _shifts(len(frames), frames.shape[1:3], seed), strict=True):
        _blank(frame, down, right)


def _shifts(count: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    reach = np.maximum(1, np.rint(BORDER * np.asarray(shape))).astype(int)
    return np.random.default_rng(seed).integers(-reach, reach + 1, (count, 2))


def _blank(frame: np.ndarray, down: int, right: int) -> None:
    """Set the rows and columns to NaN that a shift leaves without data; positive ones at the top and left."""
    for axis, shift in enumerate((down, right)):
        if shift:
            np.moveaxis(frame, axis, 0)[slice(shift) if shift > 0 else slice(shift, None)] = np.nan


def simulated_frames(count: int, shape: tuple[int, int]) -> list[np.ndarray]:
    """Return star fields shifted by up to 40 px and turned by up to 6 degrees; the first is the reference."""
    from nanstack.truth.simulation import simulate_group

    return [frame.data for frame in simulate_group(count, shape, seed=0)[0]]


def write_npy(frames: Sequence[np.ndarray], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        np.save(folder / f"light_{number:05d}.npy", frame)


def write_fits(frames: Sequence[np.ndarray], folder: Path) -> None:
    """Write frames as Siril wants them: planes first, numbered, float32 from 0 to 1."""
    from astropy.io import fits

    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        planes = np.moveaxis(frame, -1, 0) / np.float32(FULL_SCALE)
        fits.writeto(folder / f"light_{number:05d}.fit", planes)


def write_many_npy(count: int, shape: tuple[int, int], folder: Path) -> None:
    """Write frames one by one; each is the noise of one of eight, moved along its rows, with its NaN border."""
    folder.mkdir(parents=True)
    grains = noise_frames(8, shape)
    for number, (down, right) in enumerate(_shifts(count, shape, seed=2)):
        frame = np.roll(grains[number % 8], 7 * (number // 8), axis=1)
        _blank(frame, down, right)
        np.save(folder / f"light_{number + 1:05d}.npy", frame)
