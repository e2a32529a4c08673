# SPDX-License-Identifier: GPL-3.0-or-later
"""One more night: what an earlier run found stays to the bit, what is new joins it, and only that is stacked."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from nanstack import sky_stack
from nanstack.canvas import reference_canvas, union_canvas
from nanstack.going_on import solved_on_canvas
from nanstack.register.place import unknown
from nanstack.session import open_session
from nanstack.settings import CanvasSettings
from nanstack.solution_file import SolutionFile
from nanstack.stack import cells as cells_module
from nanstack.stack.cells import Layer, cut, stack_cells
from nanstack.stack.kept import KeptCells
from nanstack.truth.simulation import similarity
from tests.support.nights import SHAPE, night, sky_of_stars
from tests.support.told import Told

pytestmark = pytest.mark.numpy_bytes

SETTINGS = CanvasSettings()
TURNS = np.random.default_rng(4).uniform(-1, 1, (9, 3)) * (15, 15, 12)


def beside(moves, dx):
    return [similarity(SHAPE, dx + x, y, turn) for x, y, turn in moves]


def placed_well(surveys, registrations):
    """Leave the frames on the sphere that registration chose, and say that it is the sky."""
    groups = {one.group for one in registrations}
    views = [one.view for one in registrations]
    return list(registrations), {group: replace(unknown(views), how="catalogue", approximate=False) for group in groups}


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Files of two nights, the second one beside the first, and the folder of their surveys."""
    folder = tmp_path_factory.mktemp("nights")
    sky = sky_of_stars(3, 90)
    first = night(folder, sky, beside(TURNS[:5], -140), "first")
    second = night(folder, sky, beside(TURNS[5:], 160), "second", clear=0.9)
    return first, second, folder / "surveys"


@pytest.fixture(scope="module")
def sessions(nights):
    first, second, surveys = nights
    return [open_session(paths, folder=surveys, place=placed_well) for paths in (first, first + second)]


def union(frames):
    return union_canvas([frame.view for frame in frames])


def solved(session, kept=None, canvas_of=union, progress=None, told="", **what):
    kept = kept and SolutionFile(kept, {"version": told} if told else {})
    return solved_on_canvas(session, canvas_of, SETTINGS, kept=kept, progress=progress, **what)


def by_name(placed):
    return {one.frame.path.name: one for one in placed}


def numbers(one):
    """All that a placed frame's samples hang on, as bytes."""
    view, level, noise = one.frame.view, one.level, one.noise
    arrays = (
        view.attitude,
        one.gain,
        one.flat,
        level.terms,
        noise.variance,
        noise.photon,
        noise.sky,
    )
    return (
        *(a.tobytes() for a in arrays),
        view.camera,
        view.scale,
        one.weight,
        one.blur,
        one.frame.factor,
        one.frame.factor_error,
        *one.frame.flat.terms,
        one.frame.flat.error,
    )


@pytest.fixture(scope="module")
def both(sessions, tmp_path_factory):
    """The first night, then both, going on from it: two canvases with their frames; and both at once."""
    kept = tmp_path_factory.mktemp("kept") / "solution.npz"
    one, two = sessions
    return [(found.canvas, found.frames) for found in (solved(one, kept), solved(two, kept), solved(two))]


def test_known_frames_stay_to_the_bit_and_pixels_where_they_were(both):
    (canvas, before), (larger, after), _ = both
    assert len(before) == 5
    assert len(after) == 9
    after = by_name(after)
    assert all(numbers(after[name]) == numbers(one) for name, one in by_name(before).items())
    np.testing.assert_array_equal(larger.view.attitude, canvas.view.attitude)
    shift = np.subtract(larger.origin, canvas.origin)
    assert (np.asarray(larger.view.middle) - canvas.view.middle == shift).all()
    assert larger.shape[1] > canvas.shape[1] + 150
    assert larger.shape == union_shape(larger, after.values())


def union_shape(canvas, placed):
    """Height and width of the box around frames on the plane of a canvas."""
    edge = np.linspace(0, 1, 200)
    x, y = np.concatenate([[edge, 0 * edge], [edge, 0 * edge + 1], [0 * edge, edge], [0 * edge + 1, edge]], axis=1)
    shown = [canvas.view.pixels(one.frame.view.directions(x * (SHAPE[1] - 1), y * (SHAPE[0] - 1))) for one in placed]
    return tuple(int(np.ceil(v.max()) - np.floor(v.min())) + 1 for v in np.moveaxis(shown, 1, 0)[::-1])


