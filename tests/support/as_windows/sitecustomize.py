# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program loads by itself that has this folder on its PYTHONPATH: see `strict_files`."""

import strict_files

strict_files.install()
