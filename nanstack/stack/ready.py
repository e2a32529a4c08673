# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled functions made ready for a stack, while files are still being looked at."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from nanstack.compilation import is_compiled
from nanstack.register.mesh import Box, Mesh
from nanstack.settings import CanvasSettings
from nanstack.stack.noise_model import FrameNoise, NoiseRejection

SIDE = 8  # of what is stacked to no end


def make_ready(settings: CanvasSettings) -> Future:
    """Load Numba, and what it has compiled for stacks of raw frames in colour, in a thread of its own.

    What was never compiled on this machine is left alone: that takes seconds, and is said where it is needed.

    Returns
    -------
    Future
        Nobody need wait for it: what goes wrong in it goes wrong again where it matters.
    """
    worker = ThreadPoolExecutor(1)
    ready = worker.submit(_load, settings)
    worker.shutdown(wait=False)
    return ready


def _load(settings: CanvasSettings) -> None:
    """Resample and stack a few pixels, which loads all that either needs."""
    from nanstack.register import _raw_warp_kernel
    from nanstack.register.raw_warp import warp_mosaic
    from nanstack.stack import noise_kernels

    box = Box.whole((SIDE, SIDE))
    if is_compiled(_raw_warp_kernel._fill_from_mosaic):
        nodes = np.zeros((2, 2))
        warp_mosaic(
            np.zeros((SIDE, SIDE), np.float32), "RGGB", Mesh(nodes, nodes, SIDE, box, box), settings.interpolation
        )
    if isinstance(settings.rejection, NoiseRejection) and is_compiled(noise_kernels._stack_noise):
        known = FrameNoise(*np.ones((3, 3, 3)), *np.ones((2, 3)))
        noise_kernels.stack_noise(np.zeros((3, SIDE, SIDE, 3), np.float32), known, settings.rejection, box.within(box))
