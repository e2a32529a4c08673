# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found of many frames, by surveys that are simulated: against the truth, and how it grows."""

import numpy as np
import pytest

from nanstack.canvas import union_canvas
from nanstack.levels import sky_planes
from nanstack.levels.common_sky import common_sky
from nanstack.levels.flux import flux_gains, on_one_flux_scale
from nanstack.progress import Quiet
from nanstack.register import regions
from nanstack.register.pairs import find_links
from nanstack.register.registered import RegisteredFrame
from nanstack.register.solution import register
from nanstack.register.sources import sources_of
from nanstack.truth.surveys import from_truth, simulated_surveys


@pytest.mark.parametrize("panels", [1, 25])
def test_places_fluxes_and_skies_of_many_panels_and_of_one_are_those_that_were_simulated(panels, monkeypatch):
    for module in (regions, sky_planes):
        monkeypatch.setattr(module, "MANY_REGIONS", 6)  # as if there were hundreds
    simulated = simulated_surveys(100, panels, shape=(960, 540))
    registrations = register(simulated.surveys)
    frames = [
        RegisteredFrame(survey, one.view, one.stars, one.rms)
        for survey, one in zip(simulated.surveys, registrations, strict=True)
        if one.group == 0
    ]
    assert len(frames) > 90  # where stars are few a panel in a corner has none in common with others
    frames = on_one_flux_scale(frames, [0] * len(frames), Quiet())
    canvas = union_canvas([frame.view for frame in frames])
    gains = flux_gains(frames, canvas)
    levels, _ = common_sky(frames, gains, canvas)
    off = from_truth(simulated, frames, canvas, gains, levels)
    assert off.place_px < 0.06
    assert off.whole_px < 0.2
    assert off.flux < 0.02
    assert off.sky_adu < 8  # glows grow by 50 ADU across a frame, and bend the whole a little; skies differ by 300


def test_compiled_steps_of_the_sky_give_the_same_bytes(monkeypatch):
    pytest.importorskip("numba")
    simulated = simulated_surveys(40, 4, shape=(640, 480))
    frames = [
        RegisteredFrame(survey, view, 20, 0.1) for survey, view in zip(simulated.surveys, simulated.views, strict=True)
    ]
    canvas = union_canvas(simulated.views)
    gains = flux_gains(frames, canvas)
    terms = []
    for many in (0, np.inf):
        monkeypatch.setattr(sky_planes, "MANY_SAMPLES", many)
        terms.append([level.terms for level in common_sky(frames, gains, canvas).levels])
    np.testing.assert_array_equal(*terms)


@pytest.mark.parametrize("panels", [1, 8])
def test_each_frame_is_matched_with_a_few_others_however_many_there_are(panels):
    for count in (80, 240):
        surveys = simulated_surveys(count, panels, shape=(960, 540)).surveys
        links = find_links([sources_of(survey, 100) for survey in surveys], lambda _: None)
        assert len({link.second for link in links}) > 0.95 * count
        assert len(links) < 1.5 * count
