# SPDX-License-Identifier: GPL-3.0-or-later
"""Who does the parts of a job that do not hang on each other: processes elsewhere, where somebody brings a crew."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

PAUSES = 0.0, 0.1, 1.0, 5.0, 30.0  # seconds: on a network drive a machine may hold on to what a folder was for a minute

Item = TypeVar("Item")
Made = TypeVar("Made")


class Crew(Protocol):
    """Processes that see the same files as this one, on this machine or others."""

    def in_order(
        self, do: Callable[[Item], Made], items: Iterable[Item], needs: Callable[[Item], int] | None = None
    ) -> Iterator[Made]:
        """Give what is made of each item, in their order; a few are ahead of the caller, no more.

        Parameters
        ----------
        do : callable
            A function of a module, or a `functools.partial` of one. It may be called more than once for an item, where
            a process died or does not answer: so it leaves complete files alone.
        items : iterable
            Records that can be pickled, with a `name`; what is made of them can be pickled, too.
        needs : callable, optional
            Returns the bytes of memory that an item takes.

        Raises
        ------
        ValueError
            As `do` raises it.
        """


def seen_here(look: Callable[[], Made | None], folder: Path) -> Made | None:
    """Return what a process elsewhere has left in a folder; None where it is not seen within a minute.

    Parameters
    ----------
    look : callable
        Returns it, or None.
    folder : Path
    """
    found = look()
    for pause in PAUSES:
        if found is not None:
            break
        time.sleep(pause)
        os.listdir(folder)  # which makes a network drive ask again
        found = look()
    return found
