# SPDX-License-Identifier: GPL-3.0-or-later
"""`report`: one page about a mosaic or a tile."""

from __future__ import annotations

from zemosaic_patch.arguments import Command
from zemosaic_patch.commands.output import check_folder
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.options.others import ReportFolder


def run(asked: ReportFolder) -> None:
    """Write the report of a folder."""
    from zemosaic_patch.outputs import claim, expect, record
    from zemosaic_patch.report.page import REPORT, SOURCES, ReportError, page_of, write_page

    folder = asked.folder
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise UsageError(f"{folder} is {what}: name the folder of a mosaic or tile")
    source = next((folder / name for name in SOURCES if (folder / name).is_file()), None)
    if source is None:
        raise UsageError(f"{folder} holds neither {' nor '.join(SOURCES)}: name the folder of a mosaic or tile")
    check_folder(folder)
    claim(folder, [REPORT])
    try:
        page = page_of(source)
    except ReportError as error:
        raise FailureError(str(error)) from error
    expect(folder, [REPORT])
    written = write_page(page, folder)
    record(folder, [written.name])
    print(f"written            {written}")


COMMANDS = (
    Command(
        "report",
        "Write report.html, which needs no other file and no network, into the folder of a mosaic or tile.",
        (ReportFolder(),),
        run,
    ),
)
