# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as a JSON file, written and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanstack.io.files import complete_file


def write_json(told: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON; the file appears complete or not at all."""
    with complete_file(path) as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a report's file holds; None where there is none, or a damaged one."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the last one of brackets within brackets
        return None
    return told if isinstance(told, dict) else None
