# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line, as a user would run it: good input, every kind of bad input."""

import errno
import json
import os
import re

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

import zemosaic_align_stack_gpu as zas_gpu
from nanstack.canvas import reference_canvas
from nanstack.levels.photometry import noise_level
from nanstack.session import open_session
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stack_on_canvas
from nanstack.stack.definition import Rejection
from nanstack.truth.simulation import simulate_group
from tests.support.cuda_stand_in import StandIn
from zemosaic_patch import cli, tile_files

SHAPE = (200, 320)
WINSOR = ["--reject", "winsorized_sigma_clip"]


@pytest.fixture(scope="module")
def simulated():
    return [frame.data for frame in simulate_group(5, SHAPE, seed=31, max_shift=25.0, n_stars=250)[0]]


@pytest.fixture
def frames(simulated, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, data in enumerate(simulated):
        fits.writeto(folder / f"light_{index}.fits", np.moveaxis(data, -1, 0))
    return folder


def test_tile_of_a_folder(run, frames, tmp_path):
    code, out, err = run("tile", frames, "-o", tmp_path / "out")
    assert (code, err) == (0, [])
    assert "5 stacked, 0 left out" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*tile_files.OUTPUTS, "run.toml", "written.json"]
    )
    told = json.loads((tmp_path / "out" / "tile.json").read_text())
    assert len(told["frames"]) == 5
    assert told["left_out"] == {}
    assert told["stack"]["coverage_max"] == 5
    with fits.open(tmp_path / "out" / "tile.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["RGB", "ALPHA", "COVERAGE", "WEIGHT", "VARIANCE"]
        assert hdus[0].data.shape == (3, *SHAPE)
        assert hdus[0].header["NPA_ALGN"] == 5
        coverage = hdus["COVERAGE"].data
        assert np.array_equal(hdus["ALPHA"].data, np.where(coverage > 0, 255, 0))
    assert Image.open(tmp_path / "out" / "tile.png").size == SHAPE[::-1]
    picture = np.asarray(Image.open(tmp_path / "out" / "coverage.png"))
    assert np.array_equal(picture, np.rint(coverage / 5 * 255))


def test_a_tile_is_less_noisy_than_a_frame(run, frames, simulated, tmp_path):
    assert run("tile", frames, "-o", tmp_path / "out")[0] == 0
    with fits.open(tmp_path / "out" / "tile.fits") as hdus:
        whole = np.where(hdus["COVERAGE"].data == 5, hdus[0].data, np.nan)
    noise = noise_level(np.moveaxis(whole, 0, -1)) / noise_level(simulated[0])
    assert np.all((noise > 0.3) & (noise < 0.55))  # 1 / sqrt(5) is 0.45


def test_info_tells_what_there_is(run, frames, tmp_path, monkeypatch):
    assert run("tile", frames, "-o", tmp_path / "out")[0] == 0
    monkeypatch.setattr(zas_gpu, "cp", None)
    code, out, err = run("info")
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.strip().splitlines())
    assert (code, err) == (0, [])
    assert facts["numpy"] == np.__version__
    assert facts["CPU threads"] == str(os.cpu_count())
    assert re.match(r"[\d.]+ GiB, [\d.]+ GiB free", facts["memory"])
    assert facts["GPU"].startswith("none: ")
    assert "noise" in facts["cached kernels"].split(", ")  # which that tile needed
    monkeypatch.setattr(zas_gpu, "cp", StandIn(memory=3 * 2**30))
    assert re.search(r"GPU +stand-in, 3\.0 GiB, 3\.0 GiB free", run("info")[1])


