# SPDX-License-Identifier: GPL-3.0-or-later
"""The command zemosaic-patch: mosaics and tiles from files, reports, the demo, and the patch for ZeMosaic."""

import functools


@functools.cache
def installed_version() -> str:
    """Return this project's version."""
    from importlib.metadata import PackageNotFoundError, version  # takes a while

    try:
        return version("zemosaic-patch")
    except PackageNotFoundError:
        return "(not installed)"
