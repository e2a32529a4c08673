# SPDX-License-Identifier: GPL-3.0-or-later
"""`look`: what frames are, before a mosaic is made of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from zemosaic_patch import process
from zemosaic_patch.arguments import Command
from zemosaic_patch.commands.output import check_address_space, check_frames
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.others import LookOptions

if TYPE_CHECKING:
    from nanstack.session import Session


def run(options: LookOptions) -> None:
    """Say what frames are."""
    check_address_space()
    check_frames(options.frames)
    if options.rough is not None and options.keep is None:
        raise UsageError("--rough needs --keep DIR: what is found out of frames is asked for several times")
    from nanstack.io.one_line import on_one_line
    from zemosaic_patch.given import Wishes, find_frames
    from zemosaic_patch.look_run import LookedAt, lines, look
    from zemosaic_patch.progress import Bars, shown
    from zemosaic_patch.rough import Rough

    found = find_frames(options.frames, None, options.flat)
    wishes = Wishes.of(found.paths, options.leave_out, options.take_in)
    number = {path: number for number, path in enumerate(found.paths)}
    process.loaded()
    if options.json:
        _tell(files=list(map(str, found.paths)), passed=found.lines())
    seen: list[LookedAt] = []

    def hear(one: LookedAt) -> None:
        seen.append(one)
        if options.json:
            _tell(**asdict(one))

    def show(session: Session) -> None:
        made_of: list[int] = []
        try:
            if session.frames:
                rough = Rough.of(session)
                rough.write(options.rough)
                made_of = [number[one.path] for one in session.frames if one.survey.digest in rough.frames]
        except (ValueError, OSError) as error:  # a frame that is gone, or frames that lie too far apart
            bars.warn(f"no rough picture: {error}")
        if options.json:
            _tell(rough=len(session.frames), made_of=made_of)

    early = options.rough is not None and not options.rough.exists()  # a better one is not replaced by worse ones
    with Bars() if options.json else shown() as bars:
        left_out = look(found.paths, options.keep, bars, hear, options.rough and show, wishes, early=early)
    if options.json:
        _tell(left_out=left_out.reasons, can_be_taken_in=left_out.can_be_taken_in)
        return
    print("\n".join(map(on_one_line, [*found.lines(), *lines(found.paths, seen, left_out)])))


def _tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


COMMANDS = (
    Command(
        "look",
        "Say what frames are, and make nothing of them: nights, targets, and what a mosaic would leave out and why.",
        (LookOptions(),),
        run,
    ),
)
