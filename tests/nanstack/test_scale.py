# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found of many frames, by surveys that are simulated: against the truth, and how it grows."""

import pytest

from nanstack.canvas import union_canvas
from nanstack.levels import sky_planes
from nanstack.levels.common_sky import common_sky
from nanstack.levels.flux import flux_gains, on_one_flux_scale
from nanstack.progress import Quiet
from nanstack.register import regions
from nanstack.register.registered import RegisteredFrame
from nanstack.register.solution import register
from nanstack.truth.surveys import from_truth, simulated_surveys


@pytest.mark.parametrize("panels", [1, 25])
def test_places_fluxes_and_skies_of_many_panels_and_of_one_are_those_that_were_simulated(panels, monkeypatch):
    for module in (regions, sky_planes):
        monkeypatch.setattr(module, "MANY_REGIONS", 6)  # as if there were hundreds
    simulated = simulated_surveys(100, panels, shape=(960, 540))
    registrations = register(simulated.surveys)
    assert all(one.view is not None and one.group == 0 for one in registrations)
    frames = [
        RegisteredFrame(survey, one.view, one.stars, one.rms)
        for survey, one in zip(simulated.surveys, registrations, strict=True)
    ]
    frames = on_one_flux_scale(frames, [0] * len(frames), Quiet())
    canvas = union_canvas([frame.view for frame in frames])
    gains = flux_gains(frames, canvas)
    levels, _ = common_sky(frames, gains, canvas)
    off = from_truth(simulated, frames, canvas, gains, levels)
    assert off.frames == 100
    assert off.place_px < 0.06
    assert off.whole_px < 0.2
    assert off.flux < 0.02
    assert off.sky_adu < 8  # glows grow by 50 ADU across a frame, and bend the whole a little; skies differ by 300
