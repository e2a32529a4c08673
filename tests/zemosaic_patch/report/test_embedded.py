# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures inside the page: those that we wrote are read by rows, all others by OpenCV, and both look alike."""

import base64
import struct
import tracemalloc

import cv2
import numpy as np
import pytest

from zemosaic_patch.pictures import write_picture
from zemosaic_patch.report.embedded import JPEG_QUALITY, embed

LONGEST = 90


def seen(folder, name, longest=LONGEST):
    picture = embed(folder, name, longest)
    assert not picture.reason
    jpeg = np.frombuffer(base64.b64decode(picture.uri.split(",")[1]), np.uint8)
    return cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED).astype(int), (picture.height, picture.width)


def of_the_whole(path, size):
    """The whole picture, as OpenCV reads and reduces it, and JPEG keeps it."""
    whole = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    whole = whole if whole.dtype == np.uint8 else np.uint8(whole >> 8)
    reduced = cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", reduced, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED).astype(int)


@pytest.fixture
def shades():
    """Of sides that the embedded picture's do not divide."""
    y, x = np.mgrid[:341, :257] / 300
    return np.stack([x, y, 0.5 + 0.4 * np.sin(5 * x + 3 * y)], axis=2)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_made_of_strips_is_that_of_the_whole(tmp_path, shades, name, bits, channels):
    write_picture(shades[..., :channels], tmp_path / name, bits)
    found, size = seen(tmp_path, name)
    assert size == (341, 257)
    assert found.shape[:2] == (LONGEST, 68)
    assert np.abs(found - of_the_whole(tmp_path / name, found.shape[:2])).max() <= 2


def test_a_large_picture_is_never_whole_in_memory(tmp_path):
    write_picture(np.zeros((3000, 2000, 3), np.uint8), tmp_path / "large.png", 16)  # 36 MB
    embed(tmp_path, "large.png", LONGEST)  # imports
    tracemalloc.start()
    try:
        embed(tmp_path, "large.png", LONGEST)
        assert tracemalloc.get_traced_memory()[1] < 12e6
    finally:
        tracemalloc.stop()


def test_pictures_of_other_programs_are_shown_too(tmp_path, shades):
    pixels = np.uint8(255 * shades / shades.max())
    for name in ("filtered.png", "packed.tif"):
        cv2.imwrite(str(tmp_path / name), pixels)
        found, size = seen(tmp_path, name)
        assert size == (341, 257)
        assert np.abs(found - of_the_whole(tmp_path / name, found.shape[:2])).max() <= 2


def test_a_damaged_picture_costs_neither_the_report_nor_memory(tmp_path, shades):
    write_picture(shades, tmp_path / "cut.png", 8)
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "vast.png").write_bytes(whole[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + whole[24:])
    write_picture(shades, tmp_path / "vast.tif", 8)
    vast = bytearray((tmp_path / "vast.tif").read_bytes())
    vast[18:22] = vast[30:34] = struct.pack("<I", 2**32 - 1)
    (tmp_path / "vast.tif").write_bytes(vast)
    tracemalloc.start()
    try:
        for name in ("cut.png", "vast.png", "vast.tif"):
            assert embed(tmp_path, name, LONGEST).name == name
        assert tracemalloc.get_traced_memory()[1] < 12e6
    finally:
        tracemalloc.stop()