@pytest.mark.parametrize("kind", ["mono", "planes last", "npy", "uint16", "scaled", "fz", "memory order"])
def test_every_kind_of_frame_file(run, simulated, tmp_path, kind):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, data in enumerate(simulated[:3]):
        path = folder / f"light_{index}.fits"
        planes = np.moveaxis(data, -1, 0)
        counts = np.clip(np.rint(data[..., 1]), 0, 65535).astype(np.uint16)
        if kind == "mono":
            fits.writeto(path, data[..., 1])
        elif kind == "planes last":
            fits.writeto(path, data)
        elif kind == "npy":
            np.save(folder / f"light_{index}.npy", data)
        elif kind == "memory order":
            np.save(folder / f"light_{index}.npy", np.asfortranarray(data.astype(">f8")))
        elif kind == "uint16":
            fits.writeto(path, counts)
        elif kind == "scaled":
            hdu = fits.PrimaryHDU(planes.copy())  # scale() works in place
            hdu.scale("int16", bscale=2.0, bzero=32768)
            hdu.writeto(path)
        else:
            fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(counts)]).writeto(folder / f"light_{index}.fits.fz")
    code, out, err = run("tile", folder, "-o", tmp_path / "out", "--reference", sorted(folder.iterdir())[0].name)
    assert (code, err) == (0, [])
    tile = fits.getdata(tmp_path / "out" / "tile.fits")
    expected = 720 if kind in ("mono", "uint16", "fz") else (1000, 720, 1080)
    assert tile.ndim == (2 if kind in ("mono", "uint16", "fz") else 3)
    assert np.allclose(np.nanmedian(tile, axis=(-2, -1)), expected, rtol=0.01)


