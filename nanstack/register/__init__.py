# SPDX-License-Identifier: GPL-3.0-or-later
"""Where frames lie on each other: matched stars, transforms, and the warp."""
