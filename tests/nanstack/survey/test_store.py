# SPDX-License-Identifier: GPL-3.0-or-later
import os
import shutil

import numpy as np
import pytest

from nanstack.survey import store as store_module
from nanstack.survey.store import STEP, survey_files
from tests.nanstack.survey.simulated import Scene, raw_file, write
from tests.support.crews import Couriers
from tests.support.told import Told

SCENE = Scene((160, 200), stars=15)
SOLVED = {
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "CRVAL1": 83.8,
    "CRVAL2": 22.0,
    "CRPIX1": 100.0,
    "CRPIX2": 80.0,
    "CD1_1": -6e-4,
    "CD1_2": 1e-5,
    "CD2_1": 1e-5,
    "CD2_2": 6e-4,
    "A_ORDER": 2,
    "A_2_0": 1e-5,
    "B_ORDER": 2,
    "B_0_2": 2e-5,
}


@pytest.fixture
def paths(tmp_path):
    return [raw_file(tmp_path / f"{name}.fit", SCENE, hot=9, seed=seed) for seed, name in enumerate("cabd")]


def hide_samples(path):
    """Change a file's samples, not its size and time."""
    known = path.stat()
    with open(path, "r+b") as file:
        file.seek(2880)
        file.write(bytes(known.st_size - 2880))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


def same(one, other):
    arrays = [(one.stars.x, other.stars.x), (one.stars.y, other.stars.y), (one.stars.flux, other.stars.flux)]
    arrays += [(one.stars.error, other.stars.error), (one.sky, other.sky), (one.noise, other.noise)]
    arrays += [(one.spikes, other.spikes), (one.mended, other.mended)]
    plain = "path", "shape", "facts", "saturation", "elongation", "trails", "digest"
    return all(np.array_equal(a, b, equal_nan=True) and a.dtype == b.dtype for a, b in arrays) and all(
        repr(getattr(one, name)) == repr(getattr(other, name)) for name in plain
    )


def test_trails_are_kept(tmp_path):
    y, x = np.indices((160, 200))
    trail = 200 * np.exp(-0.5 * ((0.6 * x - 0.8 * y) / 1.3) ** 2)
    samples = np.random.default_rng(1).normal(900, 20, trail.shape) + trail
    path = write(tmp_path / "a.fit", samples.astype(np.float32))
    first, again = (survey_files([path], tmp_path / "kept")[0][0] for _ in range(2))
    assert [trail.is_sure for trail in first.trails] == [True]
    assert same(first, again)


def test_surveys_come_in_the_order_given_and_say_how_far_they_are(paths):
    heard = Told()
    surveys, unusable = survey_files(paths, threads=3, progress=heard)
    assert [survey.path for survey in surveys] == paths
    assert not unusable
    assert heard.steps == [(STEP, done, 4) for done in (1, 2, 3, 4)]


def test_what_cannot_be_used_is_told_and_the_rest_goes_on(paths, tmp_path):
    broken, absent = tmp_path / "broken.fit", tmp_path / "absent.fit"
    broken.write_bytes(b"SIMPLE  = what")
    surveys, unusable = survey_files([paths[0], broken, absent, paths[1]], tmp_path / "kept")
    assert [survey.path for survey in surveys] == paths[:2]
    assert list(unusable) == [broken, absent]
    assert unusable[absent] == "there is no such file"


def test_files_that_did_not_change_are_not_read_again(paths, tmp_path):
    first, _ = survey_files(paths, tmp_path / "kept")
    for path in paths:
        hide_samples(path)
    again, _ = survey_files(paths, tmp_path / "kept")
    assert all(map(same, first, again))
    unkept, _ = survey_files(paths)
    assert [len(survey.stars) for survey in unkept] == [0] * 4, "they would have shown no star"


def test_one_more_night_costs_its_frames_only(paths, tmp_path):
    survey_files(paths[:2], tmp_path / "kept")
    for path in paths[:2]:
        hide_samples(path)
    surveys, _ = survey_files(paths, tmp_path / "kept")
    assert all(len(survey.stars) for survey in surveys)


def test_a_changed_file_is_surveyed_anew(paths, tmp_path):
    first, _ = survey_files(paths[:1], tmp_path / "kept")
    raw_file(paths[0], SCENE, seed=9)
    os.utime(paths[0], ns=(1, 10**18))
    again, _ = survey_files(paths[:1], tmp_path / "kept")
    assert again[0].digest != first[0].digest


