# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine as an enemy: processes killed at random, disks that fill, memory that ends, frames by the thousand.

They take long, so they are skipped unless ``ZEMOSAIC_PATCH_ATTACKS=1``; docs/guarantees.md says how long, and has their
counts. A short form of the most important ones is in `test_mosaic_run.py`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from astropy.io import fits

from nanstack.truth.simulation import random_star_field, render_stars, similarity
from tests.support.pointings import SHAPE, data_of, write_pointings
from tests.support.small_zemosaic import tree, zemosaic

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals and limits of this kind are POSIX's"),
    pytest.mark.skipif(not os.environ.get("ZEMOSAIC_PATCH_ATTACKS"), reason="takes long: ZEMOSAIC_PATCH_ATTACKS=1"),
]
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails, as on a full disk
resource.setrlimit(getattr(resource, sys.argv[1]), (int(sys.argv[2]),) * 2)
sys.argv[1:] = sys.argv[3:]
from zemosaic_patch import cli
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
    write_pointings(folder / "frames")
    began = time.monotonic()
    done = command("mosaic", folder / "frames", "-o", folder / "out")
    assert done.returncode == 0, done.stderr
    return folder, time.monotonic() - began


def command(*arguments, limit=None, **more):
    begin = ["-m", "zemosaic_patch"] if limit is None else ["-c", LIMITED, *map(str, limit)]
    words = [sys.executable, *begin, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=600, **more)


def explained(done, *words):
    """Tell whether a command ended with an exit code and a message, not a traceback."""
    assert done.returncode in (1, 2), (done.returncode, done.stderr)
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    return all(word in done.stderr for word in words)


