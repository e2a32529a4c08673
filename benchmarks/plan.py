# SPDX-License-Identifier: GPL-3.0-or-later
"""How much is measured: the full run, and the quick one that only shows that everything works."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """Sizes of everything; (count, shape) pairs are n and (H, W)."""

    rounds: int
    stacks: tuple[tuple[int, Shape], ...]
    copied_samples: int  # most that a peer gets which copies the stack
    slow_samples: int  # most that a slow peer gets
    files: tuple[int, Shape]
    group: tuple[int, Shape]
    astroalign_frames: int
    scaling_n: int
    scaling_counts: tuple[int, ...]
    scaling_samples: int
    scaling_shapes: tuple[Shape, ...]
    threads: tuple[int, ...]
    big: tuple[int, Shape]
    big_against: int  # frames of the small stack that the big one is compared with
    big_memory_mib: int
    big_rounds: int


FULL = Plan(
    rounds=5,
    stacks=((10, (1080, 1920)), (30, (1080, 1920)), (100, (540, 960)), (300, (540, 960))),
    copied_samples=64_000_000,
    slow_samples=12_000_000,
    files=(30, (1080, 1920)),
    group=(20, (1080, 1920)),
    astroalign_frames=3,
    scaling_n=30,
    scaling_counts=(10, 20, 30, 50, 100, 200, 300, 500, 1000),
    scaling_samples=32_000_000,
    scaling_shapes=((68, 120), (135, 240), (270, 480), (540, 960), (1080, 1920)),
    threads=(1, 2, 4, 8, 16),
    big=(1000, (540, 960)),
    big_against=100,
    big_memory_mib=512,
    big_rounds=3,
)

QUICK = Plan(
    rounds=3,
    stacks=((10, (270, 480)), (30, (270, 480)), (100, (135, 240)), (300, (135, 240))),
    copied_samples=8_000_000,
    slow_samples=2_000_000,
    files=(30, (270, 480)),
    group=(6, (540, 960)),
    astroalign_frames=2,
    scaling_n=30,
    scaling_counts=(10, 30, 100, 300, 1000),
    scaling_samples=4_000_000,
    scaling_shapes=((68, 120), (135, 240), (270, 480)),
    threads=(1, 2, 4, 8, 16),
    big=(100, (270, 480)),
    big_against=20,
    big_memory_mib=64,
    big_rounds=1,
)
