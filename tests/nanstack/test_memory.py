# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process takes of the machine."""

import os
import sys

import numpy as np
import pytest

from nanstack import memory
from nanstack.stack import gpu
from nanstack.stack.definition import Rejection
from tests.support.cuda_stand_in import StandIn, put_in_cupys_place


def test_the_gpus_memory_is_left_to_others_in_part(monkeypatch):
    frames = np.random.default_rng(0).normal(1000, 10, (40, 64, 20, 3)).astype(np.float32)
    device = StandIn(memory=40 * frames.nbytes)
    put_in_cupys_place(monkeypatch, device)
    result = gpu.stack_frames(frames, Rejection("none"), xp=device)
    assert np.allclose(result.image, frames.mean(axis=0), atol=1e-3)
    assert device.peak <= gpu.SHARE_OF_FREE * device.memory
    assert device.freed == 0, "no attempt failed"


@pytest.mark.parametrize(("free", "budget"), [(2**31, 2**29), (2**40, 2**30), (float("inf"), 2**28), (0, 0)])
def test_a_budget_is_a_quarter_of_what_is_free_and_at_most_a_gibibyte(monkeypatch, free, budget):
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    assert memory.memory_budget() == budget


def test_without_psutil_the_budget_is_a_modest_one_and_arrays_are_kept_within_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory.memory_budget() == 2**28
    with memory.Scratch() as scratch:
        array = np.arange(6.0)
        assert isinstance(scratch.keeper(2**28 // array.nbytes + 1)(array), np.memmap)
        assert scratch.keeper(2**28 // array.nbytes)(array) is array


def test_there_is_one_thread_at_least(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert memory.threads() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert memory.threads() == 1
