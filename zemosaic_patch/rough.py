# SPDX-License-Identifier: GPL-3.0-or-later
"""A rough picture of what frames show, long before their mosaic: shrunk, laid where their stars say, and averaged.

It is for the eye: no light is matched but the level of the sky, and no outlier rejected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from nanstack.canvas import Canvas, union_canvas
from nanstack.io.bayer import mosaic_pattern
from nanstack.io.files import complete_file
from nanstack.io.frames import channels_last, samples_with_data
from nanstack.io.layout import Layout, read_layout, read_samples
from nanstack.register.camera import Camera, Passage, View, attitude_between
from nanstack.register.mesh import Box, shown_box
from nanstack.register.registered import RegisteredFrame
from nanstack.session import Session
from nanstack.survey.raw import Raw, binned
from nanstack.survey.record import Survey
from zemosaic_patch.pictures import levels_of, screen_stretches

SIDE_PX = 900  # of the picture's longer side, about
PLACE = "zemosaic-patch rough"  # names the text in the PNG that holds what is no pixel
MOST_FRAMES = 200  # of which it is made: of more, some that lie evenly among them


def shrunk(layout: Layout, times: int, survey: Survey | None = None) -> np.ndarray:
    """Return a frame's light, coarsely: float32 (h, w, C), means of squares of so many pixels, NaN without data.

    The colours of a mosaic are each averaged by itself, which takes a quarter of the time of debayering.

    Parameters
    ----------
    layout : Layout
    times : int
        Pixels along the side of a square; of a mosaic, the next even number.
    survey : Survey, optional
        Of the frame: what no light made is mended.

    Raises
    ------
    nanstack.io.layout.FrameError
        For a file that cannot be read.
    """
    samples = channels_last(layout.path, read_samples(layout))
    pattern = mosaic_pattern(layout, samples).pattern
    if survey is not None and samples.ndim == 2:
        samples[tuple(survey.spikes.T)] = survey.mended
    raw = Raw.of(samples_with_data(layout, samples, pattern), pattern)
    side = -(-times // 2) if pattern else times
    return np.dstack([np.mean([binned(plane, side) for plane in planes], axis=0) for planes in raw.colour_planes])


@dataclass(frozen=True)
class Rough:
    """A rough picture.

    Attributes
    ----------
    shades : ndarray of uint8, shape (h, w, C)
        0 where no frame is.
    view : View
        What its pixels show.
    frames : dict of str to ndarray, shape (3, 3)
        Attitudes of frames, by their digests: they tell how its sphere lies on another one.
    upside_down : bool
        Whether its last row is the top one.
    """

    shades: np.ndarray
    view: View
    frames: Mapping[str, np.ndarray]
    upside_down: bool

    @classmethod
    def of(cls, session: Session) -> Rough:
        """Make a picture of a session's frames: where their place on the sky is known, north is up."""
        frames = session.frames[:: -(-len(session.frames) // MOST_FRAMES)]
        views = [frame.view for frame in frames]
        somewhere = session.place is not None and session.place.how != "unknown"
        turned_as = None if somewhere else views[0]
        whole = union_canvas(views, turned_as)
        times = 2 * max(1, round(max(whole.shape) / SIDE_PX / 2))
        canvas = union_canvas(views, turned_as, scale=times * whole.view.camera.scale)
        light = _laid(frames, canvas, times)
        shades = levels_of(screen_stretches(light)[1](light))
        known = {frame.survey.digest: frame.view.attitude for frame in frames}
        return cls(shades, canvas.view, known, somewhere)

    def on(self, canvas: Canvas, frames: Mapping[str, np.ndarray], step: int) -> np.ndarray | None:
        """Return the picture on a canvas of another solution: uint8 (h, w, C), the canvas's first row first.

        Parameters
        ----------
        canvas : Canvas
        frames : mapping of str to ndarray, shape (3, 3)
            The attitudes of its frames, by their digests. None of the picture's among them: nothing is returned.
        step : int
            Pixels of the canvas along the side of one of the result's.
        """
        import cv2

        both = self.frames.keys() & frames.keys()
        if not both:
            return None
        new, own = (np.concatenate([these[digest] for digest in sorted(both)]) for these in (frames, self.frames))
        hand = np.linalg.det(new[:3]) * np.linalg.det(own[:3])
        turn = attitude_between(own, new, np.ones(len(own)), mirrored=bool(hand < 0))
        view = replace(self.view, attitude=self.view.attitude @ turn)
        row, column = (np.arange(0, side, step) + (step - 1) / 2 for side in canvas.shape)
        x, y = map(np.float32, Passage.between(canvas.view, [view])[0](column, row[:, np.newaxis]))
        turned = cv2.remap(self.shades, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return turned.reshape(*x.shape, self.shades.shape[2])

    def write(self, path: Path) -> None:
        """Write the picture as a PNG that holds the rest, too: complete, or not at all.

        Raises
        ------
        OSError
            Where it cannot be written.
        """
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        told = {
            "camera": asdict(self.view.camera),
            "attitude": self.view.attitude.tolist(),
            "scale": self.view.scale,
            "frames": {digest: attitude.tolist() for digest, attitude in self.frames.items()},
            "upside_down": self.upside_down,
        }
        beside = PngInfo()
        beside.add_text(PLACE, json.dumps(told))
        rows = self.shades[::-1] if self.upside_down else self.shades
        with complete_file(path) as new:
            Image.fromarray(rows if rows.shape[2] == 3 else rows[..., 0]).save(
                new, "PNG", compress_level=1, pnginfo=beside
            )

    @classmethod
    def read(cls, path: Path) -> Rough | None:
        """Return what was written; None where there is nothing, or something else."""
        from PIL import Image

        try:
            with Image.open(path) as image:
                rows, told = np.atleast_3d(np.asarray(image)), json.loads(image.text[PLACE])
            camera = Camera(**{**told["camera"], **{name: tuple(told["camera"][name]) for name in ("shape", "axis")}})
            frames = {digest: np.array(attitude) for digest, attitude in told["frames"].items()}
            view = View(camera, np.array(told["attitude"]), told["scale"])
            return cls(rows[::-1] if told["upside_down"] else rows, view, frames, told["upside_down"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _laid(frames: Sequence[RegisteredFrame], canvas: Canvas, times: int) -> np.ndarray:
    """Return the mean of frames above their skies: float32 (H, W, C), NaN where there are none."""
    import cv2

    channels = (*frames[0].survey.sky.shape, 1)[2]
    total, count = np.zeros((*canvas.shape, channels), np.float32), np.zeros(canvas.shape, np.float32)
    for frame in frames:
        sky = np.nanmedian(frame.survey.sky.reshape(-1, channels), axis=0)
        light = shrunk(read_layout(frame.path), times, frame.survey) - np.float32(sky)
        box = shown_box(
            lambda x, y, view=frame.view: canvas.view.pixels(view.directions(x, y)),
            frame.view.shape,
            Box.whole(canvas.shape),
        )
        column, row = np.arange(box.left, box.right), np.arange(box.top, box.bottom)[:, np.newaxis]
        places = Passage.between(canvas.view, [frame.view])[0](column, row)
        x, y = (np.float32((place + 0.5) / times - 0.5) for place in places)
        seen = cv2.remap(
            light, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(np.nan,) * 4
        ).reshape(*box.shape, channels)
        there = np.isfinite(seen).all(axis=2)
        here = box.within(Box.whole(canvas.shape))
        total[here] += np.where(there[..., np.newaxis], seen, 0)
        count[here] += there
    with np.errstate(invalid="ignore"):
        return total / np.where(count, count, np.nan)[..., np.newaxis]
