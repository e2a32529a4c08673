# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration's mosaic: what a demo left in its folder, held to the truth, before and after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zemosaic_patch.demo import tile as demo
from zemosaic_patch.demo.joined import Joined, mosaic_with_grey_fill, of_frames
from zemosaic_patch.demo.session import POINTINGS, Session, read_session
from zemosaic_patch.demo.truth import Figures, Truth
from zemosaic_patch.pictures import sky_stretch, write_picture

OUTPUTS = ("before.png", "after.png", "before_after.png")
WHITE_SIGMA = 15.0  # of the pictures: stretched so hard that no border could hide


@dataclass(frozen=True)
class Run:
    """What a demo left in its folder.

    Attributes
    ----------
    session : Session
    frames : Path
        Folder of its frames.
    mosaic : Joined
    groups : dict
        The names of each pointing's frames that were stacked, by that of the frame in their middle.
    """

    session: Session
    frames: Path
    mosaic: Joined
    groups: dict[str, list[str]]


def read_run(folder: Path) -> Run:
    """Read what a demo left in its folder: its mosaic, and which frames it is of.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    """
    told = json.loads((folder / "mosaic.json").read_text(encoding="utf-8"))
    stacked = {frame["name"] for frame in told["frames"]}
    session = read_session(folder / "frames")
    groups = {}
    for pointing in range(POINTINGS):
        names = [frame.name for frame in session.frames[pointing::POINTINGS] if frame.name in stacked]
        if names:
            groups[names[len(names) // 2]] = names
    mosaic = of_frames(folder / told["files"]["image"], session, list(groups.values()))
    return Run(session, folder / "frames", mosaic, groups)


def compare(folder: Path) -> tuple[Figures, Figures]:
    """Hold a demo's mosaic, and the one as it was before, to the truth; write pictures of both, and the report anew.

    Returns
    -------
    before, after : Figures
    """
    from zemosaic_patch.mosaic_files import describe
    from zemosaic_patch.outputs import Recording

    run = read_run(folder)
    shape = run.mosaic.image.shape[:2]
    before = mosaic_with_grey_fill(run.frames, run.groups, run.mosaic.wcs, shape)
    truth = Truth(run.session, run.frames, run.mosaic.wcs, shape)
    figures = truth.figures(before), truth.figures(run.mosaic)
    captions = [
        f"{name}: steps of {each.level_step:.2f} sigma in level, {each.colour_step:.2f} in colour"
        for name, each in zip(("grey fill, not matched", "zemosaic-patch"), figures, strict=True)
    ]
    pictures = [joined.image[::-1] for joined in (before, run.mosaic)]  # the first row is the south
    stretch = sky_stretch(pictures[1], WHITE_SIGMA)
    for name, picture in zip(OUTPUTS, pictures, strict=False):
        write_picture(stretch(picture), folder / name)
    demo.before_after_picture(*pictures, captions, folder / OUTPUTS[2], WHITE_SIGMA)
    told = json.loads((folder / "mosaic.json").read_text(encoding="utf-8"))
    told["comparison"] = {"before": OUTPUTS[0], "after": OUTPUTS[1], "captions": captions}
    with Recording(folder) as recording:
        describe(told, recording)
    return figures


def figure_lines(before: Figures, after: Figures) -> list[str]:
    """Return the figures of two mosaics as lines for the screen."""
    both = (before, after)
    stars = [each.stars for each in both]

    def line(name: str, values: Sequence[str]) -> str:
        return f"{name:<18} before {values[0]}, after {values[1]}"

    return [
        line("steps in level", [f"{each.level_step:.2f} sigma" for each in both]),
        line("steps in colour", [f"{each.colour_step:.2f} sigma" for each in both]),
        line("star positions", [f"{each.position_rms:.3f} px rms" for each in stars]),
        line("star fluxes", [f"{100 * each.flux_bias:+.2f} % (+-{100 * each.flux_scatter:.2f} %)" for each in stars]),
        line("noise", [f"{each.noise_ratio:.3f} of the exact stack's" for each in both]),
        line("... of 8 x 8 means", [f"{each.smooth_noise_ratio:.3f}" for each in both]),
    ]
