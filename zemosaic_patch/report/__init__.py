# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a mosaic or a tile: as records, as a JSON file, and as one page of HTML."""
