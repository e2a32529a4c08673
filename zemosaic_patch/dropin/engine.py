# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as it is put into a ZeMosaic: what of our modules it takes, and how they import each other there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from nanstack.io.archives import PARSING
from zemosaic_patch.dropin import sources
from zemosaic_patch.dropin.checkout import RefusedError
from zemosaic_patch.dropin.sources import BOM, MODULES, Source

ENTRY = "zemosaic_patch.dropin.hooks"
HOME = Path(__file__).resolve().parents[2]  # of our own modules; once installed, others lie beside them
OWN = ("nanstack", "zemosaic_patch", *(name.removesuffix(".py") for name in MODULES))


def engine_files() -> dict[str, bytes]:
    """Return the files of the engine, as they are put into a checkout: what `ENTRY` imports, and CUDA sources.

    Imports among them are made relative, so that they are found in ZeMosaic's folder and in its package alike, and
    none of them can take the place of ZeMosaic's modules of the same names.

    Raises
    ------
    RefusedError
        Where this program is installed without its source files.
    """
    files = {"__init__.py": b"# zemosaic-patch, GPL-3.0-or-later: see zemosaic-patch revert\n"}
    waiting = _files_of(ENTRY)
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        data = (HOME / name).read_bytes()
        imported = list(_own_imports(data))
        files[name] = _with_relative_imports(name, data, imported)
        waiting += [path for node in imported for path in _imported_files(node)]
    kernels = (HOME / "nanstack").rglob("*.cu")
    files.update((path.relative_to(HOME).as_posix(), path.read_bytes()) for path in kernels)
    return dict(sorted(files.items()))


def _own_imports(data: bytes) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of modules of ours."""
    with PARSING:
        tree = ast.parse(data.removeprefix(BOM))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        if any(name.split(".")[0] in OWN for name in names):
            yield node


def _imported_files(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the files that an import of ours needs."""
    if isinstance(node, ast.Import):
        return [path for alias in node.names for path in _files_of(alias.name)]
    submodules = (_file_of(f"{node.module}.{alias.name}") for alias in node.names)  # names in a module are no files
    return [*_files_of(node.module), *filter(None, submodules)]


def _files_of(module: str) -> list[str]:
    """Return the file of a module of ours and those of the packages that it lies in."""
    parts = module.split(".")
    found = {".".join(parts[:depth]): _file_of(".".join(parts[:depth])) for depth in range(1, len(parts) + 1)}
    for name, path in found.items():
        if path is None:
            raise RefusedError(
                f"the source of {name}, which has to be copied into ZeMosaic, is not in {HOME}: "
                "install zemosaic-patch anew, as a folder of source files (pip install does that)"
            )
    return list(found.values())


def _file_of(module: str) -> str | None:
    """Return the file of a module of ours, relative to `HOME`; None for what is no module."""
    path = module.replace(".", "/")
    return next((name for name in (f"{path}.py", f"{path}/__init__.py") if (HOME / name).is_file()), None)


def _with_relative_imports(name: str, data: bytes, imported: list[ast.Import | ast.ImportFrom]) -> bytes:
    source = Source(name, data)
    dots = "." * (1 + name.count("/"))
    insertions = []
    for node in imported:
        if isinstance(node, ast.ImportFrom):
            insertions.append(sources.Insertion(source.start(node) + len("from "), dots.encode()))
        elif len(node.names) == 1 and "." not in node.names[0].name:
            insertions.append(sources.Insertion(source.start(node), f"from {dots} ".encode()))
        else:
            raise ValueError(f"{name}, line {node.lineno}: write `from package import module`")
    return sources.inserted(data, insertions)
