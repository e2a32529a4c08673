# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process takes of the machine where several share it."""

import numpy as np
import pytest

from nanstack import memory
from nanstack.stack import gpu
from nanstack.stack.definition import Rejection
from tests.support.cuda_stand_in import StandIn, put_in_cupys_place


@pytest.mark.parametrize("processes", [1, 4])
def test_processes_share_the_gpus_memory(monkeypatch, processes):
    monkeypatch.setattr(memory, "_processes", processes)
    frames = np.random.default_rng(0).normal(1000, 10, (40, 64, 20, 3)).astype(np.float32)
    device = StandIn(memory=40 * frames.nbytes)
    put_in_cupys_place(monkeypatch, device)
    result = gpu.stack_frames(frames, Rejection("none"), xp=device)
    assert np.allclose(result.image, frames.mean(axis=0), atol=1e-3)
    assert device.peak <= gpu.SHARE_OF_FREE * device.memory / processes
    assert device.freed == 0, "no attempt failed"


def test_processes_share_threads_and_memory(monkeypatch):
    alone = memory.memory_budget(), memory.threads()
    monkeypatch.setattr(memory, "_processes", 2)
    assert memory.threads() == max(1, alone[1] // 2)
    assert memory.memory_budget() <= alone[0]
