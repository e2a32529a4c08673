# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a mosaic or a tile, as records; and reports as files: mosaic.json, tile.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.io.files import complete_file
from nanstack.io.frames import short_names
from nanstack.levels.flux import Kind
from nanstack.levels.sample_noise import sky_of
from nanstack.register.transparency import CLEAR
from nanstack.report import known, shown
from nanstack.stack.noise_model import NoiseRejection
from nanstack.stack.tally import median_coverage, share_of_holes
from nanstack.survey.selection import alike_together
from zemosaic_patch.sky_words import in_a_line, sentences

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.levels.placed import PlacedFrame
    from nanstack.levels.sky_told import SkyTold
    from nanstack.register.registered import RegisteredFrame
    from nanstack.session import Session
    from nanstack.settings import CanvasSettings
    from nanstack.stack.definition import Rejection
    from nanstack.stack.drizzle import Drizzle
    from nanstack.survey.trails import Trail

UNKNOWN = "unknown"  # place on the sky

Corners = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class JoinedTile:
    """A tile that was joined.

    Attributes
    ----------
    name, file : str
        The file by its path in the mosaic's folder; one that lies elsewhere by its name.
    corners : tuple of (float, float)
        Its four corners in the picture, whose first row is the north, in pixels.
    background_adu : tuple of float
        What was added to its middle, a number a channel.
    frames : int or None
        How many it was made of.
    """

    name: str
    file: str
    corners: Corners
    background_adu: tuple[float, ...]
    frames: int | None


@dataclass(frozen=True)
class Levelling:
    """How the tiles were brought to one background.

    Attributes
    ----------
    model : str
    overlaps : int
        Pairs of tiles that were compared.
    """

    model: str
    overlaps: int


@dataclass(frozen=True)
class Registered:
    """How the frames were registered.

    Attributes
    ----------
    frames : int
    rms_px_median, rms_px_max : float or None
        Of the stars of a frame, over the frames.
    place : str
        How the place on the sky was found: see `nanstack.register.place.Place`.
    approximate : bool
        Whether that is no better than the headers' pointing.
    """

    frames: int
    rms_px_median: float | None
    rms_px_max: float | None
    place: str
    approximate: bool

    @classmethod
    def of(cls, session: Session) -> Registered:
        """Return what is to be told of registered frames."""
        rms = [frame.rms for frame in session.frames]
        how, approximate = (UNKNOWN, True) if session.place is None else (session.place.how, session.place.approximate)
        return cls(len(rms), known(np.median(rms)), known(max(rms)), how, approximate)

    @property
    def on_the_sky(self) -> bool:
        """Whether the place on the sky is known at all."""
        return self.place != UNKNOWN

    @property
    def place_told(self) -> str:
        """The place on the sky, in words."""
        if not self.on_the_sky:
            return "unknown: the result has no WCS"
        return f"{self.place}, APPROXIMATE" if self.approximate else self.place


@dataclass(frozen=True)
class MosaicImage:
    """A mosaic's files, and what they show.

    Attributes
    ----------
    file, picture, picture_linked, coverage_picture : str
        Names in its folder.
    shape : tuple of int
    coverage_max : int
        Most frames in a pixel.
    background : Levelling
    """

    file: str
    picture: str
    picture_linked: str
    coverage_picture: str
    shape: tuple[int, ...]
    coverage_max: int
    background: Levelling