def test_new_frames_lie_and_count_as_if_both_nights_were_solved_at_once(both):
    _, (canvas, went_on), (other, at_once) = both
    went_on, at_once = by_name(went_on), by_name(at_once)
    x, y = np.meshgrid([0.0, SHAPE[1] / 2, SHAPE[1]], [0.0, SHAPE[0] / 2, SHAPE[0]])
    for new, known in itertools.product([n for n in at_once if "second" in n], [n for n in at_once if "first" in n]):
        places = []
        for found in (went_on, at_once):
            u, v = found[known].frame.view.pixels(found[new].frame.view.directions(x, y))
            places.append(np.where((u > 0) & (u < SHAPE[1]) & (v > 0) & (v < SHAPE[0]), [u, v], np.nan))
        off = np.hypot(*(places[0] - places[1]))
        assert np.nanmax(off) < 0.05, (new, known)
        ratios = [found[new].gain / found[known].gain for found in (went_on, at_once)]
        np.testing.assert_allclose(ratios[0], ratios[1], rtol=0.005)
        weights = [found[new].weight / found[known].weight for found in (went_on, at_once)]
        assert weights[0] == pytest.approx(weights[1], rel=0.01)
    for name in at_once:
        here, there = (sky_of(found[name], on) for found, on in ((went_on, canvas), (at_once, other)))
        steps = here - there
        np.testing.assert_allclose(steps, steps_of_all(went_on, at_once, canvas, other), atol=1.5)


def test_it_is_known_what_the_scale_of_flux_is(nights, sessions, tmp_path):
    """The first night, whose scale stays, was hazy: a star shows there 0.9 of what it does in most frames of both."""
    first, second, surveys = nights
    hazy, kept = open_session(second, folder=surveys, place=placed_well), tmp_path / "solution.npz"
    assert solved(hazy, kept).usual_flux == 1
    went_on = solved(sessions[1], kept)
    assert went_on.usual_flux == pytest.approx(0.9, rel=0.01)
    gains, truth = (by_name(found.frames) for found in (went_on, solved(sessions[1])))
    for name, one in gains.items():
        np.testing.assert_allclose(one.gain / truth[name].gain, went_on.usual_flux, rtol=0.01)
    again = open_session(first + second, folder=surveys, known=SolutionFile(kept).session)
    assert solved(again, kept).usual_flux == went_on.usual_flux, "nothing was registered, and it is known still"


def sky_of(one, canvas):
    """The level of a frame's sky in its middle, as it is stacked: (C,)."""
    x, y = np.subtract(canvas.view.pixels(one.frame.view.pointing), canvas.origin)
    return np.nanmedian(one.frame.survey.sky, axis=(0, 1)) * one.gain + one.level.at(x, y)


def steps_of_all(went_on, at_once, canvas, other):
    """What two solutions differ by as a whole: the level of the sky is one's own to choose."""
    return np.median([sky_of(went_on[name], canvas) - sky_of(at_once[name], other) for name in at_once], axis=0)


def stacked(canvas, placed, kept=None):
    layers = [Layer.of(one, canvas) for one in placed]
    cells = cut(layers)
    return {
        cell: (result.image.tobytes(), result.variance.tobytes(), result.coverage.tobytes(), result.weight.tobytes())
        for cell, result in zip(cells, stack_cells(cells, layers, SETTINGS, kept=kept), strict=True)
    }


def test_only_cells_that_new_frames_touch_are_stacked_again(both, tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "SIDE", 64)
    (canvas, before), (larger, after), _ = both
    kept = KeptCells(tmp_path / "cells")
    first = {cell.name: bytes_ for cell, bytes_ in stacked(canvas, before, kept).items()}
    times = {path.name: path.stat().st_mtime_ns for path in kept.folder.iterdir()}
    second = stacked(larger, after, kept)
    again = {path.name for path in kept.folder.iterdir() if times.get(path.name) != path.stat().st_mtime_ns}
    new = {index for index, one in enumerate(after) if "second" in one.frame.path.name}
    assert again == {cell.name for cell in second if new & set(cell.frames)}
    untouched = {cell.name: bytes_ for cell, bytes_ in second.items() if not new & set(cell.frames)}
    assert len(untouched) > len(first) / 4
    assert all(bytes_ == first[name] for name, bytes_ in untouched.items())
    assert stacked(larger, after) == second


