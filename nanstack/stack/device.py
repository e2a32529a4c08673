# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPU of this process: which array module it goes by, whether it can be used, and the stack of a plan on it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from nanstack.stack import gpu
from nanstack.stack.gpu import BlockLimits
from nanstack.stack.plan import StackPlan
from nanstack.stack.stacker import Stack

log = logging.getLogger(__name__)

SAFE_MODE = "ZEMOSAIC_GPU_SAFE_MODE"
SAFE_MODE_BYTES = 32 * 2**20  # samples of a block: no kernel runs long enough to be stopped by a display's watchdog


class GpuError(RuntimeError):
    """The GPU could not make a stack; the CPU can, and the result is the same.

    Attributes
    ----------
    kind : {'unavailable', 'insufficient_memory', 'runtime_error'}
        Whether there is no usable GPU at all, not the memory for a row, or anything else.
    transient : bool
        Whether the next stack may succeed; if not, `fault` gives the reason from now on.
    needed, allowed : int
        Bytes, where memory was insufficient.
    """

    def __init__(
        self, reason: str, kind: str = "runtime_error", *, transient: bool = False, needed: int = 0, allowed: int = 0
    ) -> None:
        super().__init__(reason)
        self.kind, self.transient, self.needed, self.allowed = kind, transient, needed, allowed


class _Device:
    """The array module, and what is wrong with its device, once either is known."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # two stacks at once would share the memory that each was promised
        self.forget()

    def forget(self) -> None:
        self.loaded, self.tried = False, False
        self.module: Any = None
        self.fault: str | None = None


_device = _Device()


def array_module() -> Any:
    """Return CuPy, or what was put in its place; None where it cannot be imported. It is imported when first asked."""
    if not _device.loaded:
        use_module(gpu.load_cupy()[0])
    return _device.module


def use_module(module: Any) -> None:
    """Let another array module stand in for CuPy, or CuPy itself again; its device is tried when it is needed."""
    _device.forget()
    _device.module, _device.loaded = module, True


def use_cupy() -> None:
    """Go by CuPy again, whatever was put in its place."""
    _device.forget()


def fault(logger: logging.Logger | None = None) -> str | None:
    """Return why no stack can be made on a GPU, or None; the device is tried once, and the answer kept."""
    module = array_module()
    if not _device.tried:
        give_up(gpu.find_fault(module), logger)
    return _device.fault


def give_up(reason: str | None, logger: logging.Logger | None = None) -> None:
    """Keep what is wrong with the device, if anything, and say it."""
    _device.tried, _device.fault = True, reason
    if reason is not None:
        (logger or log).info("the GPU is not used: %s", reason)


def is_in_safe_mode() -> bool:
    """Tell whether the environment asks for small blocks."""
    return os.environ.get(SAFE_MODE, "").strip() == "1"


def stack_on_gpu(
    plan: StackPlan,
    progress: Callable[[int, int], None] | None = None,
    limits: BlockLimits | None = None,
    logger: logging.Logger | None = None,
) -> Stack:
    """Stack a plan's frames on the GPU.

    Parameters
    ----------
    plan : StackPlan
    progress : callable, optional
        Called with (rows done, rows in all).
    limits : BlockLimits, optional
    logger : logging.Logger, optional
        Hears of a device that is given up.

    Raises
    ------
    GpuError
        Where there is no usable GPU, or anything fails: memory, device, result.
    """
    reason = fault(logger)
    if reason is not None:
        raise GpuError(reason, "unavailable")
    try:
        with _device.lock:
            result = _stacked(plan, progress, limits or BlockLimits())
            gpu.free_pools(array_module())
            return result
    except Exception as failure:  # noqa: BLE001  (whatever fails here, the CPU can do)
        (logger or log).debug("the stack on the GPU failed", exc_info=True)
        error = _explained(failure)
    # only now are the arrays of the attempt gone, which the failure's traceback held
    if not error.transient:
        give_up(str(error), logger)
    with contextlib.suppress(RuntimeError):  # a lost device has nothing to give back
        gpu.free_pools(array_module())
    raise error


def _stacked(plan: StackPlan, progress: Callable[[int, int], None] | None, limits: BlockLimits) -> Stack:
    """Stack on the GPU; one that gives nothing but zeros or NaN has failed without saying so."""
    if is_in_safe_mode():
        limits = replace(limits, nbytes=min(limits.nbytes or SAFE_MODE_BYTES, SAFE_MODE_BYTES))
    result = gpu.stack_frames(
        plan.frames,
        plan.rejection,
        plan.combine,
        plan.weights,
        progress,
        xp=array_module(),
        levels=plan.levels,
        limits=limits,
    )
    if not np.isfinite(result.image).any():
        raise gpu.DeviceError("the stack holds no finite pixel", transient=True)
    if not np.any(result.image[np.isfinite(result.image)]):
        raise gpu.DeviceError("the stack is zero throughout", transient=True)
    return result


def _explained(failure: Exception) -> GpuError:
    """Return the error that says of a failure whether the next stack may succeed."""
    if isinstance(failure, gpu.DeviceMemoryError):
        sizes = {"needed": failure.needed, "allowed": failure.allowed}
        return GpuError(str(failure), "insufficient_memory", transient=True, **sizes)
    if isinstance(failure, gpu.DeviceError):
        return GpuError(str(failure), transient=failure.transient)
    if isinstance(failure, ValueError):  # frames or settings that cannot be used say nothing about the device
        return GpuError(str(failure), transient=True)
    return GpuError(f"{type(failure).__name__}: {failure}", transient=gpu.is_out_of_memory(failure))
