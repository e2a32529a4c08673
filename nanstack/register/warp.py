# SPDX-License-Identifier: GPL-3.0-or-later
"""Resample a frame onto a result's pixels; samples and footprint come out of one pass.

A sample is valid if and only if every tap that its interpolation used lies inside the frame and is finite. There is
no fill value: what is not valid is NaN, in all channels at once. Where a coordinate falls on the grid, one tap alone is
used along that axis: a shift by whole pixels is an exact copy.

Beside a star that is sharper than the kernel, whose negative lobes would dig a dark ring, a sample is made without
them: `nanstack.register.rings.summed`.

`warp` takes an affine transform, `warp_mesh` any mapping that is smooth. Both run a compiled kernel where Numba is
installed, else the same definition in NumPy (`warp_numpy`, `warp_mesh_numpy`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from nanstack import compilation
from nanstack.arrays import float_frame, real_array, to_float32
from nanstack.register.mesh import Box, Mesh
from nanstack.register.rings import summed

INTERPOLATIONS = ("bicubic", "lanczos3")
BLOCK_PIXELS = 2**14  # that the NumPy definition handles at once
REACH = 3  # pixels to the farthest tap
NEAREST = 0, 1  # the taps along an axis between which a coordinate lies
PHASES = 64  # places between two samples over which noise is averaged
MAX_CHANNELS = 4  # warped at once: each number of them takes a compilation, and many never end


def warp(frame: np.ndarray, transform: np.ndarray, interpolation: str = "bicubic") -> np.ndarray:
    """Resample a frame at the transformed pixels of the reference.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, C)
        Samples in ADU; not modified. A pixel with a non-finite channel is no data in all of them.
    transform : ndarray, shape (2, 3)
        Maps a reference pixel (x, y, 1) to a frame pixel; coordinates are used exactly, without rounding.
    interpolation : {'bicubic', 'lanczos3'}
        Keys' cubic convolution (a = -1/2, IEEE Trans. ASSP 29, 1153) or a Lanczos window of 3 lobes, normalised.

    Returns
    -------
    ndarray of float32, same shape as `frame`
        NaN outside the frame's footprint, and where what is interpolated is too large for float32.

    Raises
    ------
    ValueError
        For another number of dimensions, samples that are no real numbers, a transform that is not finite, or an
        unknown interpolation.
    """
    frame = _checked(frame, interpolation)
    transform = real_array(transform, "transform").astype(np.float64)
    if transform.shape != (2, 3) or not np.isfinite(transform).all():
        raise ValueError(f"transform must be 2 x 3 finite numbers, not {transform.tolist()}")
    kernels = _compiled()
    kernel = kernels.warp_kernel if kernels else warp_numpy
    return _resampled(frame, frame.shape[:2], lambda samples: kernel(samples, transform, interpolation == "lanczos3"))


def warp_mesh(frame: np.ndarray, mesh: Mesh, interpolation: str = "bicubic") -> np.ndarray:
    """Resample a frame at the pixels of a part of a result, wherever these lie in the frame.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, C)
        As for `warp`.
    mesh : nanstack.register.mesh.Mesh
        Where the pixels of the part lie in the frame.
    interpolation : {'bicubic', 'lanczos3'}

    Returns
    -------
    ndarray of float32, shape (h, w) or (h, w, C)
        The part of the result that `mesh.part` names; NaN outside the frame's footprint.

    Raises
    ------
    ValueError
        For another number of dimensions, samples that are no real numbers, or an unknown interpolation.
    """
    frame = _checked(frame, interpolation)
    kernels = _compiled()
    kernel = kernels.warp_mesh_kernel if kernels else warp_mesh_numpy
    shown = _resampled(frame, mesh.box.shape, lambda samples: kernel(samples, mesh, interpolation == "lanczos3"))
    if mesh.box == mesh.part:
        return shown
    out = np.full((*mesh.part.shape, *frame.shape[2:]), np.nan, dtype=np.float32)
    out[mesh.box.within(mesh.part)] = shown
    return out


def noise_left(pattern: str, channels: int, interpolation: str = "bicubic") -> np.ndarray:
    """Return what share of a sample's variance interpolation leaves, on average over all places between samples.

    It is the sum of the squared taps, for noise that differs from sample to sample; that of a colour frame, which was
    debayered before, is alike in neighbours already, and more of it is left.

    Parameters
    ----------
    pattern : str
        Of a Bayer mosaic; empty for mono and colour.
    channels : int
    interpolation : {'bicubic', 'lanczos3'}

    Returns
    -------
    ndarray of float64, shape (C,)
        Of a mosaic's green it is half, the mean of two photosites' share.
    """
    between = (np.arange(PHASES) + 0.5) / PHASES
    taps = _taps(interpolation == "lanczos3")
    weights = normalised((lanczos3 if interpolation == "lanczos3" else keys)(np.subtract.outer(taps, between)))
    left = np.mean(np.sum(weights**2, axis=0)) ** 2
    return left * np.array([1.0, 0.5, 1.0]) if pattern else np.full(channels, left)


def _checked(frame: np.ndarray, interpolation: str) -> np.ndarray:
    """Return a frame as float32, or say what is wrong with it or the interpolation."""
    frame = to_float32(float_frame(frame))
    if frame.ndim not in (2, 3):
        raise ValueError(f"frame must be (H, W) or (H, W, C), not {frame.shape}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {interpolation!r}")
    return frame


def _resampled(frame: np.ndarray, shape: tuple[int, int], kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return what a kernel makes of a frame: (h, w) or (h, w, C); many channels are done one by one."""
    if not frame.size:
        return np.full((*shape, *frame.shape[2:]), np.nan, dtype=np.float32)
    if frame.ndim == 3 and frame.shape[2] > MAX_CHANNELS:
        whole = np.where(np.isfinite(frame).all(axis=2, keepdims=True), frame, np.float32(np.nan))
        out = np.stack([_resampled(whole[..., c], shape, kernel) for c in range(frame.shape[2])], axis=2)
        out[~np.isfinite(out).all(axis=2)] = np.nan
        return out
    samples = np.ascontiguousarray(np.atleast_3d(frame)).view(np.ndarray)
    samples.flags.writeable = False  # one type of array, so one compilation, for memory maps and all others
    return kernel(samples).reshape((*shape, *frame.shape[2:]))


