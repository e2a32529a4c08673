# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the commands, each declared once: name, meaning, range and shape on the command line.

`zemosaic_patch.arguments` makes of these records the argument parsers, what `run.toml` holds, and the tables of
docs/usage.md. Defaults are those of the engine's settings: a command is given records that hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any

from nanstack.comet import COUNTS, Marks
from nanstack.register.warp import INTERPOLATIONS
from nanstack.settings import JOINS, SKIES, TILE_MATCHES, WEIGHTS, CanvasSettings, JoinSettings
from nanstack.stack.definition import COMBINES, Rejection
from nanstack.stack.drizzle import KERNELS, TIMES_FINER, Drizzle
from nanstack.stack.noise_model import NoiseRejection
from nanstack.survey.facts import SCALES
from zemosaic_patch.dropin.sources import SKY_MODEL
from zemosaic_patch.errors import UsageError
from zemosaic_patch.names import REJECTIONS, WINSOR_METHODS

NOISE, WINSORIZED = "noise", "winsorized_sigma_clip"
OF_WINSORIZED = "reject", WINSORIZED
MATCHES = ("offset", "linear", "plane", "none")  # of ZeMosaic's tiles; the commonest first
CANVASES = ("all", "reference")
FORMATS = ("fits", "fz")
PICTURES = ("png", "tif")
PROGRESSES = ("bars", "json")
FRAME, IMAGE = "frame", "image"  # what files options name: one of the frames given, any FITS image
STACKS = ("comet", "merged")  # beside the stars: on a comet's motion, and of stars and comet in one
GONE = {  # options of earlier versions that a kept run.toml may name, and what stands in their place
    "tile_frames": "", "min_frames": "", "workers": "", "norm": "", "gpu": "",
    "weight": "--weights", "compress": "--format fz",
}  # fmt: skip


@dataclass(frozen=True)
class Range:
    """Numbers that an option takes.

    Attributes
    ----------
    low, high : float or None
        None: without a limit.
    with_low, with_high : bool
        Whether the limits belong to it.
    """

    low: float | None = None
    high: float | None = None
    with_low: bool = True
    with_high: bool = True

    def __contains__(self, value: float) -> bool:
        above = self.low is None or value > self.low or (self.with_low and value == self.low)
        below = self.high is None or value < self.high or (self.with_high and value == self.high)
        return above and below and abs(value) < float("inf")  # which NaN is not, either

    def __str__(self) -> str:
        if self.high is None:
            return f"of at least {self.low:g}" if self.with_low else f"above {self.low:g}"
        begin = f"from {self.low:g} to" if self.with_low else f"above {self.low:g}, up to"
        return f"{begin} {'' if self.with_high else 'below '}{self.high:g}"


@dataclass(frozen=True)
class Option:
    """How a field of a record is asked for.

    Attributes
    ----------
    text : str
        What it does, in a line.
    kind : type
        Of a value: str, int, float, Path or bool. A bool is a flag.
    metavar : str or tuple of str
        What stands for the value in help texts; empty: the choices, or nothing.
    choices : tuple of str
    within : Range or None
    unit : str
        Of a number.
    count : (int, int)
        How many values it takes, at least and at most.
    short : str
        A short name, '-o'.
    positional, required, negatable : bool
        Without a name; must be given; a flag that has a '--no-...', too.
    repeated : bool
        May be given several times, each time with one more value.
    bare, off : str or None
        Its value where only its name is given, and where it is given as '--no-...'.
    kept : bool
        Whether a run's settings, run.toml, hold it: not what says where the output goes.
    names : {'', 'frame', 'image'}
        What file a value names.
    part_of : (str, str or None) or None
        The option without which it has no effect, and the value that this must have; None: any.
    """

    text: str
    kind: type = str
    metavar: str | tuple[str, ...] = ""
    choices: tuple[str, ...] = ()
    within: Range | None = None
    unit: str = ""
    count: tuple[int, int] = (1, 1)
    short: str = ""
    positional: bool = False
    required: bool = False
    negatable: bool = False
    repeated: bool = False
    bare: str | None = None
    off: str | None = None
    kept: bool = True
    names: str = ""
    part_of: tuple[str, str | None] | None = None

    @property
    def is_joined(self) -> bool:
        """Whether a value is several numbers with commas between."""
        return "," in self.metavar

    @property
    def takes(self) -> str:
        """What a value must be, in words."""
        number = "whole number" if self.kind is int else "number"
        counts = {(1, 1): f"a {number}", (1, 2): f"one or two {number}s", (2, 2): f"two {number}s"}
        return f"{counts[self.count]} {self.within}"