def test_options_reach_the_tile(run, frames, tmp_path):
    """Against the engine with settings of its own."""
    code, _, _ = run(
        "tile", frames, "-o", tmp_path / "out", "--reject", "kappa_sigma", "--kappa", 1, 1.5,
        "--match-sky", "offset", "--weights", "equal", "--interpolation", "lanczos3", "--reference", "light_3.fits",
    )  # fmt: skip
    assert code == 0
    settings = CanvasSettings(
        Rejection("kappa_sigma", 1.0, 1.5, rewinsor=False), sky="offset", weights="equal", interpolation="lanczos3"
    )
    session = open_session(sorted(frames.iterdir()))
    expected = stack_on_canvas(session.frames, reference_canvas(session.frames[3].view), settings).image
    found = np.moveaxis(fits.getdata(tmp_path / "out" / "tile.fits"), 0, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert json.loads((tmp_path / "out" / "tile.json").read_text())["canvas"]["like"] == "pixels of light_3.fits"


def test_skies_are_matched_as_asked_for(run, frames, tmp_path):
    for wanted in ("offset", "plane", "none"):
        assert run("tile", frames, "-o", tmp_path / "out", "--overwrite", "--match-sky", wanted)[0] == 0
        told = json.loads((tmp_path / "out" / "tile.json").read_text())
        assert told["stack"]["sky"] == wanted
        added = np.array([frame["added_adu"] for frame in told["frames"]])
        assert added.shape == (5, 3)
        assert added.any() == (wanted != "none")


def test_one_frame_is_its_own_tile_with_a_warning(run, frames, tmp_path):
    code, _, err = run("tile", frames / "light_0.fits", "-o", tmp_path / "out")
    assert code == 0
    assert err == ["warning: light_0.fits is the only frame: there is no other to find outliers by"]
    assert np.array_equal(fits.getdata(tmp_path / "out" / "tile.fits"), fits.getdata(frames / "light_0.fits"))


def one_line(err, *words):
    assert len(err) == 1, err
    for word in words:
        assert word in err[0]


def test_no_frames(run, tmp_path):
    (tmp_path / "empty").mkdir()
    reasons = {"empty": "no frames there", "nowhere": "there is no such file", "*.fits": "nothing there has a name"}
    for name, reason in reasons.items():
        code, _, err = run("tile", tmp_path / name, "-o", tmp_path / "out")
        assert code == 2
        one_line(err, name, reason)
    assert run("tile", "-o", tmp_path / "out")[0] == 2


def test_files_of_one_name_are_told_apart_by_their_folders(run, frames, tmp_path):
    for night in ("monday", "tuesday"):
        (tmp_path / night).mkdir()
        (tmp_path / night / "light_1.fits").write_text("no FITS at all")
    assert run("tile", frames, tmp_path / "monday", tmp_path / "tuesday", "-o", tmp_path / "out")[0] == 0
    report = json.loads((tmp_path / "out" / "tile.json").read_text())
    assert sorted(report["left_out"]) == ["monday/light_1.fits", "tuesday/light_1.fits"]
    assert "frames/light_1.fits" in [frame["name"] for frame in report["frames"]]


def test_unusable_frames_are_named_and_left_out(run, frames, tmp_path, simulated):
    (frames / "light_1.fits").write_bytes((frames / "light_1.fits").read_bytes()[:20_000])
    (frames / "light_5.fits").write_text("no FITS at all")
    fits.writeto(frames / "light_6.fits", np.full((3, *SHAPE), np.nan, np.float32))
    fits.writeto(frames / "light_7.fits", simulated[0][:100, :, 0])
    np.save(frames / "light_8.npy", np.array([{}], dtype=object), allow_pickle=True)
    fits.writeto(frames / "light_9.fits", np.zeros((2, 5, 6, 7), np.float32))
    infinite = np.moveaxis(simulated[1], -1, 0).copy()
    infinite[:, 50:60, 50:60] = np.inf
    fits.writeto(frames / "light_A.fits", infinite)
    code, out, err = run("tile", frames, "-o", tmp_path / "out")
    assert code == 0
    assert "5 stacked, 6 left out" in out
    failed = json.loads((tmp_path / "out" / "tile.json").read_text())["left_out"]
    for name, word in {
        "light_1.fits": "truncated: its header promises 770880 bytes, the file has 20000",
        "light_5.fits": "not a FITS file",
        "light_6.fits": "no finite sample",
        "light_7.fits": "its kind is mono, unlike that of most frames (colour)",
        "light_8.npy": "pickled objects, which are never loaded",
        "light_9.fits": "no image of two or three axes",
    }.items():
        assert word in failed.pop(name)
        assert sum(name in line and word in line for line in err) == 1
    assert failed == {}
    assert len(err) == 6
    assert np.isfinite(fits.getdata(tmp_path / "out" / "tile.fits")).mean() > 0.99


def test_nothing_usable(run, tmp_path):
    (tmp_path / "bad.fits").write_text("no FITS at all")
    code, _, err = run("tile", tmp_path / "bad.fits", "-o", tmp_path / "out")
    assert code == 1
    assert "bad.fits" in err[0]
    assert "no usable frame in 1 file" in err[-1]
    assert not (tmp_path / "out" / "tile.fits").exists()


def test_no_stars_in_any_frame(run, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        np.save(tmp_path / f"cloud_{index}.npy", rng.normal(1000, 5, SHAPE).astype(np.float32))
    code, _, err = run("tile", tmp_path, "-o", tmp_path / "out")
    assert code == 1
    assert err == [
        "warning: cloud_0.npy: no stars; likewise cloud_1.npy and cloud_2.npy; 3 left out",
        "zemosaic-patch: no usable frame in 3 files: see above",
    ]


def test_output_that_exists_or_cannot_be_written(run, frames, tmp_path):
    assert run("tile", frames, "-o", tmp_path / "out")[0] == 0
    before = (tmp_path / "out" / "tile.fits").read_bytes()
    code, _, err = run("tile", frames, "-o", tmp_path / "out")
    assert code == 2
    one_line(err, "tile.fits exists", "--overwrite")
    assert (tmp_path / "out" / "tile.fits").read_bytes() == before
    assert run("tile", frames, "-o", tmp_path / "out", "--overwrite")[0] == 0
    (tmp_path / "file").write_text("in the way")
    code, _, err = run("tile", frames, "-o", tmp_path / "file")
    assert code == 2
    one_line(err, "is a file")
    code, _, err = run("tile", frames, "-o", tmp_path / "file" / "below")
    assert code == 1
    one_line(err, "cannot be written to")


def test_only_what_an_earlier_run_wrote_is_replaced(run, frames, tmp_path):
    out = tmp_path / "out"
    assert run("tile", frames, "-o", out)[0] == 0
    assert run("report", out)[0] == 0
    (out / "tile.png").write_bytes(b"mine")
    code, _, err = run("tile", frames, "-o", out, "--overwrite")
    assert code == 2
    one_line(err, "tile.png is in the way", "move it elsewhere")
    assert (out / "tile.png").read_bytes() == b"mine"
    (out / "tile.png").unlink()
    assert run("tile", frames, "-o", out, "--overwrite")[0] == 0
    assert not (out / "report.html").exists(), "it was another tile's"
    (out / "report.html").write_text("mine")
    code, _, err = run("report", out)
    assert code == 2
    one_line(err, "report.html is in the way")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "run.toml").write_text("mine = true")
    code, _, err = run("tile", frames, "-o", tmp_path / "new")
    assert code == 2
    one_line(err, "run.toml is in the way")


def test_a_demo_replaces_no_frame_but_its_own(run, tmp_path):
    frame = tmp_path / "demo" / "frames" / "Light_M45_10.0s_0001.fit"
    frame.parent.mkdir(parents=True)
    frame.write_bytes(b"mine")
    for kind in ([], ["--mosaic"]):
        code, _, err = run("demo", "-o", tmp_path / "demo", *kind)
        assert code == 2
        assert "0001.fit is in the way" in err[-1]
    assert frame.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "options",
    [
        ["--kappa", 1],
        ["--reject", "kappa_sigma", "--kappa", 1.5],
        ["--reject", "linear_fit_clip", "--kappa", 1],
        ["--reject", "none"],
        [*WINSOR],
        [*WINSOR, "--kappa", 1],
        [*WINSOR, "--kappa", 1, 3],
        [*WINSOR, "--kappa", 3, 1],
        [*WINSOR, "--kappa", 1, "--winsor", 0.3, 0.05],
        [*WINSOR, "--kappa", 1, "--winsor", 0.05, 0.3],
        [*WINSOR, "--kappa", 1, "--rewinsor"],
        [*WINSOR, "--wsc-impl", "pixinsight"],
        ["--combine", "median"],
        ["--combine", "min"],
        ["--combine", "max"],
        ["--match-sky", "none"],
        ["--match-sky", "offset"],
        ["--interpolation", "lanczos3"],
        ["--reference", "light_1.fits"],
        ["--canvas", "all"],
        ["--canvas", "all", "--drizzle", 1],
        ["--canvas", "all", "--drizzle", 1, "--pixfrac", 0.6],
        ["--canvas", "all", "--drizzle", 1, "--kernel", "gaussian"],
        ["--canvas", "all", "--drizzle", 2],
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_every_option_changes_the_tile(run, frames, tmp_path, tiles, options):
    """No option is ignored: each makes a tile of its own, against those that all other options here make."""
    assert run("tile", frames, "-o", tmp_path / "out", *options)[0] == 0
    data = fits.getdata(tmp_path / "out" / "tile.fits").tobytes()
    assert data not in tiles.values()
    tiles[" ".join(map(str, options))] = data


@pytest.fixture(scope="module")
def tiles(simulated, tmp_path_factory):
    """The bytes of tiles by the options that made them: at first that of no option."""
    folder = tmp_path_factory.mktemp("tiles")
    for index, data in enumerate(simulated):
        fits.writeto(folder / f"light_{index}.fits", np.moveaxis(data, -1, 0))
    assert cli.main(["tile", str(folder), "-o", str(folder / "out")]) == 0
    return {"": fits.getdata(folder / "out" / "tile.fits").tobytes()}


def test_zemosaics_variable_is_not_for_our_commands(run, frames, tmp_path, monkeypatch):
    """`ZEMOSAIC_WSC_IMPL` is how a ZeMosaic is told; our options say all, so that a run can be repeated."""
    for number, wanted in enumerate(("", "pixinsight", "legacy_quantile")):
        monkeypatch.setenv("ZEMOSAIC_WSC_IMPL", wanted)
        assert run("tile", frames, "-o", tmp_path / str(number), *WINSOR)[0] == 0
        assert run("tile", frames, "-o", tmp_path / f"huber {number}", *WINSOR, "--wsc-impl", "pixinsight")[0] == 0
    tiles = [fits.getdata(tmp_path / str(number) / "tile.fits").tobytes() for number in range(3)]
    assert len(set(tiles)) == 1
    hubers = [fits.getdata(tmp_path / f"huber {number}" / "tile.fits").tobytes() for number in range(3)]
    assert len({*hubers, *tiles}) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kappa", "0"], ["--kappa", "0"]),
        (["--kappa", "1", "2", "3"], ["--kappa", "1 2 3"]),
        (["--kappa", "nan"], ["--kappa", "nan"]),
        (["--winsor", "0.6", "0.1"], ["--winsor", "0.6 0.1"]),
        (["--reference", "other.fits"], ["--reference other.fits", "not among the 5 frames given"]),
    ],
)
def test_values_out_of_range(run, frames, tmp_path, options, words):
    code, _, err = run("tile", frames, "-o", tmp_path / "out", *options)
    assert code == 2
    one_line(err, *words)