def warp_numpy(frame: np.ndarray, transform: np.ndarray, lanczos: bool) -> np.ndarray:
    """Define the warp, in NumPy: what the compiled kernel is tested against.

    Parameters
    ----------
    frame : ndarray of float32, shape (H, W, C)
    transform : ndarray of float64, shape (2, 3)
    lanczos : bool
        Lanczos-3 instead of cubic convolution.

    Returns
    -------
    ndarray of float32, shape (H, W, C)
    """
    height, width, _ = frame.shape
    source = _Source.of(frame, lanczos)
    out = np.empty(frame.shape, dtype=np.float32)
    column = np.arange(width, dtype=np.float64)
    for rows in blocks(height, width):
        row = np.arange(rows.start, rows.stop, dtype=np.float64)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # farther away than a number can say
            x = transform[0, 0] * column + (transform[0, 1] * row + transform[0, 2])
            y = transform[1, 0] * column + (transform[1, 1] * row + transform[1, 2])
        out[rows] = _sampled(source, x, y)
    return out


def warp_mesh_numpy(frame: np.ndarray, mesh: Mesh, lanczos: bool) -> np.ndarray:
    """Define the warp through a mesh, in NumPy: what the compiled kernel is tested against.

    Parameters
    ----------
    frame : ndarray of float32, shape (H, W, C)
    mesh : nanstack.register.mesh.Mesh
    lanczos : bool
        Lanczos-3 instead of cubic convolution.

    Returns
    -------
    ndarray of float32, shape (h, w, C)
        The part of the result that `mesh.box` names.
    """
    top, _, left, right = mesh.box
    height, width = mesh.box.shape
    source = _Source.of(frame, lanczos)
    out = np.empty((height, width, frame.shape[2]), dtype=np.float32)
    for rows in blocks(height, width):
        out[rows] = _sampled(source, *mesh.positions(Box(top + rows.start, top + rows.stop, left, right)))
    return out