def option(text: str, kind: type = str, **shape: Any) -> Any:
    """Declare a field of a record of options, as `Option` describes it; it has the default of its kind, if any."""
    default = shape.pop("default", False if kind is bool else None)
    return field(default=default, metadata={"option": Option(text, kind, **shape)})


def progress_option() -> Any:
    """Declare how a run tells how far it is."""
    return option(
        "how a run tells how far it is: bars on the screen, or lines of JSON there, for programs",
        choices=PROGRESSES, default=PROGRESSES[0], kept=False,
    )  # fmt: skip


def leave_out_option() -> Any:
    """Declare which frames the owner does not want."""
    return option(
        "leave this frame out, by its name or path; once for each such frame", metavar="FILE", repeated=True, default=()
    )


def take_in_option() -> Any:
    """Declare which frames the owner wants whatever speaks against them."""
    return option(
        "take this frame in, by its name or path, though it would make the picture worse (doubled, trailed, blurred, "
        "clouded) or is of another kind or filter; once for each such frame",
        metavar="FILE", repeated=True, default=(),
    )  # fmt: skip


def option_of(declared: Field) -> Option:
    """Return what `option` declared of a field."""
    return declared.metadata["option"]


# --- frames onto a canvas ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CanvasChoice:
    """Which pixels a result has.

    Attributes
    ----------
    kind : {'all', 'reference'}
        As many as show every frame, or those of a frame.
    reference : str, optional
        The name of that frame, by default the most central one; of 'all' one whose scale and turn they have.
    scale : float, optional
        Arcseconds a pixel, of 'all'; by default those of the usual frame, or of the reference.
    like : str, optional
        Name of a FITS image whose pixels they are, whatever the rest says.
    """

    kind: str = "all"
    reference: str | None = None
    scale: float | None = None
    like: str | None = None

    @property
    def is_north_up(self) -> bool:
        """Whether the first row is the lowest on the screen, as FITS viewers show it; that of a frame is on top."""
        return self.like is not None or (self.kind == "all" and self.reference is None)


@dataclass(frozen=True)
class CanvasOptions:
    """Which pixels a result has: options of `mosaic` and `tile`."""

    canvas: str = option(
        "pixels of the result: as many as show every frame (all), or those of one frame (reference)", choices=CANVASES
    )
    reference: str | None = option(
        "the frame whose pixels are meant, by default the most central; with --canvas all its scale and turn are taken",
        metavar="FILE", names=FRAME,
    )  # fmt: skip
    scale: float | None = option(
        "scale of the result; by default the frames' own",
        float, unit="arcseconds a pixel", metavar="ARCSEC", within=Range(*SCALES),
    )  # fmt: skip
    like: str | None = option(
        "take the pixels of another FITS image, by the WCS in its header", metavar="FILE", names=IMAGE
    )

    @classmethod
    def of(cls, choice: CanvasChoice) -> CanvasOptions:
        """Return the options that stand for a choice."""
        return cls(choice.kind, choice.reference, choice.scale, choice.like)

    def choice(self) -> CanvasChoice:
        """Return what these options choose; UsageError where they contradict each other."""
        if self.like is not None and (self.reference is not None or self.scale is not None):
            raise UsageError("--like says all of the pixels: leave out --reference and --scale")
        if self.scale is not None and self.canvas == "reference":
            raise UsageError("--scale is for --canvas all: a frame's own pixels have its own scale")
        return CanvasChoice(self.canvas, self.reference, self.scale, self.like)


