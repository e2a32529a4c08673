# SPDX-License-Identifier: GPL-3.0-or-later
"""Stacks of files and of more than the memory: the same bytes as in memory, nothing left behind."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nanstack.io.files import exclusive
from nanstack.io.frames import FrameError, read_frame
from nanstack.levels.sky import SkyMatch
from nanstack.memory import Scratch
from nanstack.register.alignment import align_frames
from nanstack.stack import rows
from nanstack.stack.definition import METHODS, Rejection
from nanstack.stack.rows import ArrayRows, FileRows, OpenFiles, open_rows
from nanstack.stack.stacker import stack_frames
from nanstack.truth.simulation import simulate_group

pytestmark = pytest.mark.numpy_bytes

SHAPE = (41, 30, 3)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    frames = [rng.normal(1000, 10, SHAPE).astype(np.float32) for _ in range(9)]
    for index, frame in enumerate(frames):
        frame[: 2 * index] = np.nan
        frame[30, 10] = 9000 if index == 4 else frame[30, 10]
    return frames


@pytest.fixture
def own_temp(tmp_path, monkeypatch):
    """A temporary folder of the test's own, to see what is left in it."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def saved(folder, frames, kind):
    """Write frames as files of a kind; return what is to be stacked."""
    paths = []
    for index, frame in enumerate(frames):
        path = folder / f"{index}.{'npy' if 'npy' in kind or kind == 'map' else 'fits'}"
        if kind in ("npy", "map"):
            np.save(path, frame)
        elif kind == "npy big-endian double":
            np.save(path, frame.astype(">f8"))
        elif kind == "npy planes first":
            np.save(path, np.moveaxis(frame, -1, 0).copy())
        elif kind == "npy column order":
            np.save(path, np.asfortranarray(frame))
        elif kind == "fits":
            fits.writeto(path, np.moveaxis(frame, -1, 0))
        elif kind == "fits planes last":
            fits.writeto(path, frame)
        elif kind == "fits extension":
            fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.moveaxis(frame, -1, 0))]).writeto(path)
        elif kind == "fits double":
            fits.writeto(path, np.moveaxis(frame, -1, 0).astype(np.float64))
        paths.append(np.load(path, mmap_mode="r") if kind == "map" else path)
    return paths


KINDS = [
    "npy", "map", "npy big-endian double", "npy planes first", "npy column order", "fits", "fits planes last",
    "fits extension", "fits double",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_files_give_the_bytes_that_arrays_give(frames, tmp_path, kind, own_temp):
    sources = saved(tmp_path, frames, kind)
    truth = stack_frames(frames, Rejection())
    for memory in (1, 20_000, 10**9):
        result = stack_frames(sources, Rejection(), memory=memory)
        assert result.image.tobytes() == truth.image.tobytes()
        assert result.coverage.tobytes() == truth.coverage.tobytes()
        assert (result.rejected, result.samples) == (truth.rejected, truth.samples)
    assert list(own_temp.iterdir()) == []


@pytest.mark.parametrize("method", METHODS)
def test_array_of_frames_and_list_of_frames_give_the_same_bytes(frames, method):
    rejection = Rejection(method)
    listed, whole = stack_frames(frames, rejection), stack_frames(np.stack(frames), rejection)
    assert listed.image.tobytes() == whole.image.tobytes()
    assert listed.rejected == whole.rejected


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param({"dtype": "uint16"}, id="unsigned 16-bit"),
        pytest.param({"dtype": "int16", "bscale": 0.5, "bzero": 100.0}, id="scaled"),
    ],
)
def test_integers_with_scaling_and_blanks(tmp_path, stored):
    rng = np.random.default_rng(1)
    paths = []
    for index in range(4):
        counts = rng.integers(0, 30000, (20, 25))
        if stored["dtype"] == "uint16":
            hdu = fits.PrimaryHDU((counts + 30000).astype(np.uint16))
        else:
            hdu = fits.PrimaryHDU((0.5 * counts + 100).astype(np.float32))
            hdu.scale("int16", bscale=stored["bscale"], bzero=stored["bzero"])
            hdu.header["BLANK"] = int(hdu.data[3, 4])
        paths.append(tmp_path / f"{index}.fits")
        hdu.writeto(paths[-1])
    truth = [read_frame(path).data for path in paths]
    assert np.isnan(truth[0]).any() == ("bscale" in stored)
    expected = stack_frames(truth, Rejection("none"))
    assert np.allclose(
        stack_frames(paths, Rejection("none"), memory=5000).image, expected.image, rtol=1e-6, equal_nan=True
    )


