# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's utilities: what is made of reproject's coadd."""

import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from reproject import reproject_interp
from reproject.mosaicking import reproject_and_coadd

from zemosaic_utils import reproject_and_coadd_wrapper

pytestmark = pytest.mark.numpy_bytes

SHAPE = (40, 60)


def solution(shift=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 56.75, 24.25
    wcs.wcs.crpix = 30.5 - shift, 20.5
    wcs.wcs.cdelt = -1e-3, 1e-3
    return wcs


@pytest.fixture
def tiles():
    rng = np.random.default_rng(1)
    data = [rng.normal(100, 5, SHAPE).astype(np.float32) for _ in range(2)]
    data[0][10:20, 5:30] = np.nan
    return data, [solution(), solution(25.3)]


def test_coadd_is_reprojects_and_nan_stays_nan(tiles):
    data, solutions = tiles
    mosaic, footprint = reproject_and_coadd_wrapper(
        data, solutions, (40, 90), output_projection=solution(), rows_per_chunk=7, stack_reject_algo="none"
    )
    truth, weight = reproject_and_coadd(
        list(zip(data, solutions, strict=True)),
        output_projection=solution(),
        shape_out=(40, 90),
        reproject_function=reproject_interp,
    )
    assert_allclose(footprint, weight, rtol=1e-6)
    assert_allclose(mosaic[weight > 0], truth[weight > 0], rtol=1e-6)
    assert_array_equal(np.isnan(mosaic), weight == 0)
    assert np.isnan(mosaic[12:18, 8:24]).all()
    assert mosaic.dtype == footprint.dtype == np.float32


def test_weights_of_tiles_and_of_pixels_multiply(tiles):
    data, _ = tiles
    ones, twos = np.ones(SHAPE, np.float32), np.full(SHAPE, 2.0, np.float32)
    same = [solution(), solution()]
    flat = [10 * ones, 40 * ones]
    mosaic, footprint = reproject_and_coadd_wrapper(
        flat, same, SHAPE, output_projection=solution(), input_weights=[twos, ones], tile_weight_maps=[None, twos],
        tile_weights=[3.0, float("nan")],
    )  # fmt: skip
    assert_allclose(mosaic[5:-5, 5:-5], (6 * 10 + 2 * 40) / 8, rtol=1e-5)
    assert_allclose(footprint[5:-5, 5:-5], 8, rtol=1e-5)


def test_a_gpu_is_not_pretended(tiles):
    data, solutions = tiles
    told = []
    arguments = {"use_gpu": True, "output_projection": solution()}
    with pytest.raises(RuntimeError, match="CPU is not allowed"):
        reproject_and_coadd_wrapper(data, solutions, SHAPE, allow_cpu_fallback=False, **arguments)
    reproject_and_coadd_wrapper(data, solutions, SHAPE, progress_callback=lambda *what: told.append(what), **arguments)
    assert told == [("mosaics are not made on the GPU: the CPU does it", None, "INFO_DETAIL")]
    with pytest.raises(ValueError, match="must go together, not 2 and 1 long"):
        reproject_and_coadd_wrapper(data, solutions[:1], SHAPE)