@dataclass(frozen=True)
class MosaicReport:
    """What is known of a mosaic of existing tiles.

    Attributes
    ----------
    tiles : tuple of JoinedTile
    mosaic : MosaicImage
    settings : dict
        By which it was made, ready for JSON.
    seconds : dict
        Time that its parts took.
    left_out : dict
        Name of a file that is not in it: why.
    warnings : tuple of str
        What else was told while it was made, lines that are alike in one.
    """

    tiles: tuple[JoinedTile, ...]
    mosaic: MosaicImage
    settings: dict[str, Any]
    seconds: dict[str, float]
    left_out: dict[str, str]
    warnings: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the report, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report as lines for the screen."""
        height, width = self.mosaic.shape[:2]
        counts = [tile.frames for tile in self.tiles]
        frames = "an unknown number" if None in counts else sum(counts)
        rows = {
            "tiles": f"{len(self.tiles)} joined, {len(self.left_out)} left out",
            "frames": f"{frames} in the tiles",
            "mosaic": f"{width} x {height} pixels, up to {self.mosaic.coverage_max} frames in one",
            "background": f"{self.mosaic.background.model}, overlaps compared: {self.mosaic.background.overlaps}",
            "time": ", ".join(f"{value:.1f} s {name}" for name, value in self.seconds.items()),
        }
        return [f"{name:<18} {text}" for name, text in rows.items()]


# --- a result stacked straight from frames ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Pixels:
    """The pixels of a result.

    Attributes
    ----------
    shape : (int, int)
        Height and width.
    scale_arcsec : float or None
        Arcseconds a pixel, in the middle; None where nothing tells it.
    like : str
        What they are chosen by: 'north up', or whose pixels they are.
    ra_deg, dec_deg : float or None
        Their middle; None where the place on the sky is not known.
    """

    shape: tuple[int, int]
    scale_arcsec: float | None
    like: str
    ra_deg: float | None
    dec_deg: float | None

    @classmethod
    def of(cls, canvas: Canvas, like: str, *, on_the_sky: bool, scale_known: bool) -> Pixels:
        """Return what is to be told of a canvas."""
        height, width = canvas.shape
        x, y, z = canvas.view.directions(np.array((width - 1) / 2), np.array((height - 1) / 2))
        ra, dec = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(z))
        place = (round(float(ra), 5), round(float(dec), 5)) if on_the_sky else (None, None)
        scale = round(np.degrees(1 / canvas.view.focal) * 3600, 5) if scale_known else None
        return cls(canvas.shape, scale, like, *place)

    @property
    def told(self) -> str:
        """What they are, in words."""
        height, width = self.shape
        scale = "an unknown scale" if self.scale_arcsec is None else f"{self.scale_arcsec:.4g} arcsec"
        return f"{width} x {height} pixels of {scale}, {self.like}"


@dataclass(frozen=True)
class ResultFiles:
    """The files of a result, by their names in its folder.

    Attributes
    ----------
    image, picture : str
    coverage_picture, picture_linked : str
        Empty where there is none.
    """

    image: str
    picture: str
    coverage_picture: str
    picture_linked: str = ""


@dataclass(frozen=True)
class Stacked:
    """How the samples became an image.

    Attributes
    ----------
    rejection : str
        'noise', or one of `nanstack.stack.definition.METHODS`.
    kappa : (float, float)
        Its reach below and above.
    combine, sky, weights : str
        As in `nanstack.settings.CanvasSettings`.
    drizzle : Drizzle or None
        How photosites dropped, where they did.
    rejected_percent : float or None
        Of the samples, those of trails among them: these go whatever the rejection, 'none' too.
    masked_samples, spared_samples : int
        Those left out because they show a trail; those that stay though they do, as no other frame shows the place.
    shown_percent : float
        Pixels of the canvas that show something.
    holes_percent : float or None
        Of the pixels that frames saw: those that no drop of some colour reached. None without a drizzle.
    coverage_median : float
        Frames in a pixel, where there are any.
    coverage_max : int
    cells, cells_kept : int
        Parts that the result is made of; how many of them were there already, from an earlier run.
    """

    rejection: str
    kappa: tuple[float, float]
    combine: str
    sky: str
    weights: str
    drizzle: Drizzle | None
    rejected_percent: float | None
    shown_percent: float
    holes_percent: float | None
    coverage_median: float
    coverage_max: int
    cells: int
    cells_kept: int
    masked_samples: int = 0
    spared_samples: int = 0

    @classmethod
    def of(
        cls,
        settings: CanvasSettings,
        coverage: np.ndarray,
        rejected: int,
        samples: int,
        cells: int = 1,
        cells_kept: int = 0,
        *,
        holes: int = 0,
        masked: int = 0,
        spared: int = 0,
    ) -> Stacked:
        """Return what is to be told of a stack.

        Parameters
        ----------
        settings : CanvasSettings
        coverage : ndarray of int, shape (n,)
            How many pixels show no frame, one, two ...: cells' counts added up.
        rejected, samples, cells, cells_kept, holes, masked, spared : int
        """
        rejection, kappa = _rejection(settings.rejection)
        return cls(
            rejection=rejection,
            kappa=kappa,
            combine=settings.combine,
            sky=settings.sky,
            weights=settings.weights,
            drizzle=settings.drizzle,
            rejected_percent=round(100 * rejected / samples, 4) if samples else None,
            shown_percent=round(100 * float(np.sum(coverage[1:])) / max(int(np.sum(coverage)), 1), 3),
            holes_percent=None if settings.drizzle is None else round(share_of_holes(coverage, holes), 4),
            coverage_median=float(median_coverage(coverage)),
            coverage_max=int(np.flatnonzero(coverage)[-1]) if np.any(coverage) else 0,
            cells=cells,
            cells_kept=cells_kept,
            masked_samples=masked,
            spared_samples=spared,
        )


def _drops(drizzle: Drizzle, holes: float) -> str:
    """Return how photosites dropped, in words; holes are a percentage."""
    size = "" if drizzle.kernel == "point" else f" of {drizzle.pixfrac:g} of a photosite's side"
    finer = "as fine as the frames" if drizzle.scale == 1 else f"{drizzle.scale:g} times finer than the frames"
    return f"{finer}, drops{size} ({drizzle.kernel}); {shown(holes, ' %')} of the pixels seen got none"


def _rejection(rejection: NoiseRejection | Rejection) -> tuple[str, tuple[float, float]]:
    """Return a rejection's name, and its reach below and above."""
    if isinstance(rejection, NoiseRejection):
        return "noise", (rejection.kappa, rejection.kappa)
    return rejection.method, (rejection.kappa_low, rejection.kappa_high)


