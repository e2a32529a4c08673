# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the commands, each declared once: name, meaning, range and shape on the command line.

`zemosaic_patch.arguments` makes of these records the argument parsers, what `run.toml` holds, and the tables of
docs/usage.md. Defaults are those of the engine's settings: a command is given records that hold them.
"""
