# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the patch out of a module by its own marks, where no original is kept: whatever else is in it stays."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from zemosaic_patch.dropin.sources import (
    ALPHA_BEGIN,
    ALPHA_END,
    BEGIN,
    END,
    ENGINE,
    KEPT,
    OURS,
    WORKER,
    AnchorError,
    Source,
    binds_tightly,
)

NEWLINE = rb"(?:\r\n|\r|\n)"
BLOCK = re.compile(NEWLINE + BEGIN.encode() + rb"[^\r\n]*" + NEWLINE + rb"(.*?)" + END.encode() + NEWLINE, re.DOTALL)
OUR_LINES = re.compile(  # of a block, of this version's or an earlier one's
    rf"if __package__:|else:|    from \.?{ENGINE}[\w.]* import \w+ as _zemosaic_patch|\w+ = _zemosaic_patch\..*"
)
SKY_LINE = re.compile(rb"zemosaic_align_stack\._zemosaic_patch\.match_sky\([^\r\n]*\)" + NEWLINE + rb"[ \t]*")
ALPHA = re.compile(rb"(%b)\w+(%b)" % (re.escape(ALPHA_BEGIN.encode()), re.escape(ALPHA_END.encode())))
Span = tuple[int, int]  # offsets of the first byte, and after the last one


def without_patch(source: Source, is_original: Callable[[bytes], bool]) -> bytes:
    """Return a module's bytes without the patch.

    Parameters
    ----------
    source : Source
    is_original : callable
        Tells whether bytes are known to be ZeMosaic's own. Earlier versions of the patch put one more line end into a
        file that ended with none; whether they did shows by this alone.

    Raises
    ------
    AnchorError
        Where not all that the patch put in can be told from the rest.
    """
    spans = [*_blocks(source), *(_worker_spans(source) if source.name == WORKER else ())]
    rest = _without(source.data, spans)
    if Source(source.name, rest).patched:
        raise AnchorError(f"{source.name}: what the patch put in was changed")
    shorter = rest.removesuffix(source.newline)
    return shorter if is_original(shorter) else rest


def _blocks(source: Source) -> Iterator[Span]:
    for block in BLOCK.finditer(source.data):
        lines = block.group(1).decode("utf-8", errors="replace").splitlines()
        if not all(OUR_LINES.fullmatch(line) for line in lines):
            raise AnchorError(f"{source.name}: the patch's own lines at its end were changed")
        yield block.span()


def _worker_spans(source: Source) -> Iterator[Span]:
    yield from (line.span() for line in SKY_LINE.finditer(source.data))
    yield from (around.span(part) for around in ALPHA.finditer(source.data) for part in (1, 2))
    for text in (OURS.encode(), KEPT.encode()):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.BoolOp) and source.data.startswith(text, source.start(node)):
                yield from _before(source, node, source.start(node) + len(text))


def _before(source: Source, node: ast.BoolOp, end: int) -> Iterator[Span]:
    """Yield what was put before an expression, with the parentheses that it got."""
    first, *rest = node.values
    if len(rest) > 1 or binds_tightly(rest[0]):
        yield source.start(first), end
    else:
        close = source.end(rest[0])
        yield source.start(first), end + 1
        yield close, close + 1


def _without(data: bytes, spans: list[Span]) -> bytes:
    parts, at = [], 0
    for begin, end in sorted(spans):
        parts.append(data[at:begin])
        at = end
    return b"".join([*parts, data[at:]])
