# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run needs, loaded while files are still being looked at: libraries, and compiled functions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from importlib import import_module

import numpy as np

from nanstack.compilation import is_compiled
from nanstack.register.mesh import Box, Mesh
from nanstack.settings import CanvasSettings
from nanstack.stack.noise_model import FrameNoise, NoiseRejection

# in the order in which a run asks for them: so no stage waits for what a later one needs
FOR_THE_SURVEY = ("astropy.io.fits", "cv2", "scipy.spatial")
FOR_REGISTRATION = ("scipy.special", "scipy.sparse.csgraph")
FOR_THE_SKY = ("astropy.wcs",)
SIDE = 8  # of what is stacked to no end


def make_ready(settings: CanvasSettings, on_the_sky: bool = False) -> Future:
    """Load libraries, and what Numba has compiled for stacks of raw frames in colour, in a thread of its own.

    What was never compiled on this machine is left alone: that takes seconds, and is said where it is needed.

    Parameters
    ----------
    settings : CanvasSettings
    on_the_sky : bool
        Whether the run will look for its place on the sky.

    Returns
    -------
    Future
        Nobody need wait for it: what goes wrong in it goes wrong again where it matters.
    """
    ready: Future = Future()
    # the program's end does not wait for it: stopped by the user within an import, it would leave that locked for ever
    threading.Thread(target=_load, args=(_steps(settings, on_the_sky), ready), daemon=True).start()
    return ready


def _load(steps: Iterator[Callable[[], object]], ready: Future) -> None:
    """Load step by step, as long as the program does not end."""
    try:
        for step in steps:
            if not threading.main_thread().is_alive():
                break
            step()
        ready.set_result(None)
    except Exception as failure:  # noqa: BLE001  (it is whoever asks for the result that is told)
        ready.set_exception(failure)


def _steps(settings: CanvasSettings, on_the_sky: bool) -> Iterator[Callable[[], object]]:
    for name in (*FOR_THE_SURVEY, *FOR_REGISTRATION, "numba"):
        yield partial(import_module, name)
    yield partial(_load_warp, settings)
    yield partial(_load_rejection, settings)
    yield partial(_load_drizzle, settings)
    for name in FOR_THE_SKY if on_the_sky else ():
        yield partial(import_module, name)


def _load_warp(settings: CanvasSettings) -> None:
    """Resample a few pixels."""
    from nanstack.register import _raw_warp_kernel
    from nanstack.register.raw_warp import warp_mosaic

    if is_compiled(_raw_warp_kernel._fill_from_mosaic):
        nodes, box = np.zeros((2, 2)), Box.whole((SIDE, SIDE))
        mosaic = np.zeros((SIDE, SIDE), np.float32)
        warp_mosaic(mosaic, "RGGB", Mesh(nodes, nodes, SIDE, box, box), settings.interpolation)


def _load_drizzle(settings: CanvasSettings) -> None:
    """Drop a few photosites."""
    from nanstack.stack import drizzle_kernels, light_kernels
    from nanstack.stack.drizzle import Judged, Photosites, Worth, no_sums

    kernels = drizzle_kernels._drop, light_kernels._light, light_kernels._show
    if settings.drizzle is not None and all(map(is_compiled, kernels)):
        box, wide = Box.whole((SIDE, SIDE)), Box(-1, SIDE + 1, -1, SIDE + 1)
        photosites = Photosites(
            np.zeros(box.shape, np.float32), box, (0,) * 4, Mesh(*np.zeros((2, 3, 3)), SIDE, wide, wide), 1.0
        )
        worth = Worth(np.zeros((7, 3)), np.zeros(6), *np.zeros((3, 3)), 1.0)
        judged = Judged(np.zeros((SIDE, SIDE, 3), bool), np.zeros((SIDE, SIDE, 3), np.float32), box, 1)
        sums = no_sums(3, box.shape)
        drizzle_kernels.drop(photosites, worth, judged, settings.drizzle, sums, box)
        light_kernels.shown(sums, light_kernels.lit(judged, sums, box).light, np.ones(box.shape), 1)


def _load_rejection(settings: CanvasSettings) -> None:
    """Stack a few pixels."""
    from nanstack.stack import noise_kernels

    if isinstance(settings.rejection, NoiseRejection) and is_compiled(noise_kernels._stack_noise):
        known = FrameNoise(*np.ones((3, 3, 3)), *np.ones((2, 3)))
        within = np.s_[:SIDE, :SIDE]
        noise_kernels.stack_noise(np.zeros((3, SIDE, SIDE, 3), np.float32), known, settings.rejection, within)