@dataclass(frozen=True)
class StackOptions:
    """How frames are stacked: options of `mosaic` and `tile`."""

    reject: str = option(
        "how outliers (satellites, cosmic rays) are found: by each frame's noise, or as ZeMosaic does it",
        choices=(NOISE, *REJECTIONS),
    )
    kappa: tuple[float, ...] = option(
        f"reject samples farther than K from the middle, by default {NoiseRejection().kappa:g} with {NOISE}, else "
        f"{Rejection().kappa_low:g}; two numbers, not with {NOISE}: below and above it",
        float, unit="standard deviations", metavar="K", count=(1, 2), within=Range(1),
    )  # fmt: skip
    winsor: tuple[float, ...] = option(
        f"of {WINSORIZED}: how many of the lowest and highest samples are pulled in before the scatter is measured",
        float, unit="fractions of all", metavar=("LOW", "HIGH"), count=(2, 2), within=Range(0, 0.5, with_high=False),
        part_of=OF_WINSORIZED,
    )  # fmt: skip
    wsc_impl: str = option(
        f"which {WINSORIZED}: ZeMosaic's (legacy_quantile) or PixInsight's (pixinsight)", choices=tuple(WINSOR_METHODS),
        part_of=OF_WINSORIZED,
    )  # fmt: skip
    rewinsor: bool = option(
        f"of {WINSORIZED}: replace a rejected sample by its pulled-in value, as ZeMosaic does; --no-rewinsor leaves it "
        "out",
        bool, negatable=True, part_of=OF_WINSORIZED,
    )  # fmt: skip
    combine: str = option("how the samples that remain are combined", choices=COMBINES)
    match_sky: str = option(
        "bring the frames to one sky: add a constant and a gradient to each (plane), a constant (offset), or nothing",
        choices=SKIES,
    )
    weights: str = option(
        "what a frame counts for: its signal over its noise, squared (snr), the same over the area of its stars "
        "(sharp), or as much as any other (equal)",
        choices=WEIGHTS,
    )
    interpolation: str = option(
        "how frames are resampled; with --drizzle, how those are among which outliers are found, and whose mean drops "
        "are added to",
        choices=INTERPOLATIONS,
    )
    drizzle: float | None = option(
        "drop each photosite onto the canvas by itself, in its own colour, instead of interpolating: sharper, and asks "
        "for many dithered frames. The canvas is so many times finer than the frames, 1 or 2 say",
        float, metavar="SCALE", within=Range(*TIMES_FINER),
    )  # fmt: skip
    pixfrac: float = option(
        "with --drizzle: side of a drop; smaller ones are sharper, and ask for more frames",
        float, unit="sides of a photosite", metavar="P", within=Range(0, 1, with_low=False), part_of=("drizzle", None),
    )  # fmt: skip
    kernel: str = option(
        "with --drizzle: a drop as even as the photosite (square), all of it in one pixel (point), or a round one",
        choices=KERNELS, part_of=("drizzle", None),
    )  # fmt: skip

    @classmethod
    def of(cls, settings: CanvasSettings) -> StackOptions:
        """Return the options that stand for settings."""
        drops = settings.drizzle or Drizzle()
        return cls(
            **_words_of(settings.rejection),
            combine=settings.combine,
            match_sky=settings.sky,
            weights=settings.weights,
            interpolation=settings.interpolation,
            drizzle=settings.drizzle and settings.drizzle.scale,
            pixfrac=drops.pixfrac,
            kernel=drops.kernel,
        )

    def settings(self) -> CanvasSettings:
        """Return the settings that these options stand for; UsageError for one that its rejection has no use for."""
        return CanvasSettings(
            rejection=self._by_noise() if self.reject == NOISE else self._by_definition(),
            combine=self.combine,
            sky=self.match_sky,
            weights=self.weights,
            interpolation=self.interpolation,
            drizzle=self._drops(),
        )

    def _drops(self) -> Drizzle | None:
        """Return how photosites drop; UsageError for what is no drizzle's, and what a drizzle cannot be joined with."""
        if self.drizzle is None:
            for name in ("pixfrac", "kernel"):
                if getattr(self, name) != getattr(Drizzle(), name):
                    raise UsageError(f"--{name} is for --drizzle SCALE")
            return None
        if self.combine != "mean":
            raise UsageError(f"--drizzle is a mean of drops: leave out --combine {self.combine}")
        if self.reject not in (NOISE, "none"):
            raise UsageError(f"--drizzle goes with --reject {NOISE} or none, not with {self.reject}")
        if self.kernel == "point" and self.pixfrac != Drizzle().pixfrac:
            raise UsageError("--pixfrac has no effect with --kernel point, whose drops have no size: leave it out")
        return Drizzle(self.drizzle, self.pixfrac, self.kernel)

    def _by_noise(self) -> NoiseRejection:
        if len(self.kappa) > 1:
            raise UsageError(f"--kappa takes one number with --reject {NOISE}, not two")
        self._check_unused(("winsor", "wsc_impl", "rewinsor"), f"--reject {WINSORIZED}")
        usual = NoiseRejection()
        if not self.kappa:
            return usual
        return NoiseRejection(self.kappa[0], self.kappa[0] * usual.grow / usual.kappa)

    def _by_definition(self) -> Rejection:
        method = REJECTIONS[self.reject]
        if method == "winsor":
            method = WINSOR_METHODS[self.wsc_impl]
            if method == "huber":
                self._check_unused(("winsor", "rewinsor"), "another --wsc-impl")
        else:
            self._check_unused(("winsor", "wsc_impl", "rewinsor"), f"--reject {WINSORIZED}")
        kappa = self.kappa or (Rejection().kappa_low, Rejection().kappa_high)
        return Rejection(method, kappa[0], kappa[-1], *self.winsor, rewinsor=self.rewinsor)

    def _check_unused(self, names: Sequence[str], purpose: str) -> None:
        """Refuse options of a rejection that is not chosen."""
        usual = _words_of(Rejection("none", rewinsor=False))
        for name in names:
            if getattr(self, name) != usual[name]:
                raise UsageError(f"--{name.replace('_', '-')} is for {purpose}")