@dataclass(frozen=True)
class TrailTold:
    """A trail of a satellite or an aircraft in a frame.

    Attributes
    ----------
    ends : tuple of (float, float)
        In pixels of the picture; empty where it shows one of them nowhere.
    length_px, width_px : float
        In the frame.
    light_sigma : float
        Its brightest, across it, over the noise of a photosite.
    """

    ends: Corners
    length_px: float
    width_px: float
    light_sigma: float

    @classmethod
    def of(cls, trail: Trail, placed: PlacedFrame, canvas: Canvas, upside_down: bool) -> TrailTold:
        """Return what is to be told of a trail."""
        ends = np.array([trail.x0, trail.x1]), np.array([trail.y0, trail.y1])
        places = _in_picture(*ends, placed, canvas, upside_down)
        return cls(places, round(trail.length, 1), round(2 * trail.half_width, 1), _rounded(trail.light, 3))


@dataclass(frozen=True)
class StackedFrame:
    """A frame of a result; None is what was not measured. A tuple has a number a colour.

    Attributes
    ----------
    name, date : str
        The date as the header has it.
    exposure_s : float or None
    stars_found, stars_used : int
        The latter by the registration.
    rms_px : float or None
        How far these lie from where the others have them.
    fwhm_px, elongation : float or None
        Width of the stars; their longer axis over the shorter one.
    sky_adu, noise_adu : tuple of float
        The frame's own, before its gain.
    transparency : float or None
        Its stars' flux over that in a clear frame of the same exposure and camera.
    transparency_error : float or None
        Its standard error.
    gain : tuple of float
        What its samples were multiplied by.
    added_adu : tuple of float
        What was added then, in its middle.
    weight : float
        1 is the usual frame.
    corners : tuple of (float, float)
        In pixels of the picture.
    trails : tuple of TrailTold
        What lies on them is left out where another frame shows the place.
    """

    name: str
    date: str
    exposure_s: float | None
    stars_found: int
    stars_used: int
    rms_px: float | None
    fwhm_px: float | None
    elongation: float | None
    sky_adu: tuple[float | None, ...]
    noise_adu: tuple[float | None, ...]
    transparency: float | None
    transparency_error: float | None
    gain: tuple[float, ...]
    added_adu: tuple[float | None, ...]
    weight: float
    corners: Corners
    trails: tuple[TrailTold, ...] = ()

    @classmethod
    def of(cls, placed: PlacedFrame, canvas: Canvas, *, name: str, clear: float, upside_down: bool) -> StackedFrame:
        """Return what is to be told of a frame; `clear` is the flux of a clear frame of its kind."""
        frame, survey, level = placed.frame, placed.frame.survey, placed.level
        middle = frame.view.directions(*np.array([[(side - 1) / 2] for side in frame.shape[1::-1]]))
        x, y = (float(at[0] - start) for at, start in zip(canvas.view.pixels(middle), canvas.origin, strict=True))
        return cls(
            name=name,
            date=frame.facts.date,
            exposure_s=frame.facts.exposure,
            stars_found=len(survey.stars),
            stars_used=frame.stars,
            rms_px=_rounded(frame.rms, 4),
            fwhm_px=_rounded(survey.stars.fwhm, 4),
            elongation=_rounded(survey.elongation, 4),
            sky_adu=_colours(np.atleast_1d(sky_of(frame))),
            noise_adu=_colours(np.atleast_1d(survey.noise)),
            transparency=_rounded(_flux(frame) / clear, 4),
            transparency_error=_rounded(_flux(frame) / clear * frame.factor_error, 2),
            gain=_colours(placed.gain),
            added_adu=_colours(level.at(x, y)),
            weight=_rounded(placed.weight, 5),
            corners=_corners(placed, canvas, upside_down),
            trails=tuple(TrailTold.of(trail, placed, canvas, upside_down) for trail in placed.trails),
        )


