# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration's mosaic: 2 x 2 pointings on the Pleiades, every frame with a sky of its own, and the truth of it.

One tangent plane holds all: a frame is a similarity transform away from the reference, exactly.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.io.files import complete_file
from nanstack.levels.photometry import noise_level
from nanstack.memory import threads
from nanstack.register.alignment import transform_from_wcs
from nanstack.truth.evaluation import StarErrors, Step, border_step, noise_ratios, star_errors, without_plane
from nanstack.truth.exact import Samples, exact_mean, sample_frame
from nanstack.truth.simulation import StarField, compose, invert, render_stars, similarity, sky_plane
from zemosaic_patch.demo import tile as demo
from zemosaic_patch.pictures import sky_stretch, write_picture

if TYPE_CHECKING:
    from astropy.wcs import WCS

RECORD = "session.json"  # beside the frames: what `pleiades_session` made them of
SHAPE = (540, 960)
FRAMES = 40
POINTINGS = 4  # one after the other
OVERLAP = 0.2  # of a frame's height and width, between neighbouring pointings
FIELD_MARGIN = 0.55  # stars reach this many diagonals beyond the middle frame's corners: as far as any frame
SKY_SCATTER = 0.10  # a frame's sky lies within 1 +- this, in each channel on its own
SKY_GRADIENT = 0.03  # from edge to edge the sky changes by this share: moonlight
MOON_TURNS = 0.6  # times that the gradient's direction turns round within a session
HAZE_SIGMA, HAZE_PEAK = 5.0, 0.35  # around each nebula lies a haze: so much wider, so much of its brightness
BRIGHT = 30_000.0  # a star is measured where its flux in green, in ADU, is larger,
ALONE_PX = 25.0  # where no other star as bright is nearer than this,
CLEAR_PX = 60.0  # and no saturated one nearer than this
MAX_RMS_PX = 0.1  # two solutions that differ by more from an affine transform are refused


@dataclass(frozen=True)
class SessionFrame:
    """A frame of the session.

    Attributes
    ----------
    name : str
        Of its file.
    transform : ndarray, shape (2, 3)
        Reference to frame.
    sky : ndarray, shape (3, 3)
        See `nanstack.truth.simulation.SimulatedFrame`.
    """

    name: str
    transform: np.ndarray
    sky: np.ndarray


@dataclass(frozen=True)
class Session:
    """All that is true of a simulated mosaic.

    Attributes
    ----------
    shape : (int, int)
        Of a frame.
    wcs : WCS
        Of the reference: a frame's pixels around the middle of the mosaic.
    scene : Scene
        Stars and nebulae, in reference pixels; the sky is not in it.
    frames : list of SessionFrame
    hot : ndarray of float32, shape (H, W)
        The sensor's hot pixels.
    seed : int
        Of the noise, the cosmic rays and the satellites.
    """

    shape: tuple[int, int]
    wcs: WCS
    scene: demo.Scene
    frames: list[SessionFrame]
    hot: np.ndarray
    seed: int


def pleiades_session(n_frames: int = FRAMES, shape: tuple[int, int] = SHAPE, seed: int = 1) -> Session:
    """Return a session of 2 x 2 pointings on the Pleiades; the same arguments give the same session.

    The telescope goes round the pointings, frame by frame, dithers, and turns steadily. Each frame has a sky of its
    own, within 10 % in each channel and with a gradient of 3 % that turns, too: where the number of frames changes,
    their plain mean steps.

    Parameters
    ----------
    n_frames : int
        Of all pointings together.
    shape : (int, int)
        Height and width; even. A frame's field is as wide for every shape.
    seed : int
    """
    rng = np.random.default_rng(seed)
    wcs = demo.pleiades_wcs(shape)
    scene = _with_haze(demo.pleiades_scene(shape, wcs, rng, FIELD_MARGIN))
    return Session(shape, wcs, scene, _frames(n_frames, shape, rng), demo.hot_pixels(shape, rng), seed)


def write_frames(session: Session, folder: str | os.PathLike) -> None:
    """Write a session's frames as raw Seestar FITS files, of the kind that `write_pleiades_frames` writes.

    Beside them goes a record of what was simulated, from which `read_session` has the truth.

    Parameters
    ----------
    session : Session
    folder : path
        Created if missing; files of the same name are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(lambda index: _write_frame(session, index, folder), range(len(session.frames))))
    record = {"n_frames": len(session.frames), "shape": session.shape, "seed": session.seed}
    with complete_file(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")


def read_session(folder: Path) -> Session:
    """Return the session whose frames `write_frames` wrote to a folder.

    Raises
    ------
    FileNotFoundError
        Where it wrote none.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return pleiades_session(record["n_frames"], tuple(record["shape"]), record["seed"])


def _with_haze(scene: demo.Scene) -> demo.Scene:
    """Add what makes the field interesting: structure of the sky that goes on across the tiles' borders."""
    haze = [replace(glow, sigma=HAZE_SIGMA * glow.sigma, peak=HAZE_PEAK * glow.peak) for glow in scene.nebulae]
    return replace(scene, nebulae=scene.nebulae + haze)


