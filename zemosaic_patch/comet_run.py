# SPDX-License-Identifier: GPL-3.0-or-later
"""A comet beside a mosaic: the same frames stacked on its motion, and what is known of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.comet import moment_of_facts
from nanstack.comet_light import light_of, with_comet, without_comet
from nanstack.comet_stack import CometFrames, comet_frames, turned_after
from nanstack.crew import Crew
from nanstack.io.layout import FrameError, read_layout
from nanstack.sky_stack import stacked_strips
from nanstack.stack.drizzled import correlation
from nanstack.stack.kept import KeptCells
from nanstack.stack.stacked import StackedCell
from nanstack.stack.tally import Tally
from nanstack.survey.facts import facts_of
from zemosaic_patch import installed_version
from zemosaic_patch.errors import FailureError
from zemosaic_patch.options.runs import STACKS, CometChoice
from zemosaic_patch.report.comet import CometReport
from zemosaic_patch.result_files import Written, image_and_coverage, write_result

if TYPE_CHECKING:
    from datetime import datetime

    from nanstack.canvas import Canvas
    from nanstack.comet_stars import PartOf
    from nanstack.levels.placed import PlacedFrame
    from nanstack.progress import Progress
    from nanstack.settings import CanvasSettings
    from zemosaic_patch.report.registration import Registered

COMET, MERGED = STACKS
MOST_NAMED = 3
MOVED = "Frames moved after a comet, stars rejected; its place is of DATE-AVG."
COMPOSITE = "Composite: stars without the comet, and its own stack at DATE-AVG on them."
Cards = dict[str, tuple[Any, str]]
Strips = Iterator[tuple[int, StackedCell]]


@dataclass(frozen=True)
class CometStack:
    """Where and how a stack on a comet's motion is written, and the folder that keeps its finished cells."""

    to: Written
    cells: Path


@dataclass(frozen=True)
class CometRun:
    """What is stacked on a comet's motion, beside the stars.

    Attributes
    ----------
    choice : CometChoice
    stacks : mapping of str to CometStack
        By their names: `CometChoice.stacks`.
    """

    choice: CometChoice
    stacks: Mapping[str, CometStack]

    def followed(
        self,
        placed: Sequence[PlacedFrame],
        canvas: Canvas,
        settings: CanvasSettings,
        registered: Registered,
        left_out: Iterable[Path],
        progress: Progress,
    ) -> CometFrames:
        """Return frames turned after the comet, before anything is stacked, and say what is wrong with that.

        `left_out` are files that are not among the frames: marks are not read in them.

        Raises
        ------
        ValueError
            For marks that tell no motion, or frames that tell no times.
        FailureError
            For marks on a sky that nobody knows.
        """
        if self.choice.marks.count == "sky" and not registered.on_the_sky:
            raise FailureError(
                "--comet-in sky needs the place on the sky, which nobody knows: mark the comet in the frames"
            )
        found = comet_frames(placed, canvas, self.choice.marks, settings.interpolation)
        beyond = _beyond(found, left_out) if self.choice.marks.count == "frames" else []
        for line in [*_remarks(found, MERGED in self.stacks), *beyond]:
            progress.warn(line)
        return found

    def written(
        self,
        found: CometFrames,
        placed: Sequence[PlacedFrame],
        mosaic: Written,
        *,
        canvas: Canvas,
        settings: CanvasSettings,
        cards: Cards,
        registered: Registered,
        progress: Progress,
        crew: Crew | None = None,
    ) -> CometReport:
        """Stack the frames on the comet's motion, and if so asked without it; return what is to be told.

        Parameters
        ----------
        found : CometFrames
        placed : sequence of PlacedFrame
            As they go onto the stars' canvas.
        mosaic : Written
            The stars' stack, which is there already.
        canvas : Canvas
        settings : CanvasSettings
        cards : Cards
            What a stack of these frames says of itself.
        registered : Registered
        progress : Progress
            Hears of the steps 'stacking the comet' and 'stacking both' (cells).
        crew : Crew, optional
            As in `nanstack.sky_stack.stacked_strips`.
        """
        report = _report(found, canvas, registered, self.stacks[COMET].to)
        write = partial(_write, canvas=canvas, settings=settings, registered=registered, progress=progress, crew=crew)
        own = {**cards, **_cards(report), "HISTORY": MOVED}
        with _image(mosaic) as part:
            frames = turned_after(found, canvas, part)
        tally = write(self.stacks[COMET], frames, own, "the comet")
        share = round(100 * tally.rejected / tally.samples, 4) if tally.samples else None
        report = replace(report, rejected_percent=share)
        if MERGED not in self.stacks:
            return report
        with _image(self.stacks[COMET].to) as part:
            light = light_of(part, canvas, found)
        stars = without_comet(placed, canvas, found, light)
        both = {**own, "NPA_KIND": (MERGED, "what this image is"), "HISTORY": COMPOSITE}
        write(self.stacks[MERGED], stars, both, "both", finish=partial(with_comet, found=light))
        return replace(report, merged=self.stacks[MERGED].to.names)


