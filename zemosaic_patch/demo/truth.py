# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mosaic of a simulated session would show without noise, and how far a mosaic is from it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.levels.photometry import noise_level
from nanstack.memory import threads
from nanstack.truth.evaluation import StarErrors, Step, border_step, noise_ratios, star_errors, without_plane
from nanstack.truth.exact import Samples, exact_mean, sample_frame
from nanstack.truth.simulation import StarField, compose, invert, render_stars, sky_plane
from zemosaic_patch.demo import tile as demo
from zemosaic_patch.demo.joined import Joined, affine
from zemosaic_patch.demo.session import Session, SessionFrame

if TYPE_CHECKING:
    from astropy.wcs import WCS

BRIGHT = 30_000.0  # a star is measured where its flux in green, in ADU, is larger,
ALONE_PX = 25.0  # where no other star as bright is nearer than this,
CLEAR_PX = 60.0  # and no saturated one nearer than this


def light_on(session: Session, wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return the light of stars and nebulae on any grid of pixels, float32 (H, W, 3) in ADU of a frame's pixel.

    The grid's pixels are those of `wcs`; an image that was resampled to them keeps its surface brightness.
    """
    to_grid = invert(affine(wcs, session.wcs, shape))
    return demo.scene_light(_scaled(session.scene, _scale(to_grid)), shape, to_grid)


def _scale(transform: np.ndarray) -> float:
    """Return by how much a transform lengthens, averaged over both axes."""
    return float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))


def _scaled(scene: demo.Scene, scale: float) -> demo.Scene:
    """Return a scene as finer pixels show it, `scale` times as many along each axis.

    Widths in pixels and fluxes summed over pixels grow, brightness in a pixel does not. The stars' own width stays as
    it is: right for a scale near 1 alone.
    """
    return replace(
        scene,
        stars=replace(scene.stars, flux=scene.stars.flux * scale**2),
        aureoles=replace(scene.aureoles, flux=scene.aureoles.flux * scale**2),
        aureole_fwhm=scene.aureole_fwhm * scale,
        nebulae=[replace(nebula, sigma=nebula.sigma * scale) for nebula in scene.nebulae],
    )


def exact_stack(
    session: Session, folder: Path, wcs: WCS, shape: tuple[int, int], light: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average a session's frames by what is known of them: their true transforms, their skies, the scene.

    Parameters
    ----------
    session : Session
    folder : Path
        Of the frames.
    wcs, shape
        Of the stack.
    light : ndarray of float32, shape (H, W, 3)
        The scene on these pixels; see `light_on`.

    Returns
    -------
    image, coverage
        See `nanstack.truth.exact.exact_mean`.
    """
    to_reference = affine(wcs, session.wcs, shape)

    def sampled(frame: SessionFrame) -> Samples:
        return sample_frame(_above_sky(session, frame, folder), compose(frame.transform, to_reference), shape)

    with ThreadPoolExecutor(threads()) as pool:
        return exact_mean(pool.map(sampled, session.frames), light)


def _above_sky(session: Session, frame: SessionFrame, folder: Path) -> np.ndarray:
    """Return a frame less its own sky, (H, W, 3) in ADU."""
    from nanstack.io.frames import read_frame

    height, width = session.shape
    sky = sky_plane(frame.sky, session.shape, np.arange(width), np.arange(height)[:, None])
    return read_frame(folder / frame.name).data - sky.astype(np.float32)


def stars_to_measure(session: Session) -> np.ndarray:
    """Return which stars of the scene are bright, not saturated and far from others of their kind."""
    stars = session.scene.stars
    places = np.column_stack([stars.x, stars.y])
    saturated = np.arange(len(places)) < len(demo.PLEIADES)
    bright = (stars.flux[:, 1] > BRIGHT) & ~saturated
    near_bright = scipy.spatial.cKDTree(places[bright]).query(places, k=2)[0][:, 1]
    near_saturated = scipy.spatial.cKDTree(places[saturated]).query(places)[0]
    return bright & (near_bright > ALONE_PX) & (near_saturated > CLEAR_PX)


@dataclass(frozen=True)
class Figures:
    """A mosaic held to the truth.

    Attributes
    ----------
    level_step, colour_step : float
        The largest step where a tile, or a frame, ends, either way, in units of the noise that a pixel has.
    noise : float
        That noise, in ADU.
    stars : StarErrors
    noise_ratio, smooth_noise_ratio : float
        Noise against the exact stack's: of pixels, and of means over 8 x 8.
    """

    level_step: float
    colour_step: float
    noise: float
    stars: StarErrors
    noise_ratio: float
    smooth_noise_ratio: float


class Truth:
    """What a mosaic of a session would show on some grid, had it no noise, and the exact stack of its frames.

    Parameters
    ----------
    session : Session
    folder : Path
        Of the frames.
    wcs, shape
        The grid.
    """

    def __init__(self, session: Session, folder: Path, wcs: WCS, shape: tuple[int, int]) -> None:
        self.light = light_on(session, wcs, shape)
        exact, self.coverage = exact_stack(session, folder, wcs, shape, self.light)
        self.exact = exact - self.light
        chosen, stars = stars_to_measure(session), session.scene.stars
        self.flux = stars.flux[chosen] / _scale(affine(wcs, session.wcs, shape)) ** 2
        self.x, self.y = wcs.all_world2pix(*session.wcs.all_pix2world(stars.x[chosen], stars.y[chosen], 0), 0)
        self.stars = render_stars(StarField(self.x, self.y, self.flux), shape, fwhm=demo.FWHM)

    def figures(self, mosaic: Joined) -> Figures:
        """Measure a mosaic on this grid."""
        rest = without_plane(mosaic.image - self.light)
        noise = float(np.mean(noise_level(rest)))
        steps = border_steps(rest, mosaic.ends, mosaic.panels)
        pixels, means = noise_ratios(rest, self.exact, self.coverage > 0)
        return Figures(
            level_step=max((abs(step.level) for step in steps), default=np.nan) / noise,
            colour_step=max((abs(step.colour) for step in steps), default=np.nan) / noise,
            noise=noise,
            stars=star_errors(rest + self.stars, self.x, self.y, self.flux, demo.FWHM),
            noise_ratio=pixels,
            smooth_noise_ratio=means,
        )


def border_steps(image: np.ndarray, ends: Sequence[np.ndarray], panels: Sequence[np.ndarray]) -> list[Step]:
    """Return the step of an image across the border of each area, within each panel."""
    pairs = [(own, panel) for own in ends for panel in panels if own is not panel]
    with ThreadPoolExecutor(threads()) as pool:
        steps = list(pool.map(lambda pair: border_step(image, pair[0], pair[1] & ~pair[0]), pairs))
    return [step for step in steps if step is not None]