@pytest.mark.parametrize("options", [["--reject", "magic"], ["--frobnicate"], ["--winsor", "a", "b"]])
def test_unknown_options_are_usage_errors(run, frames, tmp_path, options):
    code, _, err = run("tile", frames, "-o", tmp_path / "out", *options)
    assert code == 2
    one_line(err, options[0], "see zemosaic-patch tile --help")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--Output", "x"], "unknown option --Output: is --output meant?"),
        (["-O", "x"], "unknown option -O: is -o meant?"),
        (["-o", "x", "--REJECT=none"], "unknown option --REJECT: is --reject meant?"),
        (["-o", "x", "--weigths", "equal"], "unknown option --weigths: is --weights meant?"),
        (["-o", ""], "one of the names or values is empty"),
        (["", "-o", "x"], "one of the names or values is empty"),
    ],
)
def test_words_that_are_nearly_right_are_named_and_nothing_is_done(run, frames, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("tile", frames, *words)
    assert code == 2
    one_line(err, said)
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege elsewhere")
def test_places_that_are_no_folders_are_named(run, frames, tmp_path):
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    assert "dead is a link to what is not there" in run("tile", frames, "-o", tmp_path / "dead")[2][-1]
    assert "light_0.fits is a file: name the folder of a mosaic" in run("report", frames / "light_0.fits")[2][-1]
    assert "nowhere is not there: name the folder of" in run("report", tmp_path / "nowhere")[2][-1]


def test_reference_that_cannot_be_read(run, frames, tmp_path):
    (frames / "light_2.fits").write_text("no FITS at all")
    code, _, err = run("tile", frames, "-o", tmp_path / "out", "--reference", frames / "light_2.fits")
    assert code == 1
    assert len(err) == 2
    assert "light_2.fits cannot be the reference" in err[1]


def test_demo_shows_the_band_and_its_absence(run, tmp_path):
    code, out, err = run("demo", "-o", tmp_path / "demo", "--frames", 6)
    assert (code, err) == (0, [])
    before, after = re.search(r"before ([\d.]+) ADU, after ([\d.]+) ADU", out).groups()
    assert float(before) >= 30
    assert float(after) <= 0.5
    assert "6 stacked, 0 left out" in out
    assert Image.open(tmp_path / "demo" / "before_after.png").width == 1800
    raw = fits.getheader(tmp_path / "demo" / "frames" / "Light_M45_10.0s_0001.fit")
    assert raw["BAYERPAT"] == "GRBG"


def test_demo_bad_input(run, tmp_path):
    code, _, err = run("demo", "-o", tmp_path / "demo", "--frames", 2)
    assert code == 2
    one_line(err, "--frames")


def test_a_failed_run_does_not_block_the_next(run, frames, tmp_path):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "text.fits").write_text("no FITS")
    for command in ("tile", "mosaic"):
        assert run(command, tmp_path / "e", "-o", tmp_path / "out")[0] == 1
    assert run("tile", frames, "-o", tmp_path / "out")[0] == 0


