# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: simulated frames, made into a tile or a mosaic before and after the fix."""