def _write(
    stack: CometStack,
    frames: Sequence[PlacedFrame],
    cards: Cards,
    name: str,
    *,
    canvas: Canvas,
    settings: CanvasSettings,
    registered: Registered,
    progress: Progress,
    crew: Crew | None,
    finish: Callable[[Strips], Strips] | None = None,
) -> Tally:
    """Stack frames, write the result, and return what was counted; `finish` changes the strips that are written."""
    tally, kept = Tally(), KeptCells(stack.cells, installed_version())
    strips = stacked_strips(canvas, frames, settings, kept=kept, progress=_Named(progress, name), crew=crew)
    with closing(strips):
        counted = tally.over(strips)
        write_result(
            stack.to,
            canvas.shape,
            frames[0].channels,
            counted if finish is None else finish(counted),
            cards=cards,
            closing=tally.cards,
            correlation=correlation(frames, canvas, settings),
            wcs=canvas.wcs() if registered.on_the_sky else None,
            top_down=not stack.to.upside_down,
        )
    if kept.failure:
        progress.warn(f"not all that is finished could be kept for --resume: {kept.failure}")
    return tally


@contextmanager
def _image(written: Written) -> Iterator[PartOf]:
    """Give what returns parts of an image as it was written."""
    with image_and_coverage(written.folder / written.names.image, written.packed) as (image, _):
        yield lambda box: image.part(box).reshape(*box.shape, -1)


class _Named:
    """Progress of a second stack, which has a bar of its own."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name

    def step(self, name: str, done: int, total: int) -> None:
        self._progress.step(f"{name} {self._name}", done, total)

    def warn(self, text: str) -> None:
        self._progress.warn(text)


def _remarks(found: CometFrames, merged: bool) -> list[str]:
    """Return what is wrong with frames that were turned after a comet, in lines."""
    lines = []
    if found.untimed:
        names = ", ".join(path.name for path in found.untimed[:MOST_NAMED])
        more = " ..." if len(found.untimed) > MOST_NAMED else ""
        count = len(found.untimed)
        tell = "1 frame tells no time and is" if count == 1 else f"{count} frames tell no time and are"
        lines.append(f"comet: {tell} not in its stack (DATE-OBS is missing): {names}{more}")
    if not found.followed.by_light:
        lines.append(
            "comet: no nucleus is surely seen near the marks, so its motion is as marked, from "
            f"{found.first.name} to {found.last.name}: if it is blurred in comet.fits, mark it again"
        )
        if merged:
            lines.append("comet: merged.fits has on its stars what light is around the marks, be it a comet's or not")
    if found.stars_stay:
        lines.append(
            f"comet: it moves only {found.drift_px:.1f} px among the stars, which are {found.width_px:.1f} px wide: "
            "they stay in comet.fits, as trails so short"
        )
    return lines


def _beyond(found: CometFrames, left_out: Iterable[Path]) -> list[str]:
    """Return which frames that were left out lie before the first or after the last one: marks may be in them."""
    lines = []
    for path in sorted(left_out):
        moment = _moment_of_light(path)
        if moment is not None and not found.begin <= moment <= found.end:
            end, name = ("first", found.first.name) if moment < found.begin else ("last", found.last.name)
            lines.append(f"comet: {path.name} was left out, so the {end} mark is taken to be in {name}")
    return lines


def _moment_of_light(path: Path) -> datetime | None:
    """Return when a light frame was taken, by its header."""
    try:
        facts = facts_of(read_layout(path))
    except FrameError:  # it was said why
        return None
    return moment_of_facts(facts) if facts.kind == "light" else None


def _report(found: CometFrames, canvas: Canvas, registered: Registered, to: Written) -> CometReport:
    """Return what is to be told of a comet, before it is stacked."""
    motion, light = found.motion, found.followed
    x, y = (float(side) for side in canvas.view.pixels(motion.place))
    sky = registered.on_the_sky
    ra, dec = np.degrees(np.arctan2(motion.place[1], motion.place[0])) % 360, np.degrees(np.arcsin(motion.place[2]))
    return CometReport(
        files=to.names,
        merged=None,
        frames=len(found.frames),
        first=found.first.name,
        last=found.last.name,
        when=motion.when.replace(tzinfo=None).isoformat(timespec="milliseconds"),
        x=round(x + 1, 2),
        y=round(y + 1, 2),
        ra_deg=round(float(ra), 6) if sky else None,
        dec_deg=round(float(dec), 6) if sky else None,
        arcsec_per_hour=round(motion.arcsec_per_hour, 2) if sky else None,
        position_angle_deg=round(motion.position_angle, 2) if sky else None,
        moved_px=round(found.drift_px, 2),
        by_light=light.by_light,
        error_px=round(light.error_px, 3) if light.by_light else None,
        marks_off_px=round(light.moved_px, 2) if light.by_light else None,
        rejected_percent=None,
        stars_stay=found.stars_stay,
        untimed=tuple(path.name for path in found.untimed),
    )


def _cards(report: CometReport) -> Cards:
    """Return the cards that say where a comet is in its picture and how it moves, as far as that is known."""
    cards = {
        "DATE-AVG": (report.when, "UTC, of the comet's place in this image"),
        "NPA_CX": (report.x, "[px] the comet's nucleus, first pixel 1"),
        "NPA_CY": (report.y, "[px] the comet's nucleus, first pixel 1"),
        "NPA_CRA": (report.ra_deg, "[deg] the comet's nucleus"),
        "NPA_CDEC": (report.dec_deg, "[deg] the comet's nucleus"),
        "NPA_CRAT": (report.arcsec_per_hour, "[arcsec/h] its motion among the stars"),
        "NPA_CPA": (report.position_angle_deg, "[deg] where to, from north to east"),
        "NPA_CPX": (report.moved_px, "[px] its way from the first to the last frame"),
        "NPA_CERR": (report.error_px, "[px] standard error of its place at both ends"),
    }
    return {name: card for name, card in cards.items() if card[0] is not None}