def test_compressed_and_bayer_files_go_through_scratch(tmp_path, own_temp, as_windows):
    rng = np.random.default_rng(2)
    paths = []
    for index in range(3):
        counts = rng.integers(1000, 1200, (20, 24)).astype(np.uint16)
        path = tmp_path / f"{index}.fits{'.fz' if index else ''}"
        hdu = fits.CompImageHDU(counts) if index else fits.PrimaryHDU(counts)
        hdu.header["BAYERPAT"] = "GRBG"
        (fits.HDUList([fits.PrimaryHDU(), hdu]) if index else hdu).writeto(path)
        paths.append(path)
    expected = stack_frames([read_frame(path).data for path in paths], Rejection())
    assert stack_frames(paths, Rejection()).image.tobytes() == expected.image.tobytes()
    assert list(own_temp.iterdir()) == []


def test_what_is_read_from_files_and_what_from_memory(frames, tmp_path):
    with Scratch() as scratch:
        files = OpenFiles()
        path = saved(tmp_path, frames[:1], "npy")[0]
        whole = np.load(path, mmap_mode="r")
        assert isinstance(open_rows(whole, files, scratch), FileRows)
        assert isinstance(open_rows(whole[5:], files, scratch), FileRows), "rows of a map are the file's"
        assert isinstance(open_rows(whole[:, 5:], files, scratch), ArrayRows), "parts of rows are not"
        assert isinstance(open_rows(np.load(path, mmap_mode="c"), files, scratch), ArrayRows), "may have been changed"
        out = np.empty((3, *SHAPE[1:]), np.float32)
        stored = [scratch.store(part) for part in (whole + 1, whole[:7] + 2, whole + 3)]
        for part in (whole, whole[5:], *stored):
            open_rows(part, files, scratch).read(2, 5, out)
            assert np.array_equal(out, part[2:5], equal_nan=True)
        assert np.array_equal(stored[2], whole + 3, equal_nan=True)
        del stored, part
        files.close()


def test_more_files_than_may_be_open(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_OPEN_FILES", 4)
    opened = []
    plain_open = open

    def counting_open(*arguments, **options):
        opened.append(plain_open(*arguments, **options))
        assert sum(not file.closed for file in opened) <= 4
        return opened[-1]

    monkeypatch.setattr(rows, "open", counting_open, raising=False)
    sources = saved(tmp_path, frames, "npy")
    result = stack_frames(sources, Rejection(), memory=20_000)
    assert result.image.tobytes() == stack_frames(frames, Rejection()).image.tobytes()
    assert opened
    assert all(file.closed for file in opened)


def test_each_file_is_opened_once_where_all_may_be_open(frames, tmp_path, monkeypatch):
    opened = []
    plain_open = open
    monkeypatch.setattr(
        rows,
        "open",
        lambda path, *a, **o: opened.append(path) or plain_open(path, *a, **o),
        raising=False,
    )
    sources = saved(tmp_path, frames, "npy")
    stack_frames(sources, Rejection(), memory=10_000)
    assert sorted(opened) == sorted(sources)


@pytest.mark.parametrize("kind", ["npy", "fits"])
def test_truncated_and_missing_files_are_named(frames, tmp_path, kind, own_temp):
    sources = saved(tmp_path, frames, kind)
    whole = sources[3].read_bytes()
    sources[3].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FrameError, match=rf"3\.{kind}: "):
        stack_frames(sources, Rejection())
    sources[3].unlink()
    with pytest.raises(FrameError, match=rf"3\.{kind}: "):
        stack_frames(sources, Rejection())
    assert list(own_temp.iterdir()) == []


def test_file_that_shrinks_while_it_is_read_is_named(frames, tmp_path):
    sources = saved(tmp_path, frames, "npy")

    def cut(done, total):
        if done < total:
            sources[5].write_bytes(sources[5].read_bytes()[:2000])

    with pytest.raises(FrameError, match=r"5\.npy: it ends too early"):
        stack_frames(sources, Rejection(), memory=2 * 9 * 90 * 4 * 4, progress=cut)


def test_frames_of_other_shapes_are_named(frames):
    with pytest.raises(ValueError, match="frame 1 has the shape"):
        stack_frames([frames[0], frames[0][:-1]], Rejection())
    with pytest.raises(ValueError, match="no frames"):
        stack_frames([], Rejection())
    with pytest.raises(ValueError, match=r"must be \(H, W\)"):
        stack_frames([np.zeros(5)], Rejection())