def whole_files_alone(folder):
    """Assert that everything in a folder that has a final name is whole."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or ".work" in path.parts or path.is_dir():
            continue
        if path.suffix == ".fits":
            with fits.open(path, checksum=True, output_verify="exception") as hdus:
                assert all(hdu.data is not None for hdu in hdus)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_killed_at_random_moments_a_run_resumes_to_the_same_bytes(original, tmp_path, name):
    folder, seconds = original
    chance = random.Random(name)
    wanted = data_of(folder / "out")
    for number in range(10):
        out = tmp_path / str(number)
        words = [sys.executable, "-m", "zemosaic_patch", "mosaic", str(folder / "frames"), "-o", str(out), "--resume"]
        code, err = killed_in(words, chance.uniform(0.3, seconds), getattr(signal, name))
        if name != "SIGKILL" and code != -signal.SIGINT and out.exists():
            assert not (out / ".work").exists(), (code, err)
        whole_files_alone(out)
        done = command("mosaic", folder / "frames", "-o", out, "--resume")
        assert done.returncode == 0, done.stderr
        assert data_of(out) == wanted
        assert hidden(out) == []


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_killed_at_random_moments_a_tile_is_made_again(original, tmp_path, name):
    folder, _ = original
    chance = random.Random(name)
    words = [sys.executable, "-m", "zemosaic_patch", "tile", str(folder / "frames"), "--overwrite", "-o"]
    began = time.monotonic()
    assert subprocess.run([*words, tmp_path / "whole"], stdout=subprocess.DEVNULL).returncode == 0
    seconds = time.monotonic() - began
    wanted = fits.getdata(tmp_path / "whole" / "tile.fits").tobytes()
    out = tmp_path / "out"
    for _ in range(10):
        killed_in(words + [str(out)], chance.uniform(0.3, seconds), getattr(signal, name))
        whole_files_alone(out)
        if name != "SIGKILL":
            assert hidden(out) == []
    assert subprocess.run([*words, out], stdout=subprocess.DEVNULL).returncode == 0
    assert fits.getdata(out / "tile.fits").tobytes() == wanted
    assert hidden(out) == []


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("done", ["apply", "revert"])
def test_killed_at_random_moments_a_patch_is_finished_or_taken_back(tmp_path, name, done):
    root = zemosaic(tmp_path / "z")
    before = tree(root)
    commands = {"apply": ["apply", "--accept-unknown", str(root)], "revert": ["revert", str(root)]}
    began = time.monotonic()
    assert command(*commands["apply"]).returncode == 0
    seconds = time.monotonic() - began
    after = tree(root)
    chance = random.Random(name + done)
    for _ in range(10):
        other = {"apply": "revert", "revert": "apply"}[done]
        assert command(*commands[other]).returncode == 0
        killed_in(
            [sys.executable, "-m", "zemosaic_patch", *commands[done]], chance.uniform(0, seconds), getattr(signal, name)
        )
        seen = command("check", root)
        assert seen.returncode in (0, 1, 2)
        assert "Traceback" not in seen.stderr
        finish = chance.choice(list(commands))
        assert command(*commands[finish]).returncode == 0
        assert tree(root) == {"apply": after, "revert": before}[finish]


def killed_in(words, seconds, number):
    """Run a command and send it a signal after some seconds; its family must end with it."""
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    family = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert psutil.wait_procs(family, timeout=30)[1] == []
    return child.returncode, err


def hidden(folder):
    """Return the names of what is there of temporary files."""
    return [path.name for path in folder.rglob(".*")]


def test_a_disk_that_fills_at_any_write_leaves_whole_files_and_a_message(original, tmp_path):
    folder, _ = original
    sizes = sorted(path.stat().st_size for path in (folder / "out").rglob("*") if path.is_file())
    for number, limit in enumerate(size - 1 for size in sizes):
        out = tmp_path / str(number)
        done = command("mosaic", folder / "frames", "-o", out, limit=("RLIMIT_FSIZE", limit))
        assert done.returncode == 0 or explained(done), (limit, done.stderr)  # a report may be smaller by a digit
        whole_files_alone(out)
        assert not (out / ".work").exists()
        assert (done.returncode == 0) == ((out / "report.html").exists())
        tile = command("tile", folder / "frames", "-o", tmp_path / f"tile{number}", limit=("RLIMIT_FSIZE", limit))
        assert tile.returncode == 0 or explained(tile)
        whole_files_alone(tmp_path / f"tile{number}")
    done = command("mosaic", folder / "frames", "-o", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert data_of(out) == data_of(folder / "out")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can make a small disk, on Linux")
@pytest.mark.parametrize("what", ["tile", "mosaic"])
def test_a_disk_too_small_is_told(original, tmp_path, what):
    folder, _ = original
    disk = tmp_path / "disk"
    disk.mkdir()
    need = sum(path.stat().st_size for path in (folder / "out").rglob("*") if path.is_file())
    codes = []
    for share in (*np.linspace(0.02, 1.2, 12), 3.0):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(share * need)}", "tmpfs", disk], check=True)
        try:
            done = command(what, folder / "frames", "-o", disk / "out")
            assert done.returncode == 0 or explained(done, "disk") or explained(done, "No space left"), done.stderr
            whole_files_alone(disk / "out")
            assert hidden(disk / "out") == []
            codes.append(done.returncode)
        finally:
            subprocess.run(["umount", disk], check=True)
    assert codes[0] == 1
    assert codes[-1] == 0


@pytest.mark.skipif(shutil.which("faketime") is None, reason="the program faketime is not installed")
@pytest.mark.parametrize("jump", ["-10y", "+40y"])
def test_a_clock_that_jumps_changes_nothing(original, tmp_path, jump):
    folder, _ = original
    shutil.copytree(folder / "out", tmp_path / "out")
    first, kept, *_ = sorted((tmp_path / "out" / "cells").glob("cell_*"))
    first.unlink()
    before = kept.stat()
    words = ["mosaic", folder / "frames", "-o", tmp_path / "out", "--resume"]
    begin = ["faketime", "--exclude-monotonic", "-f", jump, sys.executable, "-m", "zemosaic_patch"]
    done = subprocess.run([*begin, *map(str, words)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert data_of(tmp_path / "out") == data_of(folder / "out")
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is kept by Linux alone")
def test_memory_that_ends_is_one_line_or_no_matter(tmp_path):
    frames = tmp_path / "frames"
    write_group(frames)
    need = max(peak_of("tile", frames, "-o", tmp_path / f"free{run}") for run in range(4))  # it varies by 2 %
    codes = []
    for share in (1.0, *np.linspace(0.98, 0.8, 10), 0.6, 0.45, 0.3):
        out = tmp_path / f"tile{share}"
        done = command("tile", frames, "-o", out, limit=("RLIMIT_AS", int(share * need)))
        assert done.returncode == 0 or explained(done, "memory") or explained(done, "ulimit -v"), (share, done.stderr)
        whole_files_alone(out)
        codes.append(done.returncode)
    assert codes[0] == 0
    assert codes[-3:] == [1, 1, 1]


def write_group(folder):
    """Write 24 frames of 1080 x 1920: what they need is more than what the libraries do."""
    rng = np.random.default_rng(5)
    scene = render_stars(random_star_field((1080, 1920), 300, rng), (1080, 1920), similarity((1080, 1920), 0, 0))
    folder.mkdir()
    for number in range(24):
        frame = np.roll(scene, rng.integers(-20, 20, 2), axis=(0, 1)) + rng.normal(500, 5, scene.shape)
        np.save(folder / f"{number}.npy", frame.astype(np.float32))


def peak_of(*arguments):
    """Return the address space that a command comes to have."""
    child = subprocess.Popen([sys.executable, "-m", "zemosaic_patch", *map(str, arguments)], stdout=subprocess.DEVNULL)
    peak = 0
    while child.poll() is None:
        try:
            peak = max(peak, psutil.Process(child.pid).memory_info().vms)
        except psutil.Error:
            break
        time.sleep(0.005)
    assert child.wait() == 0
    return peak


def test_a_scratch_folder_that_someone_removes_costs_a_line(original, tmp_path):
    folder, _ = original
    out = tmp_path / "out"
    words = [sys.executable, "-m", "zemosaic_patch", "mosaic", str(folder / "frames"), "-o", str(out)]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while child.poll() is None and not (out / ".work").exists():
        time.sleep(0.01)
    assert (out / ".work").exists(), "the run had one"
    shutil.rmtree(out / ".work", ignore_errors=True)
    _, err = child.communicate(timeout=120)
    assert child.returncode in (0, 1)
    assert "Traceback" not in err
    whole_files_alone(out)


def test_thousands_of_frames_in_one_group(tmp_path):
    """3,000 frames: memory and descriptors flat, and the answer that of the plain stack."""
    from nanstack.stack.definition import Rejection
    from nanstack.stack.stacker import stack_frames

    rng = np.random.default_rng(1)
    frames = tmp_path / "frames"
    frames.mkdir()
    base = rng.normal(500, 20, (*SHAPE, 3)).astype(np.float32)
    for index in range(3000):
        np.save(frames / f"{index:04d}.npy", base + rng.normal(0, 5, base.shape).astype(np.float32))
    paths = sorted(frames.iterdir())
    process = psutil.Process()
    before, most = process.memory_info().rss, 0
    opened = process.num_fds()

    def watch(done, total):
        nonlocal most
        most = max(most, process.memory_info().rss)
        assert process.num_fds() < opened + 600

    bounded = stack_frames(paths, Rejection("winsor"), memory=2**28, progress=watch)
    assert most - before < 2**29
    assert process.num_fds() == opened
    rows = np.stack([np.load(path, mmap_mode="r")[40:44].copy() for path in paths])
    plain = stack_frames(rows, Rejection("winsor"))
    assert np.array_equal(bounded.image[40:44], plain.image)


def test_two_hundred_tiles(tmp_path):
    """200 existing tiles: memory stays that of a few, the sky comes out even."""
    from astropy.wcs import WCS

    from nanstack import MosaicTile, make_mosaic

    rng = np.random.default_rng(2)
    levels = rng.normal(500, 50, 200)

    def tile(number):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.crval = 50 + 0.16 * (number % 20), 10 + 0.12 * (number // 20)
        wcs.wcs.crpix = 100.5, 75.5
        wcs.wcs.cdelt = -0.001, 0.001

        def read():
            noise = np.random.default_rng(number).normal(0, 2, (150, 200, 3))
            return (levels[number] + noise).astype(np.float32), None

        return MosaicTile(str(number), (150, 200, 3), wcs, read)

    opened = psutil.Process().num_fds()
    mosaic = make_mosaic([tile(number) for number in range(200)])
    assert psutil.Process().num_fds() == opened
    smooth = mosaic.image[: mosaic.image.shape[0] // 25 * 25, : mosaic.image.shape[1] // 25 * 25, 1]
    blocks = np.nanmedian(smooth.reshape(smooth.shape[0] // 25, 25, -1, 25), axis=(1, 3))
    assert np.nanmax(np.abs(blocks - np.nanmedian(blocks))) < 2
