# SPDX-License-Identifier: GPL-3.0-or-later
"""The command zemosaic-patch: mosaics and tiles from files, reports, the demo, and the patch for ZeMosaic."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return this project's version."""
    try:
        return version("zemosaic-patch")
    except PackageNotFoundError:
        return "(not installed)"