def blocks(height: int, width: int) -> Iterator[slice]:
    """Yield blocks of rows so small that what is computed for their pixels stays in the cache."""
    rows = max(1, BLOCK_PIXELS // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


@dataclass(frozen=True)
class _Source:
    """A frame as it is sampled: plane by plane, with a margin as wide as taps reach.

    Attributes
    ----------
    planes : ndarray of float32, shape (C, pixels with their margin)
        Zero where there is no data.
    usable : ndarray of uint8, shape (pixels with their margin,)
        Whether all taps are there: bit 0 the pixel alone, 1 along its row, 2 along its column, 3 both.
    shape : tuple of int
        (H, W)
    lanczos : bool
    """

    planes: np.ndarray
    usable: np.ndarray
    shape: tuple[int, int]
    lanczos: bool

    @classmethod
    def of(cls, frame: np.ndarray, lanczos: bool) -> _Source:
        """Take a frame (H, W, C) apart."""
        height, width, channels = frame.shape
        planes = np.full((channels, height + 2 * REACH, width + 2 * REACH), np.float32(np.nan))
        valid = np.zeros(planes.shape[1:], dtype=bool)
        inner = np.s_[REACH : REACH + height, REACH : REACH + width]
        valid[inner] = np.isfinite(frame).all(axis=2)
        np.copyto(planes[(slice(None), *inner)], np.moveaxis(frame, 2, 0), where=valid[inner])
        row, column = _all_taps(valid, lanczos, axis=1), _all_taps(valid, lanczos, axis=0)
        masks = valid, row, column, _all_taps(row, lanczos, axis=0)
        usable = sum(mask.astype(np.uint8) << bit for bit, mask in enumerate(masks)).ravel()
        return cls(planes.reshape(channels, valid.size), usable, (height, width), lanczos)


def _taps(lanczos: bool) -> np.ndarray:
    return np.arange(-2, 4) if lanczos else np.arange(-1, 3)


def _all_taps(valid: np.ndarray, lanczos: bool, axis: int) -> np.ndarray:
    """Tell of each pixel whether its taps along an axis are all valid; the margin is wider than they reach."""
    return np.logical_and.reduce([np.roll(valid, -tap, axis) for tap in _taps(lanczos)])


def _sampled(source: _Source, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the samples (h, w, C) at coordinates (h, w)."""
    height, width = source.shape
    taps, weigh = _taps(source.lanczos), lanczos3 if source.lanczos else keys
    on_frame = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = np.where(on_frame, x, 0.0), np.where(on_frame, y, 0.0)
    left, above = np.floor(x), np.floor(y)
    weights_x = normalised(weigh(np.subtract.outer(taps, x - left) * -1.0))
    weights_y = normalised(weigh(np.subtract.outer(taps, y - above) * -1.0))
    pitch = width + 2 * REACH
    place = (above.astype(np.intp) + REACH) * pitch + left.astype(np.intp) + REACH
    used = (x != left).astype(np.uint8) + 2 * (y != above)  # on the grid, the one tap of weight 1 is used alone
    complete = on_frame & ((source.usable[place] >> used) & 1).astype(bool)
    pairs = [(i, j) for i in range(len(taps)) for j in range(len(taps))]
    weights = np.array([weights_y[i] * weights_x[j] for i, j in pairs])
    around = [place + (taps[i] * pitch + taps[j]) for i, j in pairs]
    nearest = [taps[i] in NEAREST and taps[j] in NEAREST for i, j in pairs]
    sums = [summed(weights, np.array([plane[tap] for tap in around]), nearest) for plane in source.planes]
    total = np.reshape(sums, (len(source.planes), *x.shape))
    samples = to_float32(total)
    complete &= np.isfinite(samples).all(axis=0)
    return np.moveaxis(np.where(complete, samples, np.float32(np.nan)), 0, -1)


def keys(t: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -1/2."""
    t = np.abs(t)
    inner = (1.5 * t - 2.5) * t * t + 1.0
    outer = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0.0))


def lanczos3(t: np.ndarray) -> np.ndarray:
    """sinc(t) sinc(t / 3); zero at whole numbers, where sin(pi t) is only nearly so."""
    t = np.abs(t)
    return np.where((t < 3) & ((t != np.floor(t)) | (t == 0)), np.sinc(t) * np.sinc(t / 3), 0.0)


def normalised(weights: np.ndarray) -> np.ndarray:
    """Return the weights of taps, along the first axis, so that they add up to 1."""
    return weights / weights.sum(axis=0)


@compilation.where_numba_is("frames are warped by NumPy, some 10 times slower")
def _compiled() -> ModuleType:
    from nanstack.register import _warp_kernel

    return _warp_kernel
