# SPDX-License-Identifier: GPL-3.0-or-later
"""`ui`: the window, a page in the browser."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from zemosaic_patch import process
from zemosaic_patch.arguments import Command
from zemosaic_patch.errors import FailureError
from zemosaic_patch.options.others import WindowOptions

NEEDS = ("nicegui", "platformdirs")


def run(options: WindowOptions) -> None:
    """Serve the window until it is quit."""
    if any(find_spec(name) is None for name in NEEDS):
        raise FailureError('the window needs packages that are not installed: pip install "zemosaic-patch[ui]"')
    process.loaded()
    from zemosaic_patch.ui import server

    server.run(options.port or 0, options.browser, _tell, _warn)


def _tell(address: str) -> None:
    print(f"window             {address}", flush=True)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


COMMANDS = (
    Command(
        "ui",
        "Open the window: a page in your browser, which this program serves to this machine alone.",
        (WindowOptions(),),
        run,
    ),
)