def _frames(n_frames: int, shape: tuple[int, int], rng: np.random.Generator) -> list[SessionFrame]:
    """Return where each frame of a session points, and its sky."""
    size = np.array(shape[::-1])
    pointings = [np.array([x, y]) * (1 - OVERLAP) / 2 * size for y in (-1, 1) for x in (-1, 1)]
    reach = demo.DITHER * size
    frames = []
    for index, progress in enumerate(np.linspace(0, 1, n_frames)):
        turned = similarity(shape, *rng.uniform(-reach, reach), demo.FIELD_ROTATION * (2 * progress - 1))
        turned[:, 2] -= turned[:, :2] @ pointings[index % POINTINGS]
        level = np.array(demo.SKY) * (1 + SKY_SCATTER * rng.uniform(-1, 1, 3))
        moon = 2 * np.pi * MOON_TURNS * progress
        slopes = SKY_GRADIENT * np.array([np.cos(moon), np.sin(moon)]) / size
        frames.append(SessionFrame(demo.frame_name(index), turned, np.stack([level, *np.outer(slopes, level)])))
    return frames


def _write_frame(session: Session, index: int, folder: Path) -> None:
    from astropy.io import fits

    shape, frame, count = session.shape, session.frames[index], len(session.frames)
    rng = np.random.default_rng([session.seed, index])  # of its own: the same frame, whatever thread writes it
    light = demo.scene_light(session.scene, shape, frame.transform)
    light += sky_plane(frame.sky, shape, np.arange(shape[1]), np.arange(shape[0])[:, None]).astype(np.float32)
    light *= demo.vignetting(shape, demo.RESIDUAL_VIGNETTING)[:, :, None]
    if index in (count // 4, 2 * count // 3):
        light += demo.satellite_trail(shape, rng)[:, :, None]
    raw = demo.expose(demo.bayer_mosaic(light), session.hot, rng)
    header = demo.frame_header(demo.moved_wcs(session.wcs, frame.transform), shape, demo.START + index * demo.CADENCE)
    fits.PrimaryHDU(raw, header).writeto(folder / frame.name, overwrite=True)


# ----------------------------------------------------------------------------------------------------- the truth


def light_on(session: Session, wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return the light of stars and nebulae on any grid of pixels, float32 (H, W, 3) in ADU of a frame's pixel.

    The grid's pixels are those of `wcs`; an image that was resampled to them keeps its surface brightness.
    """
    to_grid = invert(affine(wcs, session.wcs, shape))
    return demo.scene_light(_scaled(session.scene, _scale(to_grid)), shape, to_grid)


def affine(source: WCS, target: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return the transform (2, 3) from the pixels of one WCS, an image of `shape`, to those of another.

    Raises
    ------
    ValueError
        Where the two differ by more than an affine transform.
    """
    transform, rms = transform_from_wcs(source, target, shape)
    if not rms < MAX_RMS_PX:
        raise ValueError(f"the two solutions differ by {rms:.2g} pixels from an affine transform")
    return transform


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


# ---------------------------------------------------------------------------------------------- before and after


@dataclass(frozen=True)
class Joined:
    """A mosaic, and where it could step.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W, 3)
        In ADU; NaN where there is no data.
    wcs : WCS
    ends : list of ndarray of bool, shape (H, W)
        What it was made of: each ends at some border, of a tile or of a frame.
    panels : list of ndarray of bool, shape (H, W)
        Within which these borders are looked at, one by one.
    """

    image: np.ndarray
    wcs: WCS
    ends: list[np.ndarray]
    panels: list[np.ndarray]


def of_frames(path: Path, session: Session, groups: Sequence[Sequence[str]]) -> Joined:
    """Read a mosaic's file; it could step wherever one of its frames ends, within what each pointing shows."""
    image, wcs = _read_image(path)
    whole, frames = np.ones(session.shape, dtype=bool), {frame.name: frame for frame in session.frames}
    ends, panels = [], []
    for names in groups:
        solutions = [demo.moved_wcs(session.wcs, frames[name].transform) for name in names]
        own = [placed(whole, solution, wcs, image.shape[:2]) for solution in solutions]
        ends += own
        panels.append(np.logical_or.reduce(own))
    return Joined(image, wcs, ends, panels)


def _read_image(path: Path) -> tuple[np.ndarray, WCS]:
    from nanstack.io.frames import read_frame

    frame = read_frame(path)
    if frame.wcs is None:
        raise ValueError(f"{path.name} holds no WCS")
    return frame.data, frame.wcs


def placed(mask: np.ndarray, wcs: WCS, target: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return where the pixels of a mask lie in another grid."""
    back = invert(affine(wcs, target, mask.shape))
    matrix, start = back[::-1, 1::-1], back[::-1, 2]  # SciPy counts (row, column)
    return scipy.ndimage.affine_transform(mask.astype(np.uint8), matrix, start, shape, order=0, cval=0) > 0


def mosaic_with_grey_fill(
    folder: Path, groups: Mapping[str, Sequence[str]], wcs: WCS, shape: tuple[int, int]
) -> Joined:
    """Make the mosaic as it was before: tiles with a grey fill, skies as they are, joined by their mean.

    Parameters
    ----------
    folder : Path
        Of the frames.
    groups : mapping
        The names of each tile's frames, by that of its reference.
    wcs, shape
        Of the mosaic.
    """
    from nanstack.mosaic import Grid, MosaicTile, make_mosaic

    tiles = []
    for reference, names in groups.items():
        image = demo.stack_with_grey_fill([folder / name for name in names], reference)
        _, own = _read_image(folder / reference)
        tiles.append(MosaicTile(reference, image.shape, own, lambda image=image: (image, None)))
    mosaic = make_mosaic(tiles, grid=Grid(wcs, shape), match="none", feather=0.0)
    areas = [placed(np.ones(tile.shape[:2], dtype=bool), tile.wcs, wcs, shape) for tile in tiles]
    return Joined(mosaic.image, wcs, areas, areas)


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


# ------------------------------------------------------------------------------------------------- the whole demo

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
