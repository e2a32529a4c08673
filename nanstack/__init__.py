# SPDX-License-Identifier: GPL-3.0-or-later
"""A NaN-aware stacker for astronomical frames: arrays in, arrays out."""
