# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames onto a canvas: options that `mosaic` and `tile` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nanstack.register.warp import INTERPOLATIONS
from nanstack.settings import SKIES, WEIGHTS, CanvasSettings
from nanstack.stack.definition import COMBINES, Rejection
from nanstack.stack.drizzle import KERNELS, TIMES_FINER, Drizzle
from nanstack.stack.noise_model import NoiseRejection
from nanstack.survey.facts import SCALES
from zemosaic_patch.errors import UsageError
from zemosaic_patch.names import REJECTIONS, WINSOR_METHODS
from zemosaic_patch.options.declared import FRAME, IMAGE, Range, option
from zemosaic_patch.options.runs import CanvasChoice

NOISE, WINSORIZED = "noise", "winsorized_sigma_clip"
OF_WINSORIZED = "reject", WINSORIZED
CANVASES = ("all", "reference")


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
        """Return the rejection by the frames' noise; UsageError for options of the others."""
        if len(self.kappa) > 1:
            raise UsageError(f"--kappa takes one number with --reject {NOISE}, not two")
        self._check_unused(("winsor", "wsc_impl", "rewinsor"), f"--reject {WINSORIZED}")
        usual = NoiseRejection()
        if not self.kappa:
            return usual
        return NoiseRejection(self.kappa[0], self.kappa[0] * usual.grow / usual.kappa)

    def _by_definition(self) -> Rejection:
        """Return a rejection as ZeMosaic does it; UsageError for options of the others."""
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
