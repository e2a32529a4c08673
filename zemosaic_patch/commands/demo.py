# SPDX-License-Identifier: GPL-3.0-or-later
"""`demo`: simulated frames of the Pleiades, stacked before and after the fix."""

from __future__ import annotations

from zemosaic_patch import process
from zemosaic_patch.arguments import Command
from zemosaic_patch.commands import mosaic, tile
from zemosaic_patch.commands.output import check_address_space, check_new, own_folder
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.others import DemoOptions
from zemosaic_patch.options.runs import CanvasChoice, MosaicRun, TileRun

BEFORE_AFTER = "before_after.png"
LEAST_AND_USUAL = {"tile": (3, 16), "mosaic": (12, 40)}  # frames


def run(options: DemoOptions) -> None:
    """Make the demo."""
    check_address_space()
    process.loaded()
    least, usual = LEAST_AND_USUAL["mosaic" if options.mosaic else "tile"]
    frames = usual if options.frames is None else options.frames
    if frames < least:
        raise UsageError(f"--frames takes a whole number of at least {least}, not {frames}")
    (_mosaic if options.mosaic else _tile)(options, frames)


def _mosaic(options: DemoOptions, count: int) -> None:
    """Simulate a mosaic's frames, make it, and compare it with what was made before and with the truth."""
    from zemosaic_patch.demo import mosaic as demo
    from zemosaic_patch.demo.session import RECORD, pleiades_session, write_frames
    from zemosaic_patch.mosaic_files import PAGE, REPORT, earlier_output, prepare, remove_former
    from zemosaic_patch.mosaic_run import mosaic_of_files
    from zemosaic_patch.outputs import claim, expect, record
    from zemosaic_patch.progress import shown

    output, folder, made = options.output, options.output / "frames", MosaicRun()
    picture = made.output.picture
    earlier = earlier_output(output)
    if earlier is not None:
        check_new(output, [earlier.name], options.overwrite)
    check_new(output, demo.OUTPUTS, options.overwrite)
    print(f"simulating {count} Seestar frames of 2 x 2 pointings on the Pleiades ...", flush=True)
    session = pleiades_session(count)
    names = [frame.name for frame in session.frames]
    with own_folder(output), shown() as bars:
        claim(output, demo.OUTPUTS)
        claim(folder, (*names, RECORD))
        paths = [folder / name for name in names]
        prepare(output, picture, paths, anew=True)
        expect(folder, (*names, RECORD))
        write_frames(session, folder)
        record(folder, (*names, RECORD))
        report = mosaic_of_files(paths, made, output, bars)
        remove_former(output, picture, paths)
    mosaic.show(report, output)
    print(
        "stacking them with a grey fill and without matching, and comparing both with the truth ...",
        flush=True,
    )
    expect(output, demo.OUTPUTS)
    print("\n".join(demo.figure_lines(*demo.compare(output))))
    record(output, (*demo.OUTPUTS, REPORT, PAGE))
    print(f"picture            {output / BEFORE_AFTER}")


def _tile(options: DemoOptions, count: int) -> None:
    """Simulate a tile's frames, make it, and compare it with what was made before."""
    from nanstack.levels.photometry import band_metric
    from zemosaic_patch.demo import tile as demo
    from zemosaic_patch.outputs import claim, expect, record
    from zemosaic_patch.progress import shown
    from zemosaic_patch.tile_files import ALL_OUTPUTS, OUTPUTS, TILE, read_tile
    from zemosaic_patch.tile_run import tile_of_files

    output, folder = options.output, options.output / "frames"
    check_new(output, (*OUTPUTS, BEFORE_AFTER), options.overwrite)
    names = [demo.frame_name(number) for number in range(count)]
    print(f"simulating {count} Seestar frames of the Pleiades ...", flush=True)
    with own_folder(output):
        claim(output, (*ALL_OUTPUTS, BEFORE_AFTER))
        claim(folder, names)
        expect(folder, names)
        paths = demo.write_pleiades_frames(folder, count)
        record(folder, names)
        reference = names[len(names) // 2]
        with shown() as bars:
            report = tile_of_files(paths, TileRun(CanvasChoice("reference", reference)), output, bars)
    tile.show(report, output)
    print("stacking the same frames as ZeMosaic 4.3 does without the fix ...", flush=True)
    before = demo.stack_with_grey_fill(paths, reference)
    after, coverage = read_tile(output / TILE)
    metrics = [band_metric(image, coverage) for image in (before, after)]
    captions = (f"ZeMosaic 4.3: band metric {metrics[0]:.1f} ADU", f"zemosaic-patch: band metric {metrics[1]:.2f} ADU")
    expect(output, [BEFORE_AFTER])
    demo.before_after_picture(before, after, captions, output / BEFORE_AFTER)
    record(output, [BEFORE_AFTER])
    print(f"band metric        before {metrics[0]:.1f} ADU, after {metrics[1]:.2f} ADU")
    print(f"picture            {output / BEFORE_AFTER}")


COMMANDS = (
    Command(
        "demo",
        "Simulate a Seestar's frames of the Pleiades, stack them as ZeMosaic does without the fix and with it, and put "
        "the two results side by side.",
        (DemoOptions(),),
        run,
    ),
)