def _words_of(rejection: NoiseRejection | Rejection) -> dict[str, Any]:
    """Return a rejection as the options that stand for it."""
    usual = Rejection("none", rewinsor=False)
    if isinstance(rejection, NoiseRejection):
        kappa = () if rejection == NoiseRejection() else (rejection.kappa,)
        return {**_words_of(usual), "reject": NOISE, "kappa": kappa}
    kappa = (rejection.kappa_low, rejection.kappa_high)
    huber = rejection.method == "huber"
    return {
        "reject": _name_of(REJECTIONS, "winsor" if huber else rejection.method),
        "kappa": () if kappa == (usual.kappa_low, usual.kappa_high) else kappa[:1] if kappa[0] == kappa[1] else kappa,
        "winsor": (rejection.winsor_low, rejection.winsor_high),
        "wsc_impl": _name_of(WINSOR_METHODS, "huber" if huber else "winsor"),
        "rewinsor": rejection.rewinsor,
    }


def _name_of(names: dict[str, str], value: str) -> str:
    return next(name for name, known in names.items() if known == value)


# --- a tile -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TileFiles:
    """What the command `tile` reads and writes."""

    frames: tuple[str, ...] = option(
        "FITS or .npy files, folders, or patterns such as 'night/*.fit'", metavar="FRAMES", positional=True, default=()
    )
    output: Path = option(
        "folder for the results: tile.fits, tile.png, coverage.png, tile.json",
        Path, short="-o", metavar="DIR", required=True, kept=False,
    )  # fmt: skip
    overwrite: bool = option("replace the results of an earlier run in DIR", bool, kept=False)
    flat: bool = option("take the files of the folders named alone, not those of the folders in them", bool)
    config: Path | None = option(
        "take the options from a run.toml that an earlier run wrote; options given here override it",
        Path, metavar="FILE", kept=False,
    )  # fmt: skip


@dataclass(frozen=True)
class TileRun:
    """How a tile is made of frames: pixels, and stack."""

    canvas: CanvasChoice = field(default_factory=lambda: CanvasChoice("reference"))
    stack: CanvasSettings = field(default_factory=CanvasSettings)

    def __post_init__(self) -> None:
        _check_pixels(self.canvas, self.stack)


