# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled functions: whether one is compiled already, and a word to the user where it is not."""

from __future__ import annotations

import functools
import logging
import pickle
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)
INSTALL_NUMBA = "python -m pip install --upgrade numba mends it"

# what unpickling may raise
DAMAGE = (pickle.PickleError, EOFError, AttributeError, ImportError, LookupError, ValueError, TypeError, MemoryError)


def compiled(**options: Any) -> Callable[[Callable], Any]:
    """Return a decorator: `numba.njit`, whose work is kept for later runs where there is a folder to keep it in.

    What cannot be read there any more (a power failure leaves empty files), or be written, costs a line and the time to
    compile it, not the run as Numba's own cache does.
    """
    import numba
    from numba.core.caching import FunctionCache
    from numba.core.runtime import rtsys

    class Cache(FunctionCache):
        def load_overload(self, signature: Any, context: Any) -> Any:
            try:
                rtsys.initialize(context)  # all that compiled functions need: Numba's own way loads its compiler, too
                with self._guard_against_spurious_io_errors():
                    return self._load_overload(signature, context)
            except DAMAGE as damage:
                log.warning("compiled functions in %s are damaged (%s): compiling them again", self.cache_path, damage)
                self.flush()

        def save_overload(self, signature: Any, data: Any) -> None:
            try:
                super().save_overload(signature, data)
            except OSError as failure:
                log.warning("compiled functions cannot be kept (%s): the next run compiles them again", failure)

        def flush(self) -> None:
            try:
                super().flush()
            except OSError as failure:
                log.warning("%s cannot be written to (%s)", self.cache_path, failure)

    def decorate(function: Callable) -> Any:
        dispatcher = numba.njit(nogil=True, **options)(function)
        try:
            dispatcher._cache = Cache(function)  # as its enable_caching does
        except RuntimeError:  # no folder can be written to, neither beside the code nor the user's
            _say_that_nothing_is_kept()
        return dispatcher

    return decorate


@functools.cache
def _say_that_nothing_is_kept() -> None:
    log.warning("no folder can keep compiled functions: each run compiles them anew, unless NUMBA_CACHE_DIR names one")


@functools.cache
def numba_fault() -> str:
    """Return why Numba cannot be imported, in a line; empty where it can.

    One that is broken, or older than the NumPy beside it, raises what comes: SystemError, AttributeError, OSError.
    """
    try:
        import numba  # noqa: F401
    except Exception as fault:  # noqa: BLE001  (whatever it is, it is told, and NumPy does the work)
        told = str(fault).strip().partition("\n")[0]
        kind = "" if isinstance(fault, ImportError) else f"{type(fault).__name__}: "
        return f"{kind}{told}" if told else type(fault).__name__
    return ""


def where_numba_is(instead: str) -> Callable[[Callable[[], ModuleType]], Callable[[], ModuleType | None]]:
    """Return a decorator of a function that imports compiled functions: without Numba it says so once, and gives None.

    Parameters
    ----------
    instead : str
        What happens then, for the user.
    """

    def decorate(load: Callable[[], ModuleType]) -> Callable[[], ModuleType | None]:
        lock = threading.Lock()  # of threads that import at once, all but the first are told a wrong reason

        @functools.cache
        def loaded() -> ModuleType | None:
            fault = numba_fault()
            if not fault:
                return load()
            log.warning("Numba cannot be imported (%s): %s; %s", fault, instead, INSTALL_NUMBA)
            return None

        @functools.wraps(load)
        def kernels() -> ModuleType | None:
            with lock:
                return loaded()

        return kernels

    return decorate


def is_compiled(function: Any) -> bool:
    """Tell whether a cached Numba function is compiled, in this process or in the cache on disk.

    Numba's own index of the cache is asked, as it alone knows which state of the source it holds good for.
    """
    if function.signatures:
        return True
    kept = getattr(function._cache, "_cache_file", None)  # nothing, where no folder can keep it
    try:
        return kept is not None and bool(kept._load_index())
    except (*DAMAGE, OSError):
        return False


def announce(function: Any, name: str) -> None:
    """Say that a function is about to be compiled, if it is: it takes seconds, once on a machine."""
    with _announcing:  # threads that need it at once say so once
        _announce(function, name)


_announcing = threading.Lock()


@functools.cache
def _announce(function: Any, name: str) -> None:
    if not is_compiled(function):
        _say_what_is_compiled(name)


@functools.cache
def _say_what_is_compiled(name: str) -> None:
    """Say so once, of however many functions it consists."""
    log.info("compiling the %s for this machine: some seconds, this once", name)
