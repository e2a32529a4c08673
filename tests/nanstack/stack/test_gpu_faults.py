# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU can do wrong: whatever it is, the tile is the CPU's, nothing leaks, and the reason is said."""

import gc
import logging
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import zemosaic_align_stack as zas
import zemosaic_align_stack_gpu as zas_gpu
from nanstack.levels.sky import match_sky
from nanstack.settings import TileSettings
from nanstack.stack import gpu
from nanstack.stack.definition import METHODS, Rejection
from nanstack.stack.device import use_module
from nanstack.stack.stacker import stack_frames
from nanstack.tile import stack_group
from tests.support.cuda_stand_in import (
    OutOfMemoryError,
    StandIn,
    compiler,
    cupy_or_skip,
    device_lost,
    put_in_cupys_place,
)
from tests.support.told import Told
from zemosaic_patch import compat

PARAMS = {"stack_reject_algo": "winsorized_sigma_clip", "poststack_equalize_rgb": False}
SETTINGS = TileSettings(gpu="on", match="none")
PLAN = {"gpu_rows_per_chunk": 8}


def frames_of_sky(n=5, shape=(20, 6, 3)):
    rng = np.random.default_rng(n)
    frames = rng.normal(1000, 10, (n, *shape)).astype(np.float32)
    frames[rng.random(frames.shape) < 0.05] = 3000
    frames[:, :, 0] = np.nan
    frames[1, :5] = np.nan
    return list(frames)


@pytest.fixture
def device(monkeypatch):
    """A stand-in in CuPy's place."""
    stand_in = StandIn()
    put_in_cupys_place(monkeypatch, stand_in)
    assert zas_gpu._gpu_is_usable()
    return stand_in


@pytest.fixture(scope="module")
def frames():
    return frames_of_sky()


@pytest.fixture(scope="module")
def truth(frames):
    return stack_frames(frames, Rejection())


def stack_tile(frames, settings, listener=None, plan=None):
    """Stack as ZeMosaic's worker does."""
    stacked = compat.stack_where_it_can(frames, settings, plan, "winsorized_sigma_clip", listener)
    return stacked.image, {"device": stacked.device, **compat.metadata_of(stacked)}


class Listener:
    def __init__(self):
        self.calls = []

    def __call__(self, key, progress=None, level=None, **details):
        self.calls.append((key, level, details))

    def warnings(self):
        return [(key, details["reason"]) for key, level, details in self.calls if level == "WARN"]


def assert_nothing_is_left(device):
    gc.collect()
    assert device.live == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def assert_true(image, metadata, truth):
    assert np.allclose(image, truth.image, atol=1e-3, equal_nan=True)
    assert np.array_equal(metadata["coverage_map"], truth.coverage.min(axis=2))
    assert metadata["rejected_fraction"] == truth.rejected_fraction


def allocations_of_a_stack(device, frames, params=PARAMS):
    before = device.allocations
    zas_gpu.gpu_stack_from_arrays(frames, params, parallel_plan=PLAN)
    return device.allocations - before


@pytest.mark.parametrize(
    ("algorithm", "match", "step"), [("none", "none", 1), ("none", "plane", 3), ("winsorized_sigma_clip", "offset", 5)]
)
def test_out_of_memory_at_every_allocation_in_turn(device, frames, caplog, algorithm, match, step):
    """Without rejection at each one; those within a rejection are all alike, and are taken every fifth."""
    caplog.set_level(logging.INFO)
    params = {**PARAMS, "stack_reject_algo": algorithm, "match_sky": match}
    levels = [match_sky(frame, frames[0], match) for frame in frames]
    truth = stack_frames(frames, Rejection(zas.REJECTIONS[algorithm]), levels=levels)
    for number in range(1, allocations_of_a_stack(device, frames, params) + 1, step):
        caplog.clear()
        device.freed = 0
        device.fail(number, lambda: OutOfMemoryError("Out of memory allocating 512 bytes"))
        image, metadata = zas_gpu.gpu_stack_from_arrays(frames, params, parallel_plan=PLAN)
        assert_true(image, metadata, truth)
        assert [record.getMessage().endswith("with 4 rows at a time") for record in caplog.records] == [True]
        assert device.freed == 2, "after the attempt, and at the end"
        assert device.live == 0
    assert_nothing_is_left(device)


