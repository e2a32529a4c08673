# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of frames by position: of files of all kinds, the same whatever is asked for; spikes mended."""

import gzip
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from nanstack.io.frames import FrameError
from nanstack.memory import Scratch
from nanstack.register.mesh import Box
from nanstack.stack import rows
from nanstack.stack.rows import OpenFiles
from nanstack.stack.sources import open_source

SHAPE = (45, 61)
BOXES = [Box.whole(SHAPE), Box(3, 20, 7, 30), Box(31, 45, 40, 61), Box(20, 21, 30, 31), Box(0, 9, 0, 5)]


def frame_of(path, shape=SHAPE, pattern="RGGB", spikes=(), mended=()):
    shape = (*shape, 3) if pattern else shape
    survey = SimpleNamespace(spikes=np.array(spikes, np.int32).reshape(-1, 2), mended=np.array(mended, np.float32))
    return SimpleNamespace(path=path, shape=shape, facts=SimpleNamespace(pattern=pattern), survey=survey)


@contextmanager
def opened(frame):
    with closing(OpenFiles()) as files, Scratch() as scratch:
        yield open_source(frame, files, scratch)


def part_of(source, box):
    """Return the samples of a window that were asked for."""
    window = source.window(box)
    return window.samples[box.within(window.box)]


def photosites(seed=0):
    return np.random.default_rng(seed).integers(300, 60000, SHAPE).astype(np.uint16)


