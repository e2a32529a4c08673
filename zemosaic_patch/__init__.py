# SPDX-License-Identifier: GPL-3.0-or-later
"""The command zemosaic-patch: mosaics and tiles from files, reports, the demo, and the patch for ZeMosaic."""
