# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in and out: what a file claims to be, its samples, and results that are complete or not there."""
