# SPDX-License-Identifier: GPL-3.0-or-later
"""`check`, `apply`, `revert`, `verify`, `export`: the patch for a ZeMosaic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from zemosaic_patch.arguments import Command
from zemosaic_patch.commands import TOLD
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.options.dropin import ApplyOptions, Checkout, ExportOptions, VerifyOptions


@contextmanager
def _refusals() -> Iterator[None]:
    from zemosaic_patch.dropin.checkout import NotPatchableError, RefusedError

    try:
        yield
    except NotPatchableError as error:
        raise UsageError(error) from error
    except RefusedError as error:
        raise FailureError(error) from error


def check(checkout: Checkout) -> int:
    """Say what holds in a ZeMosaic."""
    from zemosaic_patch.dropin import verdict

    with _refusals():
        code, lines = verdict.check(checkout.folder)
    print("\n".join(lines))
    return code


def apply(checkout: Checkout, options: ApplyOptions) -> None:
    """Put the patch in."""
    from zemosaic_patch.dropin import patch

    with _refusals():
        lines = patch.apply(checkout.folder, **asdict(options))
    print("\n".join(lines))


def revert(checkout: Checkout) -> None:
    """Take the patch out."""
    from zemosaic_patch.dropin import patch

    with _refusals():
        lines = patch.revert(checkout.folder)
    print("\n".join(lines))


def verify(checkout: Checkout, options: VerifyOptions) -> int:
    """Make simulated tiles with a ZeMosaic."""
    from zemosaic_patch.dropin.checkout import open_checkout
    from zemosaic_patch.dropin.verify import FRAMES
    from zemosaic_patch.dropin.verify import verify as measure

    with _refusals():
        open_checkout(checkout.folder)  # what is no ZeMosaic is not kept waiting
    print(f"making tiles of {FRAMES} simulated frames with this ZeMosaic: a minute; without the patch several ...")
    sys.stdout.flush()
    with _refusals():
        code, lines = measure(checkout.folder, options.python, options.output)
    print("\n".join(lines))
    return code


def export(options: ExportOptions) -> None:
    """Write the fix as a patch of ZeMosaic's own source."""
    from zemosaic_patch.dropin.export import export as write

    if options.output.is_dir():
        raise UsageError(f"{options.output} is a folder: name a file with -o")
    if options.output.exists() and not options.overwrite:
        raise UsageError(f"{options.output} exists: add --overwrite to replace it, or name another file with -o")
    with _refusals():
        print(write(options.folder, options.output, options.for_))


def _command(run: Callable[..., int | None], *groups: object) -> Command:
    text = TOLD[run.__name__]
    return Command(run.__name__, text[0].upper() + text[1:] + ".", groups, run)


COMMANDS = (
    _command(check, Checkout()),
    _command(apply, Checkout(), ApplyOptions()),
    _command(revert, Checkout()),
    _command(verify, Checkout(), VerifyOptions()),
    _command(export, ExportOptions()),
)
