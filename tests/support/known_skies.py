# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames whose own glow is known, over a sky that is known."""

from dataclasses import dataclass, replace

import numpy as np

from nanstack.canvas import union_canvas
from nanstack.levels.common_sky import common_sky
from nanstack.register.camera import direction_of
from nanstack.register.registered import RegisteredFrame
from nanstack.survey.raw import MESH_PX
from tests.support.registered import HERE, registered

SHAPE = (640, 960, 3)
SKY = np.array([400.0, 600.0, 450.0])
NOISE = 1.0  # of a cell's median


@dataclass(frozen=True)
class Taken:
    """A frame, and the glow that it alone shows: a level, a tilt in ADU from side to side, and the sensor's shade."""

    frame: RegisteredFrame
    level: float = 0.0
    tilt: tuple = (0.0, 0.0)
    shade: tuple = (0.0, 0.0, 0.0)

    def glow(self, x, y):
        u, v = x / SHAPE[1] - 0.5, y / SHAPE[0] - 0.5
        plane = self.level + self.tilt[0] * u + self.tilt[1] * v
        return plane + self.shade[0] * u * u + self.shade[1] * u * v + self.shade[2] * v * v


def take(
    name, east, north, turn=0.0, level=0.0, tilt=(0.0, 0.0), *, shade=(0.0, 0.0, 0.0), seed=0,
    sky=lambda directions: 0.0, spoil=None,
):  # fmt: skip
    taken = Taken(registered(name, east, north, turn=turn, shape=SHAPE), level, tilt, shade)
    x, y = np.meshgrid(*((np.arange(side // MESH_PX) + 0.5) * MESH_PX - 0.5 for side in SHAPE[1::-1]))
    light = sky(taken.frame.view.directions(x, y))  # (h, w), or (h, w, 3) where it has a colour
    shown = taken.glow(x, y)[..., None] + (light if np.ndim(light) == 3 else np.expand_dims(light, -1))
    mesh = SKY + shown + np.random.default_rng(seed).normal(0, NOISE, (*x.shape, 3))
    if spoil is not None:
        mesh *= spoil(x, y)[..., None]
    survey = replace(taken.frame.survey, sky=mesh.astype(np.float32))
    return replace(taken, frame=replace(taken.frame, survey=survey))


def night(panels=2, count=8, apart=0.45, tilt=10.0, common=0.0, spoiled=lambda k: None, **what):
    """Frames of panels that overlap by some 30 %, dithered and turned, each with a glow of its own."""
    rng = np.random.default_rng(7)
    return [
        take(
            f"{panel}_{k}.fit", panel * apart + rng.normal(0, 0.02), rng.normal(0, 0.02), rng.uniform(-10, 10),
            rng.normal(0, 30), tuple(common + rng.normal(0, tilt, 2)), seed=100 * panel + k, spoil=spoiled(k), **what,
        )
        for panel in range(panels)
        for k in range(count)
    ]  # fmt: skip


def levelled(night, model="plane", gains=None):
    frames = [taken.frame for taken in night]
    canvas = union_canvas([frame.view for frame in frames])
    gains = np.ones((len(frames), 3)) if gains is None else gains
    return canvas, common_sky(frames, gains, canvas, model).levels


def left(night, canvas, levels, colour=1, gains=None):
    """What is left of frames' own glow on a grid of the canvas, NaN where a frame shows nothing: (n, rows, columns)."""
    y, x = np.mgrid[0 : canvas.shape[0] : 40, 0 : canvas.shape[1] : 40]
    found = []
    for number, (taken, level) in enumerate(zip(night, levels, strict=True)):
        u, v = taken.frame.view.pixels(canvas.view.directions(x, y))
        inside = (u > 0) & (u < SHAPE[1] - 1) & (v > 0) & (v < SHAPE[0] - 1)
        gain = 1.0 if gains is None else gains[number, colour]
        own = gain * (SKY[1] + taken.glow(u, v))
        own += level.at(x - canvas.origin[0], y - canvas.origin[1])[..., colour]
        found.append(np.where(inside, own, np.nan))
    return np.array(found)


def steps(left):
    """Usual, and largest, difference of a frame from the mean of all, where two at least show a place."""
    some = left[:, np.isfinite(left).sum(axis=0) > 1]
    off = some - np.nanmean(some, axis=0)
    return float(np.nanstd(off)), float(np.nanmax(np.abs(off)))


def nebula(directions):
    """Light that rises to 80 ADU and falls again within a few cells."""
    off = (directions - direction_of(HERE[0] + 0.1, HERE[1] + 0.05)) / np.radians(0.07)
    return 80 * np.exp(-0.5 * np.sum(off**2, axis=-1))
