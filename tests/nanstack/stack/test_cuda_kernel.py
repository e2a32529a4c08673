# SPDX-License-Identifier: GPL-3.0-or-later
"""The CUDA kernels: compiled by NVIDIA's compilers, and executed against the definitions.

Executed as C++ on the host ("stand-in"), and on a device where there is one ("cupy").
"""

import ctypes
import importlib.util
import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.stack import gpu
from nanstack.stack.definition import COMBINES, METHODS, Rejection, stack_block
from tests.support.cuda_stand_in import StandIn, compiler, cupy_or_skip, put_in_cupys_place

ROUNDING = 2.4e-7  # of a column's scale: an ulp or two of float32
SMALLEST = np.finfo(np.float32).tiny  # CuPy's compiler takes what is smaller for zero


NORMAL_FLOATS = st.floats(width=32, allow_subnormal=False)


def columns(n, pixels, seed):
    """Return columns with outliers, holes, ties, and values of every size."""
    rng = np.random.default_rng([seed, n])
    samples = rng.normal(1000, 10, (n, pixels))
    samples[rng.random(samples.shape) < 0.03] *= 30
    tied, huge, tiny = (slice(pixels * k // 8, pixels * (k + 1) // 8) for k in (5, 6, 7))
    samples[:, tied] = rng.integers(0, 6, samples[:, tied].shape)
    samples[:, huge] = rng.choice([-1e38, 1e38, 5.0], samples[:, huge].shape)
    samples[:, tiny] = rng.integers(0, 5, samples[:, tiny].shape) * SMALLEST
    samples = samples.astype(np.float32)
    samples[rng.random(samples.shape) < 0.2] = np.nan
    samples[rng.random(samples.shape) < 0.02] = rng.choice([np.inf, -np.inf])
    samples[:, :4] = np.nan
    return samples


@pytest.fixture(scope="module", params=["stand-in", "cupy"])
def device(request):
    """An array module that executes the kernels."""
    if request.param == "cupy":
        return cupy_or_skip()
    if compiler() is None:
        pytest.skip("no C++ compiler to build the CUDA source with")
    return StandIn(kernels=True)


def assert_kernel_is_the_definition(device, samples, rejection, combine="mean", weights=None):
    frames, pixels = samples.shape
    assert gpu.kernel_launch(device, rejection, frames), "it is the kernel that is tested"
    on_device = None if weights is None else device.asarray(weights)
    found = [device.asnumpy(x) for x in gpu.stack_block(device, device.asarray(samples), rejection, combine, on_device)]
    spread = None if weights is None else np.tile(weights, pixels // weights.shape[1])
    truth = stack_block(samples, rejection, combine, spread)
    image, coverage, rejected = found
    assert [part.dtype for part in found] == [np.float32, np.int32, np.int32]
    assert np.array_equal(coverage, truth.coverage)
    assert np.array_equal(rejected, truth.rejected)
    assert np.array_equal(np.isnan(image), np.isnan(truth.image))
    scale = np.where(np.isfinite(samples), np.abs(samples), 0).max(axis=0, initial=0).astype(np.float64)
    some = truth.coverage > 0
    error = np.abs(image.astype(np.float64) - truth.image)
    assert np.all(error[some] <= (ROUNDING * scale + SMALLEST)[some])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13, 30, 64, 130])
def test_kernels_are_the_definitions(device, n):
    pixels = 240
    samples = columns(n, pixels, 1)
    rng = np.random.default_rng(n)
    kinds_of_weights = (
        None,
        rng.uniform(0, 2, (n, 1)),
        rng.uniform(0, 2, (n, 3)),
        rng.integers(0, 3, (n, pixels)).astype(np.float64),
    )
    for method, combine, weights in itertools.product(METHODS, COMBINES, kinds_of_weights):
        for rewinsor in (True, False) if method == "winsor" else (True,):
            rejection = Rejection(method, 2.0, 2.5, 0.1, 0.07, rewinsor)
            assert_kernel_is_the_definition(device, samples, rejection, combine, weights)


@pytest.mark.parametrize("kappas", [(0.0, 3.0), (np.inf, 2.0), (np.inf, np.inf), (0.5, 0.0)])
@pytest.mark.parametrize("method", METHODS)
def test_extreme_kappas(device, method, kappas):
    assert_kernel_is_the_definition(device, columns(9, 160, 2), Rejection(method, *kappas))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.lists(st.one_of(NORMAL_FLOATS, st.integers(-4, 4).map(float)), min_size=5, max_size=5),
        min_size=1,
        max_size=12,
    ),
    method=st.sampled_from(METHODS),
    combine=st.sampled_from(COMBINES),
    kappas=st.tuples(st.floats(0, 4), st.floats(0, 4)),
    fractions=st.tuples(st.floats(0, 0.49), st.floats(0, 0.49)),
    rewinsor=st.booleans(),
)
def test_any_numbers(device, rows, method, combine, kappas, fractions, rewinsor):
    samples = np.array(rows, dtype=np.float32)
    assert_kernel_is_the_definition(device, samples, Rejection(method, *kappas, *fractions, rewinsor), combine)


