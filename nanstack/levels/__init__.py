# SPDX-License-Identifier: GPL-3.0-or-later
"""How bright frames are: sky, noise, gain, and what brings them to one level."""