def test_files_of_one_name_size_and_time_are_two(paths, tmp_path):
    (tmp_path / "night").mkdir()
    other = tmp_path / "night" / paths[0].name
    shutil.copy(paths[1], other)
    os.utime(other, ns=(1, 10**18))
    os.utime(paths[0], ns=(1, 10**18))
    survey_files(paths[:1], tmp_path / "kept")
    both, _ = survey_files([paths[0], other], tmp_path / "kept")
    assert both[0].digest != both[1].digest


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_damaged_surveys_are_made_again(paths, tmp_path, damage):
    first, _ = survey_files(paths[:1], tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    again, _ = survey_files(paths[:1], tmp_path / "kept")
    assert same(first[0], again[0])
    assert kept.read_bytes() == whole


def test_a_bit_that_flipped_costs_no_more_than_a_survey(paths, tmp_path):
    first, _ = survey_files(paths[:1], tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    whole = kept.read_bytes()
    directory = whole.index(b"PK\x01\x02")  # of the archive: what each part is packed and ciphered with
    for place in range(directory, min(directory + 46, len(whole))):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert same(first[0], survey_files(paths[:1], tmp_path / "kept")[0][0])


def test_a_newer_program_makes_its_own(paths, tmp_path, monkeypatch):
    survey_files(paths[:1], tmp_path / "kept")
    hide_samples(paths[0])
    monkeypatch.setattr(store_module, "VERSION", store_module.VERSION + 1)
    surveys, _ = survey_files(paths[:1], tmp_path / "kept")
    assert len(surveys[0].stars) == 0, "it was read"


def test_a_solution_and_facts_are_kept(tmp_path):
    path = write(tmp_path / "a.fit", np.ones((160, 200), np.float32), OBJECT="M 1", FILTER="IRCUT", **SOLVED)
    first, _ = survey_files([path], tmp_path / "kept")
    again, _ = survey_files([path], tmp_path / "kept")
    assert same(first[0], again[0])
    assert again[0].facts.object == "M 1"
    places = [(0.0, 0.0), (199.0, 159.0), (30.0, 120.0)]
    true, kept = (survey.facts.wcs.all_pix2world(places, 0) for survey in (first[0], again[0]))
    assert np.abs(true - kept).max() < 1e-9
    assert np.abs(first[0].facts.wcs.wcs_pix2world(places, 0) - kept).max() > 1e-5, "with its distortion"


def test_a_folder_that_cannot_be_written_to_costs_a_warning(paths, tmp_path):
    heard = Told()
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    surveys, unusable = survey_files(paths, blocked, progress=heard)
    assert (len(surveys), unusable) == (4, {})
    assert len(heard.warnings) == 1
    assert heard.warnings[0].startswith("surveys cannot be kept in file (")


@pytest.fixture
def crew(tmp_path):
    (tmp_path / "empty").mkdir()
    return Couriers(tmp_path / "empty")


def test_files_surveyed_elsewhere_are_known_as_if_here(paths, tmp_path, monkeypatch, crew):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no.fit").write_text("no frame")
    names = [path.relative_to(tmp_path) for path in paths] + [tmp_path / "no.fit"]
    truth, unusable = survey_files(names)
    told = Told()
    surveys, reasons = survey_files(names, tmp_path / "kept", progress=told, crew=crew)
    assert all(map(same, surveys, truth))
    assert len(surveys) == len(truth) == 4
    assert reasons == unusable
    assert told.steps[-1] == (STEP, 5, 5)
    assert crew.travelled < 1000, "bytes: what is found out is read from the folder"


def test_only_what_is_new_goes_elsewhere(paths, tmp_path, crew):
    survey_files([paths[0], paths[2]], tmp_path / "kept")
    survey_files(paths, tmp_path / "kept", crew=crew)
    assert crew.names == [paths[1].name, paths[3].name]


def test_a_survey_that_cannot_be_kept_travels(paths, tmp_path, monkeypatch, crew):
    monkeypatch.setattr(store_module.Store, "save", lambda *_: None)
    surveys, _ = survey_files(paths, tmp_path / "kept", crew=crew)
    assert all(map(same, surveys, survey_files(paths)[0]))
