# SPDX-License-Identifier: GPL-3.0-or-later
"""The place of groups of frames on the sky: solutions, other programs, a catalogue, headers."""
