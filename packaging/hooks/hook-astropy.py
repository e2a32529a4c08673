# SPDX-License-Identifier: GPL-3.0-or-later
"""What astropy imports by name, in place of PyInstaller's own list, which imports plots for matplotlib, too."""

from pkgutil import iter_modules

import astropy
from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

PARTS = [
    f"astropy.{part.name}" for part in iter_modules(astropy.__path__) if part.name not in ("tests", "visualization")
]

hiddenimports = [
    module
    for part in PARTS
    for module in collect_submodules(part, filter=lambda name: "tests" not in name.split("."), on_error="ignore")
]
datas = [
    *collect_data_files("astropy", excludes=["**/tests/**"]),
    *collect_data_files("astropy", include_py_files=True, includes=["**/*_parsetab.py", "**/*_lextab.py"]),  # of units
    *copy_metadata("astropy"),
]