def test_a_frame_that_is_gone_costs_its_cells_alone(both, sessions, tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "SIDE", 64)
    kept, cells = tmp_path / "solution.npz", KeptCells(tmp_path / "cells")
    canvas, before, *_ = solved(sessions[1], kept)
    first = {cell.name: bytes_ for cell, bytes_ in stacked(canvas, before, cells).items()}
    gone = before[0].frame.path
    fewer = replace(sessions[1], frames=[frame for frame in sessions[1].frames if frame.path != gone])
    told = Told()
    again, after, *_ = solved(fewer, kept, progress=told)
    assert not told.warnings
    assert {name: numbers(one) for name, one in by_name(after).items()} == {
        name: numbers(one) for name, one in by_name(before).items() if name != gone.name
    }
    had = {cell.name for cell in cut([Layer.of(one, canvas) for one in before]) if 0 in cell.frames}
    for cell, bytes_ in stacked(again, after, cells).items():
        assert cell.name in had or bytes_ == first[cell.name]


def test_known_frames_are_not_registered_again(nights, sessions, tmp_path, monkeypatch):
    first, second, surveys = nights
    found = solved(sessions[1], tmp_path / "solution.npz")
    earlier, _ = SolutionFile(tmp_path / "solution.npz").recalled()
    assert earlier.sky == found.sky
    assert solved(sessions[1], tmp_path / "solution.npz").sky == found.sky
    monkeypatch.setattr("nanstack.session.register", None)
    for paths in (first + second, first + second[1:]):
        again = open_session(paths[::-1], folder=surveys, known=earlier.session)
        expected = [frame for frame in sessions[1].frames if frame.path in paths]
        assert [frame.path for frame in again.frames] == [frame.path for frame in expected]
        for frame, truth in zip(again.frames, expected, strict=True):
            np.testing.assert_array_equal(frame.view.attitude, truth.view.attitude)
            assert (frame.factor, frame.factor_error) == (truth.factor, truth.factor_error)
            assert (frame.flat, frame.stars) == (truth.flat, truth.stars)
    monkeypatch.undo()
    earlier = replace(earlier, frames={d: f for d, f in earlier.frames.items() if d != expected[0].survey.digest})
    assert earlier.session([frame.survey for frame in expected]) is None, "one is new"
    in_doubt = replace(earlier, place=replace(earlier.place, approximate=True))
    assert in_doubt.session([frame.survey for frame in expected[1:]]) is None
    assert earlier.session([frame.survey for frame in expected[1:]]) is not None


def test_a_refused_frame_is_refused_again_for_the_reason_it_was(nights, sessions, tmp_path):
    lost = sessions[1].frames[-1]
    remarks, heard = ("9 frames: a wrong header",), Told()
    frames = [replace(sessions[1].frames[0], exposed=4.0), *sessions[1].frames[1:-1]]
    session = replace(sessions[1], frames=frames, refused={lost.survey.digest: "too few stars"}, remarks=remarks)
    solved(session, tmp_path / "solution.npz")
    earlier, _ = SolutionFile(tmp_path / "solution.npz").recalled()
    first, second, surveys = nights
    again = open_session(first + second, folder=surveys, known=earlier.session, progress=heard)
    assert (again.remarks, tuple(heard.warnings)) == (remarks, remarks)
    assert [frame.facts.exposure for frame in again.frames] == [4.0] + [10.0] * (len(frames) - 1)
    assert again.left_out == {lost.path: "too few stars"}
    assert again.refused == session.refused
    assert len(again.frames) == len(session.frames)


def test_a_judged_frame_is_known_whether_it_is_wanted_or_not(nights, sessions, tmp_path):
    first, second, surveys = nights
    blurred = sessions[1].frames[-1]
    of_it = {"faults": {blurred.path: "blurred"}, "judged": {blurred.survey.digest: "blurred"}}

    def again(session, wanted):
        solved(session, tmp_path / "solution.npz")
        earlier, _ = SolutionFile(tmp_path / "solution.npz").recalled()
        known = [frame.survey for frame in sessions[1].frames]
        return earlier.session(known, wanted)

    taken_in = replace(sessions[1], **of_it)
    for wanted in ([], [blurred.path]):
        found = again(taken_in, wanted)
        assert len(found.frames) == len(sessions[1].frames) - (not wanted)
        assert found.left_out == ({} if wanted else {blurred.path: "blurred"})
        assert (found.taken_in, found.can_be_taken_in) == (
            ({blurred.path: "blurred"}, {}) if wanted else ({}, {blurred.path: "blurred"})
        )
    # where an earlier run left it out, its place is not known
    left_out = replace(taken_in, frames=taken_in.frames[:-1], left_out={blurred.path: "blurred"})
    (tmp_path / "solution.npz").unlink()
    assert len(again(left_out, []).frames) == len(left_out.frames)
    assert again(left_out, [blurred.path]) is None


