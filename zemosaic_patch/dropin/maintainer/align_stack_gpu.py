# SPDX-License-Identifier: GPL-3.0-or-later
"""For ZeMosaic's zemosaic_align_stack_gpu.py, in its style and with its names."""

from collections.abc import Sequence

import numpy as cp  # there it is CuPy

from zemosaic_patch.dropin.maintainer import align_stack as _zas


def _winsorize_chunk(
    data_gpu: "cp.ndarray",
    low_high_limits: tuple[float, float] | Sequence[float] | None,
) -> "cp.ndarray":
    """Winsorize along axis 0, by the same quantiles as on the CPU. NaN (no data) stays NaN and counts nowhere."""
    if not low_high_limits or len(low_high_limits) < 2:
        low, high = 0.05, 0.05
    else:
        low = float(low_high_limits[0])
        high = float(low_high_limits[1])
    lower, upper = _zas._nan_quantiles(cp, data_gpu, (low, 1.0 - high))
    # Unlike clip, minimum and maximum are sure to keep NaN.
    return cp.minimum(cp.maximum(data_gpu, lower), upper)