def test_columns_too_long_for_shared_memory_go_by_the_definitions(device):
    assert gpu.kernel_launch(device, Rejection(), 384).threads == 32
    assert gpu.kernel_launch(device, Rejection(), 385) is None
    assert gpu.kernel_launch(device, Rejection("linear_fit"), 257) is None
    samples = columns(400, 40, 3)
    found = gpu.stack_block(np, samples, Rejection(), "mean")
    assert np.array_equal(found.image, stack_block(samples, Rejection()).image, equal_nan=True)


def test_source_that_does_not_compile_is_said_once_and_replaced(monkeypatch, caplog):
    device = StandIn(kernels=True)
    put_in_cupys_place(monkeypatch, device)
    monkeypatch.setattr(gpu, "kernel_source", lambda: "this is no C++;")
    samples = columns(7, 40, 4)
    for _ in range(2):
        block = gpu.stack_block(device, device.asarray(samples), Rejection(), "mean")
    assert np.array_equal(device.asnumpy(block.image), stack_block(samples, Rejection()).image, equal_nan=True)
    (record,) = caplog.records
    assert "stack_sigma_clip cannot be compiled" in record.getMessage()


# --- NVIDIA's compilers ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_nvcc_compiles_the_source(tmp_path):
    (tmp_path / "kernels.cu").write_text(gpu.kernel_source())
    command = ["nvcc", *gpu.KERNEL_OPTIONS, "-arch=sm_75", "-cubin", "-o", "kernels.cubin", "kernels.cu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    code = (tmp_path / "kernels.cubin").read_bytes()
    assert all(name.encode() in code for name in gpu.KERNELS.values())


def nvrtc():
    """Return NVIDIA's run-time compiler, which CuPy uses, as its wheel installs it; or None."""
    for package in ("nvidia.cuda_nvrtc", "nvidia.cu13"):
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for folder in found.submodule_search_locations if found else ():
            for pattern in ("lib/libnvrtc.so.*", "bin/**/nvrtc64*_0.dll"):
                for path in sorted(Path(folder).glob(pattern)):
                    if "alt" not in path.name:
                        return ctypes.CDLL(str(path))
    return None


@pytest.mark.skipif(nvrtc() is None, reason="no NVRTC: pip install nvidia-cuda-nvrtc-cu12")
def test_nvrtc_compiles_the_source_without_fused_operations():
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    source = gpu.kernel_source().encode()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None) == 0
    options = [option.encode() for option in (*gpu.KERNEL_OPTIONS, "--gpu-architecture=compute_75")]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    messages = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, messages)
    assert (status, messages.value.decode().strip()) == (0, "")
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, text)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert all(f".entry {name}(".encode() in text.value for name in gpu.KERNELS.values())
    assert b"fma.rn" not in text.value, "fused operations round unlike the definition"