def _check_pixels(canvas: CanvasChoice, stack: CanvasSettings) -> None:
    """Refuse pixels that photosites are not dropped onto."""
    if stack.drizzle is None:
        return
    if canvas.like is not None:
        raise UsageError("--drizzle makes pixels of its own: leave out --like, whose pixels are what they are")
    if canvas.kind != "all":
        raise UsageError("--drizzle makes pixels of its own, not a frame's: add --canvas all")
    if canvas.scale is not None:
        raise UsageError("--drizzle says how fine the pixels are, against the frames' own: leave out --scale")


# --- a mosaic ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MosaicOutput:
    """How a mosaic is written.

    Attributes
    ----------
    format : {'fits', 'fz'}
        Plain, or compressed without loss.
    picture : {'png', 'tif'}
        Kind of the 16-bit pictures.
    hips : bool
        Whether it is written as tiles of the sky, too.
    """

    format: str = "fits"
    picture: str = "png"
    hips: bool = False


@dataclass(frozen=True)
class CometChoice:
    """A comet, stacked beside the stars.

    Attributes
    ----------
    marks : Marks
        Where its nucleus is.
    merged : bool
        Whether there is a picture of both, too.
    """

    marks: Marks
    merged: bool = False

    @property
    def stacks(self) -> tuple[str, ...]:
        """The names of what is stacked beside the stars."""
        return STACKS if self.merged else STACKS[:1]


@dataclass(frozen=True)
class MosaicRun:
    """How a mosaic is made of frames: pixels, stack, files, and a comet, if there is one."""

    canvas: CanvasChoice = field(default_factory=CanvasChoice)
    stack: CanvasSettings = field(default_factory=CanvasSettings)
    output: MosaicOutput = field(default_factory=MosaicOutput)
    comet: CometChoice | None = None

    def __post_init__(self) -> None:
        _check_pixels(self.canvas, self.stack)
        if self.comet is not None and self.comet.merged and self.stack.drizzle is not None:
            raise UsageError("--comet-merged is not for --drizzle, which drops photosites as they are: leave one out")

    @property
    def stacks(self) -> tuple[str, ...]:
        """The names of what is stacked beside the stars."""
        return self.comet.stacks if self.comet else ()


@dataclass(frozen=True)
class MosaicFiles:
    """What the command `mosaic` reads and writes."""

    frames: tuple[str, ...] = option(
        "FITS files, folders, or patterns such as 'night/*.fit'", metavar="FRAMES", positional=True, default=()
    )
    output: Path = option(
        "folder for the mosaic, its pictures and report, and what is known of the frames",
        Path, short="-o", metavar="DIR", required=True, kept=False,
    )  # fmt: skip
    resume: bool = option("continue a run that was stopped: what DIR has of it is used again", bool, kept=False)
    overwrite: bool = option("start again, and replace the results of an earlier run in DIR", bool, kept=False)
    config: Path | None = option(
        "take the options from a run.toml that an earlier run wrote; options given here override it",
        Path, metavar="FILE", kept=False,
    )  # fmt: skip
    flat: bool = option("take the files of the folders named alone, not those of the folders in them", bool)
    leave_out: tuple[str, ...] = leave_out_option()
    take_in: tuple[str, ...] = take_in_option()
    progress: str = progress_option()
    scheduler: str | None = option(
        "have frames surveyed and cells stacked by the workers of a dask cluster: that of the scheduler at ADDRESS, or "
        "one on this machine alone (local); it changes nothing of the result",
        metavar="ADDRESS", kept=False,
    )  # fmt: skip
    existing_tiles: bool = option("FRAMES are master tiles, ours or ZeMosaic's: only join them", bool)


@dataclass(frozen=True)
class OutputOptions:
    """How a mosaic is written."""

    format: str = option("write mosaic.fits plain (fits), or compressed without loss (fz)", choices=FORMATS)
    picture: str = option("format of the 16-bit pictures", choices=PICTURES)
    hips: bool = option(
        "also write the mosaic as tiles of the sky (HiPS), to hips/, which Aladin and any web server show", bool
    )

    @classmethod
    def of(cls, output: MosaicOutput) -> OutputOptions:
        """Return the options that stand for an output."""
        return cls(output.format, output.picture, output.hips)

    def output(self) -> MosaicOutput:
        """Return what these options stand for."""
        return MosaicOutput(self.format, self.picture, self.hips)


