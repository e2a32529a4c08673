# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack of raw frames needs is loaded before it begins, and nothing is compiled for that."""

import os
import subprocess
import sys

import pytest

from nanstack.sky_stack import stack_files
from tests.nanstack.survey.simulated import Scene, raw_file

pytest.importorskip("numba", reason="Numba is missing")

USE = """
import sys
from nanstack.settings import CanvasSettings
from nanstack.stack.ready import make_ready
make_ready(CanvasSettings()).result()
from nanstack.register._raw_warp_kernel import _fill_from_mosaic
from nanstack.stack.noise_kernels import _stack_noise
from nanstack.stack.numba_kernels import _find_centers
def known():
    return [f.signatures for f in (_fill_from_mosaic, _stack_noise, _find_centers)]
ready = known()
print([len(kinds) for kinds in ready])
if sys.argv[1:]:
    from nanstack.sky_stack import stack_files
    stack_files(sys.argv[1:])
    print(known() == ready)
"""


def output(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", USE, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


def test_all_that_a_stack_of_raw_frames_needs_is_loaded(tmp_path):
    paths = [str(raw_file(tmp_path / f"{seed}.fit", Scene((160, 200), stars=20), seed=seed)) for seed in range(3)]
    stack_files(paths)  # after which all is compiled
    assert output(*paths)[:2] == ["[1, 1, 1]", "True"]


def test_nothing_is_compiled_ahead(tmp_path):
    assert output(NUMBA_CACHE_DIR=str(tmp_path))[0] == "[0, 0, 0]"