def moved(session):
    """As if the frames were registered otherwise: two thirds of them two pixels aside, one way or the other."""
    frames = [
        replace(
            f, view=replace(f.view, camera=replace(f.view.camera, axis=tuple(np.add(f.view.middle, 2.0 * (k % 3 - 1)))))
        )
        for k, f in enumerate(session.frames)
    ]
    return replace(session, frames=frames)


@pytest.mark.parametrize(
    ("change", "told", "says"),
    [(lambda s: s, "2.0", "version"), (moved, "", "px from where they lay")],
)
def test_what_does_not_fit_is_made_anew_and_told_in_a_line(sessions, tmp_path, change, told, says):
    kept = tmp_path / "solution.npz"
    solved(sessions[1], kept)
    heard = Told()
    session = change(sessions[1])
    canvas, found, *_ = solved(session, kept, told=told, progress=heard)
    assert len(heard.warnings) == 1
    assert says in heard.warnings[0]
    fresh_canvas, fresh, *_ = solved(session)
    assert canvas.view.camera == fresh_canvas.view.camera
    assert [numbers(one) for one in found] == [numbers(one) for one in fresh]
    assert solved(session, kept, told=told)[0].view.camera == canvas.view.camera, "it is kept in its place"


def test_few_of_the_earlier_frames_are_refused_and_the_solution_stays(sessions, tmp_path):
    kept = tmp_path / "solution.npz"
    solved(sessions[1], kept)
    before = kept.read_bytes()
    with pytest.raises(ValueError, match=r"of 9 frames that the earlier run stacked, 3 are here: name the others, too"):
        solved(replace(sessions[1], frames=sessions[1].frames[-3:]), kept)
    assert kept.read_bytes() == before


def test_a_place_that_is_found_later_is_used(sessions, tmp_path):
    nowhere = replace(sessions[0], place=None)
    solved(nowhere, tmp_path / "solution.npz")
    heard = Told()
    solved(sessions[0], tmp_path / "solution.npz", progress=heard)
    assert "known now" in heard.warnings[0]


@pytest.mark.parametrize("harm", [lambda b: b[:1000], lambda b: b"", lambda b: b[:2000] + b"?" + b[2001:]])
def test_a_damaged_solution_is_told_and_made_anew(sessions, tmp_path, harm):
    kept = tmp_path / "solution.npz"
    fresh = solved(sessions[0], kept)
    kept.write_bytes(harm(kept.read_bytes()))
    heard = Told()
    assert solved(sessions[0], kept, progress=heard)[0].view.camera == fresh[0].view.camera
    assert "damaged" in heard.warnings[0]


def test_a_canvas_that_does_not_grow_stays(sessions, tmp_path):
    kept = tmp_path / "solution.npz"

    def first_frames(frames):
        return reference_canvas(frames[0].view)

    canvas, *_ = solved(sessions[0], kept, first_frames, grows=False)
    again, *_ = solved(sessions[1], kept, None, grows=False)
    assert again.view.camera == canvas.view.camera
    np.testing.assert_array_equal(again.view.attitude, canvas.view.attitude)


def test_files_are_stacked_in_any_order_to_the_same_bytes(nights, tmp_path):
    first, second, surveys = nights
    paths = first[:2] + second[:1]
    (tmp_path / "notes.txt").write_text("no frame")
    found = sky_stack.stack_files([*paths, tmp_path / "notes.txt"], folder=surveys)
    turned = sky_stack.stack_files(paths[::-1], folder=surveys, memory=2**20)
    for name in ("image", "coverage", "weight", "variance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(turned, name))
    assert found.coverage.max() == 3
    assert set(found.left_out) == {tmp_path / "notes.txt"}
    assert found.taken.frames == 3
    assert found.wcs is None, "no header says where it is"


def test_files_of_which_none_can_be_used_are_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("no frame")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        sky_stack.stack_files([tmp_path / "notes.txt"])
