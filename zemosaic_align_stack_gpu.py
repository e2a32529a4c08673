# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's GPU Phase-3 interface. The GPU path is not built yet: every tile is stacked on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

NOT_BUILT = "this version of zemosaic-patch stacks on the CPU only"


class GPUStackingError(RuntimeError):
    """The GPU could not make a stack; the caller goes on with the CPU."""


def _gpu_is_usable(logger: logging.Logger | None = None) -> bool:
    """Tell whether a stack can be made on a GPU: not by this version."""
    return False


def gpu_stack_from_arrays(
    aligned_images: Sequence[np.ndarray],
    stacking_params: dict,
    *,
    parallel_plan: Any = None,
    logger: logging.Logger | None = None,
    pcb_tile: Callable | None = None,
    tile_id: int | None = None,
    zconfig: Any = None,
) -> tuple[np.ndarray, dict]:
    """Raise `GPUStackingError`: this version stacks on the CPU only."""
    raise GPUStackingError(NOT_BUILT)


def gpu_stack_from_paths(
    image_descriptors: Sequence[Any],
    stacking_params: dict,
    *,
    array_loader: Callable | None = None,
    zconfig: Any = None,
    **kwargs: Any,
) -> tuple[np.ndarray, dict]:
    """Raise `GPUStackingError`: this version stacks on the CPU only."""
    raise GPUStackingError(NOT_BUILT)
