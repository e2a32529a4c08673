# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated frames and the measures that hold results to the truth."""
