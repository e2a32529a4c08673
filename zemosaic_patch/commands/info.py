# SPDX-License-Identifier: GPL-3.0-or-later
"""`info`: what there is to know about this installation."""

from __future__ import annotations

import logging
import os
import platform
from importlib.metadata import packages_distributions, version

from nanstack.compilation import INSTALL_NUMBA, is_compiled, numba_fault
from zemosaic_patch import installed_version
from zemosaic_patch.arguments import Command

PACKAGES = ("numpy", "scipy", "astropy", "sep", "numba", "cupy")


def run() -> None:
    """Print versions, processors, memory, GPU and compiled kernels."""
    for name, text in _facts():
        print(f"{name:<18} {text}")


def _facts() -> list[tuple[str, str]]:
    return [
        ("zemosaic-patch", installed_version()),
        ("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        *((package, _package_version(package)) for package in PACKAGES),
        ("CPU threads", str(os.cpu_count())),
        ("memory", _memory()),
        ("GPU", _gpu()),
        ("cached kernels", _cached_kernels()),
    ]


def _package_version(package: str) -> str:
    """Return a package's version; CuPy's wheels are named after the CUDA that they are built for."""
    names = packages_distributions().get(package, ())
    return ", ".join(f"{version(name)} ({name})" if name != package else version(name) for name in names) or "missing"


def _memory() -> str:
    try:
        import psutil
    except ImportError:
        return "unknown: psutil is missing"
    memory = psutil.virtual_memory()
    return f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"


def _gpu() -> str:
    """Return the GPU's name and memory, or why there is none."""
    from nanstack.stack import device, gpu

    reason = device.fault(logging.getLogger(__name__))  # which is not shown: the answer is
    if reason is not None:
        return f"none: {reason}"
    module = device.array_module()
    free, total = gpu.device_memory(module)
    return f"{gpu.device_name(module)}, {total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free"


def _cached_kernels() -> str:
    """Return the CPU's kernels that are compiled; the others will be when they are first needed."""
    from nanstack.stack.definition import METHODS, Rejection

    fault = numba_fault()
    if fault:
        return f"none: Numba cannot be imported ({fault}); {INSTALL_NUMBA}"
    from nanstack.stack import noise_kernels, numba_kernels

    ready = ["noise"] if is_compiled(noise_kernels._stack_noise) else []
    ready += [method for method in METHODS if numba_kernels.is_compiled(Rejection(method))]
    return ", ".join(ready) or "none yet"


COMMANDS = (
    Command(
        "info",
        "Show what a bug report should say about this installation.",
        (),
        run,
    ),
)
