# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered frames, made without their files."""

from pathlib import Path

import numpy as np

from nanstack.register.camera import View
from nanstack.register.registered import RegisteredFrame
from nanstack.survey.record import Facts, Survey
from nanstack.survey.stars import Stars
from tests.support.starfields import camera, looking

HERE = 56.75, 24.25


def registered(
    name, east=0.0, north=0.0, *, at=HERE, shape=(1080, 1920, 3), scale=2.39, turn=0.0, flux=1.0, digest=None, **facts
):
    """A frame that looks so many degrees east and north of a place, at a scale in arcseconds.

    Its stars show so much flux; 0 is not known.
    """
    ra, dec = at[0] + east / np.cos(np.radians(at[1])), at[1] + north
    view = View(camera(scale, shape=shape[:2]), looking(ra, dec, turn))
    channels = np.ones(shape[2:])
    survey = Survey(
        Path(name), shape, Facts(**facts), Stars.none(), channels[None, None], channels, digest=digest or name
    )
    return RegisteredFrame(survey, view, 30, 0.1, *((1 / flux, 0.01) if flux > 0 else (1.0, np.nan)))