def test_a_tile_and_a_mosaic_do_not_share_a_folder(run, frames, tmp_path):
    for command, other, what in (("tile", "mosaic.fits", "a mosaic"), ("mosaic", "tile.fits", "a single tile")):
        folder = tmp_path / command
        folder.mkdir()
        (folder / other).write_bytes(b"somebody's")
        code, _, (line,) = run(command, frames, "-o", folder, "--overwrite")
        assert code == 2
        assert f"{folder} holds {what}" in line
        assert [path.name for path in folder.iterdir()] == [other]


@pytest.mark.parametrize("command", ["tile", "mosaic"])
def test_a_result_does_not_go_among_the_frames(run, frames, tmp_path, command):
    """The folder would be passed over, frames and all, by whoever searches one around it the next time."""
    (tmp_path / "link").symlink_to(frames)
    before = sorted(frames.iterdir())
    for folder in (frames, tmp_path / "link", frames / ".." / frames.name):
        code, _, (line,) = run(command, frames, "-o", folder)
        assert code == 2
        assert f"{folder} holds the frames themselves: name another folder" in line
        assert sorted(frames.iterdir()) == before


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (
            OSError("Not enough space on disk: requested 4147200, available 0. "),
            "the disk is full: make room",
        ),  # astropy
        (
            OSError(errno.EFBIG, "File too large"),
            "the result is larger than a file may be where the output goes (4 GiB",
        ),
        (PermissionError(errno.EROFS, "Read-only file system", "a/b"), "a/b: Read-only file system: see who may read"),
        (OSError(errno.EIO, "Input/output error", "a/b"), "a/b: Input/output error"),
    ],
)
def test_what_the_system_refuses_is_told_in_our_words(run, monkeypatch, tmp_path, failure, told):
    from zemosaic_patch.demo import tile as demo

    def full(*_):
        raise failure

    monkeypatch.setattr(demo, "write_pleiades_frames", full)
    code, _, lines = run("demo", "-o", tmp_path / "demo")
    assert code == 1
    assert lines[-1].startswith(f"zemosaic-patch: {told}")


@pytest.mark.parametrize("mark", ["\n", "\r", "\x1b[2J", "\udce9"])
@pytest.mark.parametrize(
    "words",
    [
        ["mosaic", "{}", "-o", "out"],
        ["look", "{}"],
        ["hips", "{}"],
        ["report", "{}"],
        ["mosaic", ".", "-o", "out", "--scale", "{}"],
    ],
)
def test_what_would_break_a_line_or_steer_the_terminal_is_escaped(tmp_path, monkeypatch, capsys, mark, words):
    monkeypatch.chdir(tmp_path)
    assert cli.main([word.format(f"no{mark}thing") for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert mark.encode("unicode_escape").decode() in line


def test_a_folders_last_backslash_in_quotes_is_told_as_windows_hands_it_on(run, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "NO_QUOTES", True)
    code, _, (line,) = run("mosaic", 'D:\\M 31" -o out', "--resume")
    assert code == 2
    assert "leave out the backslash" in line