def test_levels_are_applied_as_rows_are_read(frames):
    tilted = SkyMatch(np.array([1.0, 2.0, 0.5]), np.array([3.0, -7.0, 0.0]), 0.25, np.array([0.5, 0, -2]), (10.0, 20.0))
    levels = [tilted] * 8 + [SkyMatch(offset=10.0)]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1], :1][:2]
    plane = tilted.offset + 0.25 * (x - 10) + tilted.slope_y * (y - 20)
    levelled = [(frame * tilted.gain + plane).astype(np.float32) for frame in frames[:8]] + [frames[8] + np.float32(10)]
    expected = stack_frames(levelled, Rejection())
    result = stack_frames(frames, Rejection(), levels=levels)
    assert np.allclose(result.image, expected.image, rtol=1e-6, atol=1e-3, equal_nan=True)
    for memory in (1, 9000, 50_000):
        in_blocks = stack_frames(frames, Rejection(), levels=levels, memory=memory)
        assert in_blocks.image.tobytes() == result.image.tobytes()
    with pytest.raises(ValueError, match="3 levels do not fit 9 frames"):
        stack_frames(frames, Rejection(), levels=levels[:3])


def test_scratch_is_removed_however_a_job_ends(own_temp):
    for error in (None, ValueError, KeyboardInterrupt):
        try:
            with Scratch() as scratch:
                stored = scratch.store(np.arange(6.0))
                assert np.array_equal(stored, np.arange(6.0))
                assert isinstance(stored, np.memmap)
                assert len(list(own_temp.iterdir())) == 1
                del stored
                if error is not None:
                    raise error
        except (ValueError, KeyboardInterrupt):
            pass
        assert list(own_temp.iterdir()) == []


def test_scratch_of_killed_jobs_is_removed_and_that_of_others_kept(own_temp):
    for name in ("nanstack-scratch-killed", "nanstack-scratch-at-work", "of-another-program"):
        (own_temp / name).mkdir()
        (own_temp / name / "000000.raw").write_bytes(b"samples")
    with exclusive(own_temp / "nanstack-scratch-at-work"), Scratch() as scratch:
        scratch.store(np.ones(3))
        names = {path.name for path in own_temp.iterdir()}
        assert len(names) == 3
        assert {"nanstack-scratch-at-work", "of-another-program"} < names
    assert (own_temp / "nanstack-scratch-at-work" / "000000.raw").read_bytes() == b"samples"


def test_aligned_frames_beyond_the_budget_go_to_scratch_and_give_the_same_tile(monkeypatch, own_temp):
    group = [frame.data for frame in simulate_group(4, (150, 240), seed=3, max_shift=15.0, n_stars=200)[0]]
    kept = [image for _, image in align_frames(group, 0)]
    monkeypatch.setattr("nanstack.memory.memory_budget", lambda: 1000)
    with Scratch() as scratch:
        keep = scratch.keeper(len(group))
        spilled = [image for _, image in align_frames(group, 0, finish=lambda image, _: keep(image))]
        assert all(isinstance(image, np.memmap) for image in spilled)
        for one, other in zip(kept, spilled, strict=True):
            assert np.array_equal(one, other, equal_nan=True)
        assert stack_frames(spilled, Rejection()).image.tobytes() == stack_frames(kept, Rejection()).image.tobytes()
        del spilled, other
    assert list(own_temp.iterdir()) == []


def test_frames_are_read_when_they_are_needed_and_failures_stay_theirs(tmp_path):
    group = [frame.data for frame in simulate_group(4, (150, 240), seed=3, max_shift=15.0, n_stars=200)[0]]

    def broken():
        raise FrameError(Path("gone.fits"), "there is no such file")

    results = list(align_frames([group[0], lambda: group[1], broken, group[3]], 0, threads=2))
    assert [alignment.method for alignment, _ in results] == ["reference", "stars", "failed", "stars"]
    assert results[2][0].reason == "there is no such file"


def test_where_nothing_can_be_locked_jobs_work_and_touch_nothing_of_others(own_temp, monkeypatch):
    """As on some network drives, where the system's call fails."""
    fcntl = pytest.importorskip("fcntl", reason="Windows locks by other means")

    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (own_temp / "nanstack-scratch-of-another").mkdir()
    with Scratch() as scratch:
        assert np.array_equal(scratch.store(np.ones(3)), np.ones(3))
    assert [path.name for path in own_temp.iterdir()] == ["nanstack-scratch-of-another"]
