# SPDX-License-Identifier: GPL-3.0-or-later
"""What grows how with the number of frames, from kept surveys to frames on one sky: time, memory, and the truth.

usage: python benchmarks/scale.py [--frames N ...] [--panels N] [--seed N]

Simulates the surveys of so many frames, without pixels, reads some of them from files, and then matches, registers and
solves for all, as `zemosaic-patch mosaic` does before it stacks. Each number of frames is measured in a process of its
own. By default a hundred frames show each panel; ``--panels 1`` is one deep field.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nanstack.canvas import union_canvas
from nanstack.levels.common_sky import common_sky
from nanstack.levels.flux import flux_gains, on_one_flux_scale
from nanstack.progress import Quiet
from nanstack.register import solution
from nanstack.register.registered import RegisteredFrame
from nanstack.register.solution import find_links, register
from nanstack.register.trails import trails_of
from nanstack.register.verdicts import judge
from nanstack.session import by_own_solutions
from nanstack.survey.record import Survey
from nanstack.survey.store import Store
from nanstack.truth.surveys import from_truth, simulated_surveys

FRAMES_A_PANEL = 100
READ = 1_000  # surveys, at most, that are written and read
STAGES = "read", "match", "solve", "judge", "flux", "canvas", "sky", "trails"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 1_000, 3_000], metavar="N")
    parser.add_argument("--panels", type=int, metavar="N", help="by default one for every hundred frames")
    parser.add_argument("--seed", type=int, default=20, metavar="N")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.one:
        (frames,) = options.frames
        print(json.dumps(measured(frames, options.panels, options.seed)))
        return 0
    print(
        f"| frames | panels | joined | {' | '.join(STAGES)} | all | peak MiB | place px | whole px | flux % | sky ADU |"
    )
    print(f"|{'---|' * (len(STAGES) + 9)}")
    for frames in options.frames:
        panels = options.panels or max(1, frames // FRAMES_A_PANEL)
        command = [sys.executable, __file__, "--one", f"--frames={frames}", f"--panels={panels}"]
        child = subprocess.run([*command, f"--seed={options.seed}"], stdout=subprocess.PIPE, text=True, check=True)
        print(row(frames, panels, json.loads(child.stdout)), flush=True)
    return 0


def row(frames: int, panels: int, told: dict) -> str:
    """Return a row of the table: of each stage wall and processor time in seconds."""
    seconds = [*told["seconds"].values(), np.sum(list(told["seconds"].values())[1:], axis=0)]
    times = " | ".join(f"{wall:.1f}, {cpu:.1f}" for wall, cpu in seconds)
    off = told["off"]
    truth = f"{off['place_px']:.3f} | {off['whole_px']:.3f} | {100 * off['flux']:.2f} | {off['sky_adu']:.2f}"
    return f"| {frames} | {panels} | {off['frames']} | {times} | {told['peak_mib']:.0f} | {truth} |"


class Clock:
    """Wall and processor seconds of stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = dict.fromkeys(STAGES, (0.0, 0.0))

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Measure a part of a stage."""
        began = time.perf_counter(), time.process_time()
        yield
        ended = time.perf_counter(), time.process_time()
        self.seconds[stage] = tuple(b + e - s for b, s, e in zip(self.seconds[stage], began, ended, strict=True))
        print(f"{stage}: {self.seconds[stage][1]:.1f} s, {peak_mib():.0f} MiB", file=sys.stderr, flush=True)


def peak_mib() -> float:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(count: int, panels: int, seed: int) -> dict:
    """Return what one number of frames takes, and how far what comes of it is from the truth."""
    simulated, clock = simulated_surveys(count, panels, seed=seed), Clock()
    surveys = sorted(simulated.surveys, key=lambda survey: survey.digest)
    read_back(surveys[:READ], clock)
    solution.find_links = matched(clock)
    with clock.of("solve"):
        registrations = register(surveys)
    clock.seconds["solve"] = tuple(np.subtract(clock.seconds["solve"], clock.seconds["match"]).tolist())
    with clock.of("judge"):
        reasons = judge(surveys, registrations).reasons
        kept = [k for k, one in enumerate(registrations) if one.group == 0 and k not in reasons]
        surveys, registrations = [surveys[k] for k in kept], [registrations[k] for k in kept]
        registrations, _ = by_own_solutions(surveys, registrations)
    frames = [RegisteredFrame(s, one.view, one.stars, one.rms) for s, one in zip(surveys, registrations, strict=True)]
    with clock.of("flux"):
        frames = on_one_flux_scale(frames, [one.group for one in registrations], Quiet())
    with clock.of("canvas"):
        canvas = union_canvas([frame.view for frame in frames])
    with clock.of("sky"):
        gains = flux_gains(frames, canvas)
        levels, _ = common_sky(frames, gains, canvas)
    with clock.of("trails"):
        trails_of(frames)
    peak = peak_mib()
    return {
        "seconds": clock.seconds,
        "peak_mib": peak,
        "off": asdict(from_truth(simulated, frames, canvas, gains, levels)),
    }


def matched(clock: Clock):
    """Return what finds links, measured."""

    def find(*arguments: object) -> object:
        with clock.of("match"):
            return find_links(*arguments)

    return find


def read_back(surveys: list[Survey], clock: Clock) -> None:
    """Write surveys, and read them."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        store = Store(Path(name))
        for survey in surveys:
            store.save(survey, survey.digest)
        with clock.of("read"):
            for survey in surveys:
                store.load(survey.path, survey.digest)


if __name__ == "__main__":
    sys.exit(main())
