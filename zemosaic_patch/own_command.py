# SPDX-License-Identifier: GPL-3.0-or-later
"""How this program starts itself: by its Python, or where it is packaged with one, by its own file."""

from __future__ import annotations

import sys


def is_packaged() -> bool:
    """Tell whether this is the packaged program, whose executable is the command and no Python."""
    return bool(getattr(sys, "frozen", False))


def own_command(*words: str) -> list[str]:
    """Return the command line that runs a command of this program in a process of its own.

    Parameters
    ----------
    *words : str
        The command and its options.
    """
    return [sys.executable, *([] if is_packaged() else ["-m", "zemosaic_patch"]), *words]
