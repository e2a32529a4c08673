# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a result that was stacked straight from frames: what its mosaic.json, or tile.json, holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nanstack.io.frames import short_names
from nanstack.report import shown
from nanstack.survey.selection import alike_together
from zemosaic_patch.report.flats import CameraFlat
from zemosaic_patch.report.frames import StackedFrame
from zemosaic_patch.report.pixels import Pixels
from zemosaic_patch.report.registration import Registered
from zemosaic_patch.report.sky import SkySolved
from zemosaic_patch.sky_words import in_a_line

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.levels.placed import PlacedFrame
    from nanstack.levels.sky_told import SkyTold
    from nanstack.session import Session
    from zemosaic_patch.report.comet import CometReport
    from zemosaic_patch.report.stack import Stacked
    from zemosaic_patch.result_files import ResultFiles


@dataclass(frozen=True)
class CanvasReport:
    """What is known of a result that was stacked straight from frames: what mosaic.json, or tile.json, holds.

    Attributes
    ----------
    canvas : Pixels
    files : ResultFiles
    stack : Stacked
    registration : Registered
    frames : tuple of StackedFrame
    flats : tuple of CameraFlat
    sky : SkySolved or None
        How the frames were brought to one sky.
    left_out : dict
        Name of a file: why it is not among them.
    taken_in : dict
        Name of a frame that is among them because it was wanted: what speaks against it.
    can_be_taken_in : tuple of str
        Names of those left out that could be among them in the same way.
    settings : dict
        By which it was made, ready for JSON.
    seconds : dict
        Time that its stages took.
    comet : CometReport or None
        Of what was stacked beside it.
    warnings : tuple of str
        What was told while it was made, lines that are alike in one.
    """

    canvas: Pixels
    files: ResultFiles
    stack: Stacked
    registration: Registered
    frames: tuple[StackedFrame, ...]
    flats: tuple[CameraFlat, ...]
    sky: SkySolved | None
    left_out: dict[str, str]
    settings: dict[str, Any]
    seconds: dict[str, float]
    comet: CometReport | None = None
    warnings: tuple[str, ...] = ()
    taken_in: dict[str, str] = field(default_factory=dict)
    can_be_taken_in: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        session: Session,
        placed: Sequence[PlacedFrame],
        canvas: Canvas,
        *,
        sky: SkyTold | None = None,
        files: ResultFiles,
        stack: Stacked,
        settings: Mapping[str, Any],
        seconds: Mapping[str, float],
        like: str = "north up",
        upside_down: bool = True,
        comet: CometReport | None = None,
        warnings: Sequence[str] = (),
    ) -> CanvasReport:
        """Return what is known of a result.

        Parameters
        ----------
        session : Session
            With all that is left out.
        placed : sequence of PlacedFrame
            One at least.
        canvas : Canvas
        sky : SkyTold, optional
            What is known of the frames' common sky.
        files : ResultFiles
        stack : Stacked
        settings, seconds : mapping
            Ready for JSON.
        like : str
            What the canvas's pixels are chosen by.
        upside_down : bool
            Whether the picture's first row is the image's last one.
        comet : CometReport, optional
        warnings : sequence of str
        """
        names = short_names([*(one.frame.path for one in placed), *session.left_out])
        registration = Registered.of(session)
        return cls(
            canvas=Pixels.of(canvas, like, on_the_sky=registration.on_the_sky, scale_known=session.knows_its_scale),
            files=files,
            stack=stack,
            registration=registration,
            frames=StackedFrame.all_of(placed, canvas, names, upside_down=upside_down),
            flats=CameraFlat.all_of(placed),
            sky=sky and SkySolved.of(sky, placed, names, upside_down=upside_down),
            left_out=dict(sorted((names[path], reason) for path, reason in session.left_out.items())),
            settings=dict(settings),
            seconds={name: round(value, 3) for name, value in seconds.items()},
            comet=comet,
            warnings=tuple(alike_together(warnings)),
            taken_in=dict(sorted((names[path], reason) for path, reason in session.taken_in.items())),
            can_be_taken_in=tuple(sorted(names[path] for path in session.can_be_taken_in)),
        )

    def json(self) -> dict[str, Any]:
        """Return the report, ready for JSON."""
        return asdict(self)

    @property
    def trails_told(self) -> str:
        """How many frames have trails, and what became of these; empty where none has."""
        count, stack = sum(bool(frame.trails) for frame in self.frames), self.stack
        if not count:
            return ""
        stay = f"; {stack.spared_samples:,} stay, as no other frame shows the place" if stack.spared_samples else ""
        return f"in {count} of {len(self.frames)} frames, {stack.masked_samples:,} samples left out{stay}"

    @property
    def _of_trails(self) -> str:
        """What the rejected samples hold beside those that the rejection found."""
        return ", and those on trails" if self.stack.masked_samples else ""

    def lines(self) -> list[str]:
        """Return the report as lines for the screen."""
        stack = self.stack
        kept = f", {stack.cells_kept} of {stack.cells} parts kept from an earlier run" if stack.cells_kept else ""
        usual, worst = (shown(rms, " px") for rms in (self.registration.rms_px_median, self.registration.rms_px_max))
        rows = {
            "frames": f"{len(self.frames)} stacked"
            f"{f', {len(self.taken_in)} of them taken in by you' if self.taken_in else ''}"
            f", {len(self.left_out)} left out",
            "image": f"{self.canvas.told}{kept}",
            "coverage": f"{stack.coverage_median:g} frame{'s' * (stack.coverage_median != 1)} in the usual pixel, "
            f"up to {stack.coverage_max}",
            "registration": f"rms {usual} (worst frame {worst})",
            "place on the sky": self.registration.place_told,
            **({"sky": in_a_line(self.sky.told)} if self.sky else {}),
            **({"drizzled": stack.drizzle_told} if stack.drizzle else {}),
            **({"trails": self.trails_told} if self.trails_told else {}),
            "rejected": f"{shown(stack.rejected_percent, ' %')} of the samples ({stack.rejection}{self._of_trails})",
            **({"comet": self.comet.told} if self.comet else {}),
            "time": ", ".join(f"{value:.1f} s {name}" for name, value in self.seconds.items()),
        }
        return [f"{name:<18} {text}" for name, text in rows.items()]