def test_lasting_lack_of_memory_goes_to_the_cpu_and_comes_back(device, frames, truth):
    for number in range(1, allocations_of_a_stack(device, frames), 50):
        device.fail(number, lambda: OutOfMemoryError("Out of memory allocating 512 bytes"), lasting=True)
        listener = Listener()
        image, metadata = stack_tile(frames, SETTINGS, listener, PLAN)
        assert_true(image, metadata, truth)
        assert metadata["device"] == "cpu"
        ((key, reason),) = listener.warnings()
        assert key == "stack_gpu_fallback_insufficient_memory"
        assert "out of GPU memory" in reason
        assert_nothing_is_left(device)
        device.broken = False
        assert zas_gpu._gpu_is_usable(), "the next tile tries again"
    _, metadata = stack_tile(frames, SETTINGS, None, PLAN)
    assert metadata["device"] == "gpu"


def test_what_is_told_of_the_memory(device, frames, monkeypatch):
    device.fail(1, lambda: OutOfMemoryError("Out of memory"), lasting=True)
    listener = Listener()
    stack_tile(frames, SETTINGS, listener, PLAN)
    details = next(details for key, _, details in listener.calls if key == "stack_gpu_fallback_insufficient_memory")
    assert details["helper"] == "winsorized_sigma_clip"
    assert isinstance(details["estimated_mb"], int)
    assert isinstance(details["allowed_mb"], int)


