# SPDX-License-Identifier: GPL-3.0-or-later
"""The drop-in: puts the patch into a ZeMosaic, says what holds in it, takes the patch out."""
