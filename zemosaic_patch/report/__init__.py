# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: one HTML page about a mosaic or a tile."""