@pytest.mark.parametrize(("kernels", "share"), [(False, 2), (False, 20), (True, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_small_memory_is_not_exceeded(monkeypatch, method, kernels, share):
    """Blocks are as large as the free memory allows: the estimate of what a sample takes holds, so nothing fails."""
    if kernels and compiler() is None:
        pytest.skip("no C++ compiler to build the CUDA source with")
    frames = np.stack(frames_of_sky(40, (32, 20, 3)))
    device = StandIn(memory=share * frames.nbytes, kernels=kernels)
    put_in_cupys_place(monkeypatch, device)
    for weights in (None, np.random.default_rng(0).uniform(0, 1, frames.shape)):
        result = gpu.stack_frames(frames, Rejection(method), "mean", weights, xp=device)
        truth = stack_frames(frames, Rejection(method), "mean", weights)
        assert np.allclose(result.image, truth.image, atol=1e-3, equal_nan=True)
        assert device.peak <= gpu.SHARE_OF_FREE * device.memory
        assert device.freed == 0, "no attempt failed"


def test_device_lost_in_the_middle_of_it(device, frames, truth, monkeypatch):
    total = allocations_of_a_stack(device, frames)
    for number in [*range(1, 9), *range(9, total + 1, 25)]:
        device = StandIn()
        put_in_cupys_place(monkeypatch, device)
        assert zas_gpu._gpu_is_usable()
        device.fail(number, device_lost, lasting=True)
        listener = Listener()
        image, metadata = stack_tile(frames, SETTINGS, listener, PLAN)
        assert_true(image, metadata, truth)
        assert metadata["device"] == "cpu"
        ((key, reason),) = listener.warnings()
        assert key == "stack_gpu_fallback_runtime_error"
        assert "device lost" in reason
        assert_nothing_is_left(device)

    device.broken, allocations = False, device.allocations
    listener = Listener()
    image, metadata = stack_tile(frames, SETTINGS, listener, PLAN)
    assert_true(image, metadata, truth)
    assert device.allocations == allocations, "a device that was lost is not tried again"
    ((key, reason),) = listener.warnings()
    assert key == "stack_gpu_fallback_unavailable"
    assert "device lost" in reason


def test_wrong_numbers_and_wrong_shapes_are_found(device, frames, truth, monkeypatch):
    device.corrupt = True
    listener = Listener()
    image, metadata = stack_tile(frames, SETTINGS, listener, PLAN)
    assert_true(image, metadata, truth)
    assert "pixels have data and no number" in listener.warnings()[0][1]
    assert not zas_gpu._gpu_is_usable(), "a device that computes NaN from numbers is broken"

    use_module(device)
    device.corrupt = False
    stack_block = gpu.stack_block

    def too_short(*arguments):
        block = stack_block(*arguments)
        return block._replace(image=block.image[:-1])

    monkeypatch.setattr(gpu, "stack_block", too_short)
    with pytest.raises(zas_gpu.GPUStackingError, match="wrong shape"):
        zas_gpu.gpu_stack_from_arrays(frames, PARAMS)
    assert_nothing_is_left(device)


@pytest.mark.parametrize(("level", "reason"), [(np.nan, "no finite pixel"), (0.0, "zero throughout")])
def test_stack_without_signal_is_the_cpus_to_judge(device, level, reason):
    frames = [np.full((9, 8, 3), level, np.float32)] * 3
    with pytest.raises(zas_gpu.GPUStackingError, match=reason) as raised:
        zas_gpu.gpu_stack_from_arrays(frames, PARAMS)
    assert raised.value.transient
    image, metadata = stack_tile(frames, SETTINGS)
    assert np.array_equal(image, frames[0], equal_nan=True)
    assert metadata["device"] == "cpu"


def test_uploads_are_waited_for(device, frames, truth, monkeypatch):
    """Copies of the stand-in happen only when their stream is waited for: without that, blocks would be wrong."""
    synchronize = []
    stream = device.cuda.Stream

    def counting(non_blocking):
        assert non_blocking, "else copies would wait for the computation"
        made = stream(non_blocking)
        wait = made.synchronize
        made.synchronize = lambda: (synchronize.append(len(made.later)), wait())
        return made

    device.cuda.Stream = counting
    result = gpu.stack_frames(frames, Rejection(), xp=device, limits=gpu.BlockLimits(rows=3))
    assert np.allclose(result.image, truth.image, atol=1e-3, equal_nan=True)
    assert sum(synchronize) == 7, "a copy for each of the 7 blocks of 3 rows, each waited for"


# --- a true device ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cupys_pool():
    """The memory that CuPy takes of a device; its limit, which a test may set, is lifted afterwards."""
    pool = cupy_or_skip().get_default_memory_pool()
    gc.collect()
    pool.free_all_blocks()
    yield pool
    pool.set_limit(size=0)


@pytest.mark.parametrize("method", METHODS)
def test_cupy_out_of_memory_halves_the_blocks(cupys_pool, method):
    frames = frames_of_sky(20, (64, 200, 3))
    truth = stack_frames(frames, Rejection(method))
    before, size = cupys_pool.used_bytes(), 4 * len(frames) * frames[0].size
    for share in (1.5, 0.6, 0.2):
        cupys_pool.set_limit(size=before + int(share * size))
        result = gpu.stack_frames(frames, Rejection(method), xp=zas_gpu.cp)
        assert np.allclose(result.image, truth.image, atol=1e-3, equal_nan=True)
        assert np.array_equal(result.coverage, truth.coverage)
        assert result.rejected == truth.rejected
        del result
        gc.collect()
        assert cupys_pool.used_bytes() == before, "nothing is left on the device"


def test_cupy_without_memory_for_a_row_goes_to_the_cpu_and_comes_back(cupys_pool, frames, truth):
    cupys_pool.set_limit(size=cupys_pool.used_bytes() + 512)
    with pytest.raises(zas_gpu.GPUStackingError, match="out of GPU memory") as raised:
        zas_gpu.gpu_stack_from_arrays(frames, PARAMS)
    assert raised.value.transient
    cupys_pool.set_limit(size=0)
    assert_true(*zas_gpu.gpu_stack_from_arrays(frames, PARAMS), truth)


def test_cupy_whose_device_stopped_is_given_up():
    """A kernel that traps ends the context of its process, as a lost device does: so in a process of its own."""
    cupy_or_skip()
    lines = [
        "import os, cupy, numpy as np, zemosaic_align_stack_gpu as gpu",
        "frames = [np.full((4, 5, 3), level, np.float32) for level in (1, 2, 3)]",
        "image, _ = gpu.gpu_stack_from_arrays(frames, {'stack_reject_algo': 'none'})",
        "assert (image == 2).all()",
        """cupy.RawKernel('extern "C" __global__ void stop() { asm("trap;"); }', 'stop')((1,), (1,), ())""",
        "try:",
        "    gpu.gpu_stack_from_arrays(frames, {'stack_reject_algo': 'none'})",
        "except gpu.GPUStackingError as failure:",
        "    print('given up:', not failure.transient and not gpu._gpu_is_usable(), failure, flush=True)",
        "os._exit(0)  # CuPy cannot tidy up on a context that has ended",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120)
    assert "given up: True" in done.stdout, done.stderr


# --- no GPU at all ---------------------------------------------------------------------------------------------------


def test_without_a_gpu_on_warns_and_auto_does_not(frames, truth, monkeypatch):
    monkeypatch.setattr(zas_gpu, "cp", None)
    with pytest.raises(zas_gpu.GPUStackingError):
        zas_gpu.gpu_stack_from_arrays(frames, PARAMS)
    for wanted, warnings in (("on", 1), ("auto", 0), ("off", 0)):
        told = Told()
        stacked = stack_group(frames, TileSettings(gpu=wanted, match="none"), told)
        assert np.allclose(stacked.image, truth.image, atol=1e-3, equal_nan=True)
        assert stacked.device == "cpu"
        assert len(told.warnings) == warnings
        assert all("the GPU is not used" in text for text in told.warnings)
    listener = Listener()
    stack_tile(frames, SETTINGS, listener)
    assert [key for key, _ in listener.warnings()] == ["stack_gpu_fallback_unavailable"]


def test_fault_is_found_once_and_said_once(monkeypatch, caplog):
    device = StandIn()
    device.error, device.broken = device_lost, True
    monkeypatch.setattr(zas_gpu, "cp", device)
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("of the caller")
    assert [zas_gpu._gpu_is_usable(logger) for _ in range(3)] == [False] * 3
    (record,) = caplog.records
    assert record.name == "of the caller"
    assert "device lost" in record.getMessage()
    device.broken = False
    assert not zas_gpu._gpu_is_usable(), "the answer is kept"


def test_device_that_cannot_add_is_broken():
    device = StandIn()
    device.ones = lambda count, dtype: device.zeros(count, dtype=dtype)
    assert "broken" in gpu.find_fault(device)
    device.cuda.runtime.getDeviceCount = lambda: 0
    assert gpu.find_fault(device) == "there is no CUDA device"


BROKEN = {
    "missing": None,
    "of another NumPy": "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')",
    "without its libraries": "raise ImportError('libcudart.so.12: cannot open shared object file')",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_imports_and_stacks_without_a_working_cupy(kind, tmp_path):
    lines = ["import sys", "import numpy as np"]
    if BROKEN[kind] is None:
        lines.append("sys.modules['cupy'] = None")
    else:
        (tmp_path / "cupy").mkdir()
        (tmp_path / "cupy" / "__init__.py").write_text(BROKEN[kind])
        lines.append(f"sys.path.insert(0, {str(tmp_path)!r})")
    lines += [
        "import zemosaic_align_stack_gpu as gpu, zemosaic_utils",
        "from nanstack.settings import TileSettings",
        "from nanstack.stack.device import fault",
        "from nanstack.tile import stack_group",
        "assert 'cp' not in vars(gpu), 'CuPy is loaded when it is first asked for'",
        "assert gpu.cp is None and not gpu._gpu_is_usable() and not zemosaic_utils.gpu_is_available()",
        "frames = [np.full((4, 5, 3), level, np.float32) for level in (1, 2, 3)]",
        "stacked = stack_group(frames, TileSettings(gpu='on', match='none'))",
        "assert (stacked.image == 2).all() and stacked.device == 'cpu'",
        "print(fault())",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    reason = "not installed" if BROKEN[kind] is None else BROKEN[kind].split("'")[1]
    assert reason in done.stdout


# --- who asks for it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "plan", "asked"),
    [
        ({}, None, False),
        ({}, SimpleNamespace(use_gpu=True), True),
        ({}, {"use_gpu": False}, False),
        ({"use_gpu": True}, None, True),
        ({"use_gpu": "yes"}, {"use_gpu": False}, True),
        ({"stack_use_gpu": False, "use_gpu_stack": True, "use_gpu": True}, {"use_gpu": True}, False),
        ({"use_gpu_stack": True, "use_gpu": False}, None, True),
    ],
)
def test_first_setting_wins_then_the_plan(settings, plan, asked):
    assert compat.gpu_wanted(settings, plan) is asked
    assert compat.gpu_wanted(SimpleNamespace(**settings), plan) is asked
