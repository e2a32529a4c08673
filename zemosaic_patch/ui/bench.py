# SPDX-License-Identifier: GPL-3.0-or-later
"""A ZeMosaic in work: what holds in it, the patch in and out, and tiles for a trial."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from zemosaic_patch.dropin import patch
from zemosaic_patch.dropin.checkout import NotPatchableError, RefusedError
from zemosaic_patch.dropin.verdict import Verdict, look
from zemosaic_patch.own_command import own_command
from zemosaic_patch.report.embedded import embed
from zemosaic_patch.ui.background import end

REFUSALS = (NotPatchableError, RefusedError, OSError)
PICTURE = "verify.png"
PICTURE_PX = 1800
PREFIX = "zemosaic-patch: "  # before what a command says of a failure
VERDICT = "verdict "  # begins the line that ends what was measured


class Trial:
    """A run of the command `verify`, in a process of its own that outlives a closed tab. It begins at once.

    Parameters
    ----------
    folder : Path
        The ZeMosaic.
    python : str
        Which Python runs it; empty: as `verify` finds it.

    Attributes
    ----------
    folder : Path
    state : {'running', 'good', 'bad', 'failed'}
        Good and bad are the tiles; where it failed there are none.
    lines : tuple of str
        What was measured, or why it failed.
    picture : str
        The tile without the matching and with it, as a data URI; empty where there is none.
    """

    def __init__(self, folder: Path, python: str = "") -> None:
        self.folder, self.state, self.lines, self.picture = folder, "running", (), ""
        self._scratch = tempfile.TemporaryDirectory(prefix="zemosaic-patch-")
        named = ["--python", python] if python else []
        command = own_command("verify", *named, "-o", str(Path(self._scratch.name) / PICTURE), "--", str(folder))
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
            errors="replace",
        )  # fmt: skip
        self._waiting = threading.Thread(target=self._wait, daemon=True)
        self._waiting.start()

    def _wait(self) -> None:
        said, _ = self._process.communicate()
        place = Path(self._scratch.name)
        lines = [line for line in said.strip().splitlines() if str(place) not in line]
        measured = any(line.startswith(VERDICT) for line in lines)
        if (place / PICTURE).is_file():
            self.picture = embed(place, PICTURE, PICTURE_PX).uri
        self._scratch.cleanup()
        self.lines = tuple(lines[1:] if measured else (line.removeprefix(PREFIX) for line in lines[-1:]))
        self.state = ("good" if self._process.returncode == 0 else "bad") if measured else "failed"  # now all is known

    def stop(self) -> None:
        """End it, and the ZeMosaic that it runs; nothing is left of it."""
        end(self._process)

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it has ended."""
        self._waiting.join(seconds)


@dataclass
class Bench:
    """The ZeMosaic in work.

    Attributes
    ----------
    folder : str
        As its owner named it.
    verdict : Verdict or None
    refusal : str
        Why there is no verdict, or why what was asked for was not done.
    done : tuple of str
        What was done last.
    trial : Trial or None
    busy : bool
        Whether something is being done that does not take long.
    """

    folder: str = ""
    verdict: Verdict | None = None
    refusal: str = ""
    done: tuple[str, ...] = ()
    trial: Trial | None = None
    busy: bool = False

    def look(self, folder: str) -> None:
        """Look at a folder."""
        if folder != self.folder:
            self.end_trial()
            self.verdict = None  # of another ZeMosaic
        self.folder, self.done = folder, ()
        self._try(list)

    def put_in(self, accept_unknown: bool = False) -> None:
        """Put the patch in, or bring it up to date with the choices that were made."""
        manifest = self.verdict.manifest if self.verdict else None
        choices = {} if manifest is None else asdict(manifest.chosen)
        self._try(lambda: patch.apply(self.folder, accept_unknown=accept_unknown, **choices))

    def take_out(self) -> None:
        """Take the patch out."""
        self._try(lambda: patch.revert(self.folder))

    def begin_trial(self, python: str) -> None:
        """Begin to make tiles with it."""
        if self.trial is None or self.trial.state != "running":
            self.trial = Trial(Path(self.folder).expanduser(), python)

    def end_trial(self) -> None:
        """Forget the trial, which ends if it still runs."""
        if self.trial is not None:
            self.trial.stop()
        self.trial = None

    def _try(self, act: Callable[[], list[str]]) -> None:
        """Do something, then look; what is refused is told."""
        self.refusal = ""
        try:
            self.done = tuple(act())
        except REFUSALS as error:
            self.done, self.refusal = (), _reason(error)
        try:
            self.verdict = look(self.folder)
        except REFUSALS as error:
            self.verdict, self.refusal = None, self.refusal or _reason(error)


def _reason(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