def _corners(placed: PlacedFrame, canvas: Canvas, upside_down: bool) -> Corners:
    """Return where a frame's corners lie in the picture, counted from the corner of its first pixel."""
    height, width = placed.frame.shape[:2]
    edges = np.array([-0.5, width - 0.5, width - 0.5, -0.5]), np.array([-0.5, -0.5, height - 0.5, height - 0.5])
    return _in_picture(*edges, placed, canvas, upside_down)


def _in_picture(x: np.ndarray, y: np.ndarray, placed: PlacedFrame, canvas: Canvas, upside_down: bool) -> Corners:
    """Return where a frame's pixels lie in the picture; nothing where one of them lies nowhere."""
    x, y = canvas.view.pixels(placed.frame.view.directions(x, y))
    y = canvas.shape[0] - 1 - y if upside_down else y
    places = np.column_stack([x + 0.5, y + 0.5])
    return tuple(map(tuple, np.round(places, 1).tolist())) if np.isfinite(places).all() else ()


def _rounded(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


def _colours(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(_rounded(value, 6) for value in values.tolist())


@dataclass(frozen=True)
class CameraFlat:
    """What stars show of a camera that its own flat left, or that it has none.

    Attributes
    ----------
    camera : str
        As headers name it.
    corners_percent : float
        By how much less of a star's light than the middle its corners show, on average.
    error_percent : float
        The standard error of that.
    """

    camera: str
    corners_percent: float
    error_percent: float

    @classmethod
    def all_of(cls, placed: Sequence[PlacedFrame]) -> tuple[CameraFlat, ...]:
        """Return those of frames' cameras that stars tell of, in the order of their names."""
        flats = {(one.frame.facts.instrument, one.frame.shape): one.frame.flat for one in placed}
        return tuple(
            cls(camera, round(100 * flat.corner(shape), 2), round(100 * flat.error, 2))
            for (camera, shape), flat in sorted(flats.items())
            if np.isfinite(flat.error)
        )


def _flux(frame: RegisteredFrame) -> float:
    """Return what a frame shows of a star's flux in the usual one; NaN where its stars do not tell."""
    return 1 / frame.factor if np.isfinite(frame.factor_error) else np.nan


def _clear_flux(placed: Sequence[PlacedFrame]) -> dict[Kind, float]:
    """Return the flux of a clear frame of each kind."""
    fluxes: dict[Kind, list[float]] = {}
    for one in placed:
        fluxes.setdefault(Kind.of(one.frame), []).append(_flux(one.frame))
    known_ones = {kind: [flux for flux in of if flux > 0] for kind, of in fluxes.items()}
    return {kind: float(np.percentile(of, CLEAR)) if of else np.nan for kind, of in known_ones.items()}


@dataclass(frozen=True)
class SkySolved:
    """How frames were brought to one sky.

    Attributes
    ----------
    told : SkyTold
        Of the picture, whose first row is the north.
    covered : dict
        Name of a frame: how much of it is covered, as by a tree.
    words : tuple of str
        What could be told, and what could not.
    """

    told: SkyTold
    covered: dict[str, float]
    words: tuple[str, ...]

    @classmethod
    def of(
        cls, told: SkyTold, placed: Sequence[PlacedFrame], names: Mapping[Path, str], *, upside_down: bool
    ) -> SkySolved:
        """Return how frames, whose files have such names, were brought to one sky."""
        covered = {
            names[one.frame.path]: told.covered[one.frame.survey.digest]
            for one in placed
            if one.frame.survey.digest in told.covered
        }
        return cls(told.upside_down if upside_down else told, covered, tuple(sentences(told, covered)))


@dataclass(frozen=True)
class CometReport:
    """What is known of a comet's stack.

    Attributes
    ----------
    files : ResultFiles
    merged : ResultFiles or None
        Of the picture of stars and comet.
    frames : int
        That were stacked.
    first, last : str
        Names of the frames between whose times it moves.
    when : str
        UTC, of the place at which the pictures show it: the middle of that time.
    x, y : float
        That place, in pixels as FITS counts them.
    ra_deg, dec_deg, arcsec_per_hour, position_angle_deg : float or None
        That place on the sky, and the motion; None where the sky is not known.
    moved_px : float
        From the first to the last frame, in pixels of the canvas.
    by_light : bool
        Whether the motion is by the nucleus's own light, or as it was marked.
    error_px, marks_off_px : float or None
        Standard error of the place in the first and the last frame; how far the marks were off at most.
    rejected_percent : float or None
        Of the samples, those with stars in them among them.
    stars_stay : bool
        Whether it moves too little for the stars to go.
    untimed : tuple of str
        Names of frames that were left out, as their headers tell no time.
    """

    files: ResultFiles
    merged: ResultFiles | None
    frames: int
    first: str
    last: str
    when: str
    x: float
    y: float
    ra_deg: float | None
    dec_deg: float | None
    arcsec_per_hour: float | None
    position_angle_deg: float | None
    moved_px: float
    by_light: bool
    error_px: float | None
    marks_off_px: float | None
    rejected_percent: float | None
    stars_stay: bool
    untimed: tuple[str, ...]

    @property
    def told(self) -> str:
        """How it moves, in words."""
        rate = "" if self.arcsec_per_hour is None else f", {self.arcsec_per_hour:.4g} arcsec an hour"
        angle = "" if self.position_angle_deg is None else f" towards {self.position_angle_deg:.1f} degrees"
        how = f"by its own light, to {self.error_px:.2f} px" if self.by_light else "as marked"
        return f"{self.moved_px:.1f} px from {self.first} to {self.last}{rate}{angle}, {how}"


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
        clear = _clear_flux(placed)
        registration = Registered.of(session)
        return cls(
            canvas=Pixels.of(canvas, like, on_the_sky=registration.on_the_sky, scale_known=session.knows_its_scale),
            files=files,
            stack=stack,
            registration=registration,
            frames=tuple(
                StackedFrame.of(
                    one,
                    canvas,
                    name=names[one.frame.path],
                    clear=clear[Kind.of(one.frame)],
                    upside_down=upside_down,
                )
                for one in sorted(placed, key=lambda one: names[one.frame.path])
            ),
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
            **({"drizzled": _drops(stack.drizzle, stack.holes_percent)} if stack.drizzle else {}),
            **({"trails": self.trails_told} if self.trails_told else {}),
            "rejected": f"{shown(stack.rejected_percent, ' %')} of the samples ({stack.rejection}{self._of_trails})",
            **({"comet": self.comet.told} if self.comet else {}),
            "time": ", ".join(f"{value:.1f} s {name}" for name, value in self.seconds.items()),
        }
        return [f"{name:<18} {text}" for name, text in rows.items()]


# --- files ------------------------------------------------------------------------------------------------------------


def write_json(told: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON; the file appears complete or not at all."""
    with complete_file(path) as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a report's file holds; None where there is none, or a damaged one."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the last one of brackets within brackets
        return None
    return told if isinstance(told, dict) else None