@dataclass(frozen=True)
class CometOptions:
    """A comet, stacked beside the stars."""

    comet: str | None = option(
        "also stack the frames on a comet's motion, to comet.fits: where its nucleus is in the first and in the last "
        "frame by time, in pixels as FITS counts them (the first in the file is 1,1)",
        metavar="X,Y,X,Y",
    )
    comet_in: str = option(
        "what the numbers of --comet are: pixels of these two frames, or of the mosaic (the ends of the comet's "
        "trail), or right ascension and declination in degrees (sky), at the times of these two frames",
        choices=COUNTS, part_of=("comet", None),
    )  # fmt: skip
    comet_merged: bool = option(
        "with --comet: also merged.fits, the stars and the comet sharp in one picture", bool, part_of=("comet", None)
    )

    @classmethod
    def of(cls, choice: CometChoice | None) -> CometOptions:
        """Return the options that stand for a choice."""
        if choice is None:
            return cls(None, COUNTS[0], False)
        told = ",".join(f"{number:.10g}" for number in (*choice.marks.first, *choice.marks.last))
        return cls(told, choice.marks.count, choice.merged)

    def choice(self) -> CometChoice | None:
        """Return what these options choose; UsageError for marks that are none, and options without a comet."""
        if self.comet is None:
            for name in ("comet_in", "comet_merged"):
                if getattr(self, name) != getattr(CometOptions.of(None), name):
                    raise UsageError(f"--{name.replace('_', '-')} is for --comet X,Y,X,Y")
            return None
        first, last = comet_places(self.comet)
        return CometChoice(Marks(first, last, self.comet_in), self.comet_merged)


