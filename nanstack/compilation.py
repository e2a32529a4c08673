# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled functions: whether one is compiled already, and a word to the user where it is not."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def is_compiled(function: Any) -> bool:
    """Tell whether a cached Numba function is compiled, in this process or in the cache on disk."""
    if function.signatures:
        return True
    source = Path(function.py_func.__code__.co_filename)
    index = f"{source.stem}.{function.py_func.__name__}-*.nbi"
    changed = source.stat().st_mtime
    return any(file.stat().st_mtime >= changed for file in Path(function.stats.cache_path).glob(index))


@functools.cache
def announce(function: Any, name: str) -> None:
    """Say that a function is about to be compiled, if it is: it takes seconds, once on a machine."""
    if not is_compiled(function):
        log.info("compiling the %s for this machine: some seconds, this once", name)
