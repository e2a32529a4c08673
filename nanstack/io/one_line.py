# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that hold what others wrote, such as names of files, kept to one line. It loads no library: any message may."""

from __future__ import annotations


def on_one_line(text: str) -> str:
    """Return a text with what would break its line, or steer the terminal, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