def written(folder, kind, numbers):
    path = folder / f"frame.{'npy' if kind.startswith('npy') else 'fits'}"
    if kind == "npy in column order":
        np.save(path, np.asfortranarray(numbers))
    elif kind == "npy":
        np.save(path, numbers)
    elif kind == "tiles":
        path = path.with_suffix(".fits.fz")
        fits.CompImageHDU(numbers, compression_type="RICE_1").writeto(path)
    elif kind == "one plane":
        fits.PrimaryHDU(numbers[np.newaxis]).writeto(path)
    elif kind == "float":
        fits.PrimaryHDU(numbers.astype(np.float32)).writeto(path)
    elif kind == "signed":
        fits.PrimaryHDU((numbers // 2).astype(np.int16)).writeto(path)
    else:
        fits.PrimaryHDU(numbers).writeto(path)
    if kind == "gzip":
        path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(".fits.gz")
    return path


KINDS = ["16 bits", "signed", "float", "one plane", "gzip", "tiles", "npy", "npy in column order"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["GBRG", ""])
def test_windows_are_parts_of_the_frame_whatever_the_file(tmp_path, kind, pattern):
    numbers = photosites()
    path = written(tmp_path, kind, numbers)
    expected = (numbers // 2 if kind == "signed" else numbers).astype(np.float32)
    with opened(frame_of(path, pattern=pattern)) as source:
        for box in BOXES:
            np.testing.assert_array_equal(part_of(source, box), expected[box.top : box.bottom, box.left : box.right])


@pytest.mark.parametrize("planes_first", [True, False])
def test_windows_of_colour_frames(tmp_path, planes_first):
    colour = np.random.default_rng(1).normal(500, 9, (*SHAPE, 3)).astype(np.float32)
    path = tmp_path / "frame.npy"
    np.save(path, np.moveaxis(colour, -1, 0) if planes_first else colour)
    with opened(replace_shape(frame_of(path, pattern=""))) as source:
        for box in BOXES:
            np.testing.assert_array_equal(part_of(source, box), colour[box.top : box.bottom, box.left : box.right])


def replace_shape(frame):
    return SimpleNamespace(**{**vars(frame), "shape": (*SHAPE, 3)})


def test_packed_frames_take_two_bytes_a_photosite_and_may_be_opened_while_others_are_read(tmp_path):
    paths = []
    for index in range(3):
        folder = tmp_path / str(index)
        folder.mkdir()
        paths.append(written(folder, "gzip", photosites(index)))
    with closing(OpenFiles()) as files, Scratch() as scratch:
        for index, path in enumerate(paths):
            source = open_source(frame_of(path), files, scratch)
            assert source.rows.dtype == np.uint16
            np.testing.assert_array_equal(part_of(source, Box.whole(SHAPE)), photosites(index))


def test_what_is_no_data_is_not_finite(tmp_path):
    numbers = photosites().astype(np.int32)
    numbers[12, 13] = -1
    header = fits.Header({"BLANK": -1})
    fits.PrimaryHDU(numbers, header).writeto(tmp_path / "blank.fits")
    bordered = np.random.default_rng(4).normal(1000, 30, SHAPE).astype(np.float32)
    bordered[:, :9] = 0
    fits.PrimaryHDU(bordered).writeto(tmp_path / "border.fits")
    with opened(frame_of(tmp_path / "blank.fits")) as source:
        assert np.argwhere(np.isnan(part_of(source, Box.whole(SHAPE)))).tolist() == [[12, 13]]
    for pattern in ("RGGB", ""):
        with opened(frame_of(tmp_path / "border.fits", pattern=pattern)) as source:
            part = part_of(source, Box(4, 30, 0, 30))
            assert np.isnan(part[:, :9]).all()
            np.testing.assert_array_equal(part[:, 9:], bordered[4:30, 9:30])


@pytest.mark.parametrize("pattern", ["RGGB", ""])
def test_spikes_are_mended_in_whatever_window(tmp_path, pattern):
    numbers = photosites(3)
    spikes = [(0, 0), (9, 4), (20, 29), (20, 31), (44, 60)]
    mended = [1000.0, 2000.5, 3000.0, np.nan, 5000.0]
    expected = numbers.astype(np.float32)
    expected[tuple(np.transpose(spikes))] = mended
    path = written(tmp_path, "16 bits", numbers)
    with opened(frame_of(path, pattern=pattern, spikes=spikes, mended=mended)) as source:
        for box in BOXES:
            np.testing.assert_array_equal(part_of(source, box), expected[box.top : box.bottom, box.left : box.right])


def test_a_window_has_no_data_in_place_of_spikes_if_asked(tmp_path):
    numbers = photosites(3)
    spikes = [(0, 0), (9, 4), (20, 29), (20, 31), (44, 60)]
    expected = numbers.astype(np.float32)
    expected[tuple(np.transpose(spikes))] = np.nan
    path = written(tmp_path, "16 bits", numbers)
    with opened(frame_of(path, spikes=spikes, mended=[1.0, 2.0, 3.0, 4.0, 5.0])) as source:
        whole = source.window(Box.whole(SHAPE))
        for box in BOXES:
            for window in (source.window(box), whole.cut(box)):
                assert window.box == box
                np.testing.assert_array_equal(window.without_spikes(), expected[box.within(whole.box)])
                assert np.isfinite(window.samples).all()


@pytest.mark.parametrize("by_position", [True, False])
def test_threads_read_more_files_than_may_be_open(tmp_path, monkeypatch, by_position):
    monkeypatch.setattr(rows, "MAX_OPEN_FILES", 2)
    if not by_position:
        monkeypatch.delattr(os, "preadv", raising=False)
    with closing(OpenFiles()) as files, Scratch() as scratch:
        sources = []
        for index in range(6):
            folder = tmp_path / str(index)
            folder.mkdir()
            sources.append(open_source(frame_of(written(folder, "16 bits", photosites(index))), files, scratch))
        with ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(lambda turn: part_of(sources[turn % 6], Box(3, 40, 2, 50)), range(120)))
    for turn, part in enumerate(parts):
        np.testing.assert_array_equal(part, photosites(turn % 6)[3:40, 2:50])


def test_a_file_that_changes_is_named(tmp_path):
    path = written(tmp_path, "16 bits", photosites())
    with opened(frame_of(path)) as source:
        os.utime(path, (1, 1))
        with pytest.raises(FrameError, match=r"frame\.fits: it changed while it was read"):
            source.window(Box(0, 9, 0, 9))
