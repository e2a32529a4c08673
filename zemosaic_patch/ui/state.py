# SPDX-License-Identifier: GPL-3.0-or-later
"""What the window remembers, in the user's own folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanstack.io.files import complete_file, remove

PLACE = "ZEMOSAIC_PATCH_STATE"  # an environment variable that names another folder


def folder() -> Path:
    """Return the folder; it need not be there."""
    named = os.environ.get(PLACE)
    if named:
        return Path(named)
    from platformdirs import user_state_path

    return user_state_path("zemosaic-patch", appauthor=False)


@dataclass(frozen=True)
class Running:
    """A window that runs.

    Attributes
    ----------
    port : int
    token : str
        Who knows it may use it.
    """

    port: int
    token: str

    @property
    def address(self) -> str:
        """The address to open, with the token."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def keep(self) -> None:
        """Write it down for the next start of the program, for this user's eyes alone."""
        write(_running(), asdict(self))

    @staticmethod
    def forget() -> None:
        """Say that none runs any more, or is about to end."""
        remove(_running())

    @classmethod
    def kept(cls) -> Running | None:
        """Return the one that was written down."""
        told = read(_running())
        try:
            return cls(int(told["port"]), str(told["token"]))
        except (TypeError, KeyError, ValueError):
            return None


def _running() -> Path:
    return folder() / "window.json"


def write(path: Path, told: Any) -> None:
    """Write what is to be remembered as JSON; complete or not there, and readable by this user alone."""
    own_folder(path.parent)
    with complete_file(path) as new:
        new.chmod(0o600)
        new.write_text(json.dumps(told, indent=2) + "\n", encoding="ascii")


def read(path: Path) -> Any:
    """Return what is remembered; None where that is nothing, or damaged."""
    try:
        return json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError, RecursionError):
        return None


def own_folder(path: Path) -> Path:
    """Make a folder, of those that are kept here, into which this user alone may look."""
    for inner in (folder(), path):
        inner.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
