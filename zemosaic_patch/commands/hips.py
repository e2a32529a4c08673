# SPDX-License-Identifier: GPL-3.0-or-later
"""`hips`: a finished mosaic as tiles of the sky."""

from __future__ import annotations

from zemosaic_patch import process
from zemosaic_patch.arguments import Command
from zemosaic_patch.commands.output import own_folder
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.others import MosaicFolder


def run(asked: MosaicFolder) -> None:
    """Write the tiles of a folder's mosaic."""
    from zemosaic_patch.hips.folder import check_hips, write_hips
    from zemosaic_patch.progress import shown

    folder = asked.folder
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise UsageError(f"{folder} is {what}: name the folder of a mosaic")
    process.loaded()
    with own_folder(folder), shown(asked.progress) as bars:
        check_hips(folder)
        written = write_hips(folder, bars)
    print(f"written            {written}")


COMMANDS = (
    Command(
        "hips",
        "Write hips/, small pictures of the sky in all steps of zoom (HiPS), into the folder of a mosaic: Aladin and "
        "any web server show it.",
        (MosaicFolder(),),
        run,
    ),
)