def comet_places(told: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return where a comet is in the first and in the last frame; UsageError for what is no four numbers."""
    try:
        x, y, x1, y1 = map(float, told.replace(",", " ").split())
        finite = all(abs(number) < float("inf") for number in (x, y, x1, y1))
    except ValueError:
        finite = False
    if not finite:
        raise UsageError(f"--comet takes four numbers, X,Y,X,Y, not {told}")
    return (x, y), (x1, y1)


@dataclass(frozen=True)
class JoinOptions:
    """How existing tiles are joined."""

    match_tiles: str = option(
        "match the tiles' backgrounds: add a gradient to each (plane), a constant to each (offset), or nothing (none)",
        choices=TILE_MATCHES,
    )
    join: str = option("how overlapping tiles are combined", choices=JOINS)
    feather: float = option(
        "width of the edge in which a tile counts less",
        float, unit="fractions of its shorter side", metavar="SHARE", within=Range(0, 0.5),
    )  # fmt: skip

    @classmethod
    def of(cls, settings: JoinSettings) -> JoinOptions:
        """Return the options that stand for settings, the interpolation apart."""
        return cls(settings.match, settings.combine, settings.feather)

    def settings(self, interpolation: str) -> JoinSettings:
        """Return the settings that these options stand for."""
        return JoinSettings(self.match_tiles, self.join, self.feather, interpolation)


# --- the other commands -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DemoOptions:
    """What the command `demo` makes."""

    output: Path = option(
        "folder for the simulated frames and the results",
        Path, short="-o", metavar="DIR", default=Path("zemosaic-patch-demo"),
    )  # fmt: skip
    mosaic: bool = option(
        "make a mosaic of 2 x 2 pointings, not a single tile; each frame has its own sky background", bool
    )
    frames: int | None = option(
        "number of frames: for a tile at least 3, by default 16; for a mosaic at least 12, by default 40",
        int, metavar="N", within=Range(1),
    )  # fmt: skip
    overwrite: bool = option("replace the files of an earlier demo", bool)


@dataclass(frozen=True)
class LookOptions:
    """What the command `look` is to look at."""

    frames: tuple[str, ...] = option(
        "FITS or .npy files, folders, or patterns such as 'night/*.fit'", metavar="FRAMES", positional=True, default=()
    )
    flat: bool = option("take the files of the folders named alone, not those of the folders in them", bool)
    leave_out: tuple[str, ...] = leave_out_option()
    take_in: tuple[str, ...] = take_in_option()
    keep: Path | None = option("keep what is found out in this folder: the next look takes no time", Path,
                               metavar="DIR")  # fmt: skip
    rough: Path | None = option("write a rough picture of what they show as PNG, again and again as more of them are "
                                "known; one that is there is replaced once all are", Path, metavar="FILE")  # fmt: skip
    json: bool = option("tell each file as a line of JSON, as soon as it is known, for programs", bool)


@dataclass(frozen=True)
class WindowOptions:
    """How the window is opened."""

    port: int | None = option("its port on this machine; by default one that is free", int, metavar="N",
                              within=Range(1, 65535))  # fmt: skip
    browser: bool = option("open the browser; without, only its address is shown", bool, negatable=True, default=True)


@dataclass(frozen=True)
class ReportFolder:
    """What the command `report` describes."""

    folder: Path = option("folder of a mosaic or a tile: it holds mosaic.json or tile.json", Path, metavar="DIR",
                          positional=True, required=True)  # fmt: skip


@dataclass(frozen=True)
class MosaicFolder:
    """What the command `hips` writes as tiles of the sky."""

    folder: Path = option("folder of a mosaic: it holds mosaic.fits, and gets hips/", Path, metavar="DIR",
                          positional=True, required=True)  # fmt: skip
    progress: str = progress_option()


@dataclass(frozen=True)
class Checkout:
    """A ZeMosaic."""

    folder: str = option(
        "folder of ZeMosaic, the one that holds zemosaic_worker.py", metavar="DIR", positional=True, required=True
    )


@dataclass(frozen=True)
class ApplyOptions:
    """How the patch is put in."""

    dry_run: bool = option("show what would change, and change nothing", bool)
    all_algorithms: bool = option(
        "use the patch for all rejection methods, not only for winsorized sigma clipping", bool
    )
    match_sky: str = option(
        "how the frames' skies are matched in these tiles, as the command tile does it: plane, offset or linear; "
        "--no-match-sky leaves them as they are",
        choices=MATCHES, metavar="MODEL", bare=SKY_MODEL, off="none", default=SKY_MODEL,
    )  # fmt: skip
    accept_unknown: bool = option("also patch files that differ from every version of ZeMosaic known here", bool)


@dataclass(frozen=True)
class VerifyOptions:
    """With what a ZeMosaic is run."""

    python: str | None = option(
        "Python that runs ZeMosaic; by default the one in DIR, or else the one that runs this command", metavar="FILE"
    )
    output: Path = option(
        "picture of a tile whose frames have different skies, without and with the patch's matching; replaced",
        Path, short="-o", metavar="FILE", default=Path("zemosaic-patch-verify.png"),
    )  # fmt: skip


@dataclass(frozen=True)
class ExportOptions:
    """What the command `export` reads and writes."""

    folder: str = option(
        "checkout of ZeMosaic's source, or with --for its Git repository", metavar="DIR", positional=True, default="."
    )
    output: Path = option("file for the patch", Path, short="-o", metavar="FILE", required=True)
    for_: str | None = option(
        "commit of ZeMosaic, in DIR's Git repository, that the patch is for; by default the files as they lie in DIR",
        metavar="COMMIT",
    )
    overwrite: bool = option("replace FILE if it exists", bool)


def tile_defaults() -> tuple[CanvasOptions, StackOptions]:
    """Return the options of `tile` that nobody gave."""
    usual = TileRun()
    return CanvasOptions.of(usual.canvas), StackOptions.of(usual.stack)


def mosaic_defaults() -> tuple[CanvasOptions, StackOptions, OutputOptions, CometOptions, JoinOptions]:
    """Return the options of `mosaic` that nobody gave."""
    usual = MosaicRun()
    own = CanvasOptions.of(usual.canvas), StackOptions.of(usual.stack), OutputOptions.of(usual.output)
    return *own, CometOptions.of(usual.comet), JoinOptions.of(JoinSettings())
