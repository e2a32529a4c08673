# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that nobody gave: those of the engine's settings."""

from __future__ import annotations

from nanstack.settings import JoinSettings
from zemosaic_patch.options.mosaic import CometOptions, JoinOptions, OutputOptions
from zemosaic_patch.options.runs import MosaicRun, TileRun
from zemosaic_patch.options.stack import CanvasOptions, StackOptions


def tile_defaults() -> tuple[CanvasOptions, StackOptions]:
    """Return the options of `tile` that nobody gave."""
    usual = TileRun()
    return CanvasOptions.of(usual.canvas), StackOptions.of(usual.stack)


def mosaic_defaults() -> tuple[CanvasOptions, StackOptions, OutputOptions, CometOptions, JoinOptions]:
    """Return the options of `mosaic` that nobody gave."""
    usual = MosaicRun()
    own = CanvasOptions.of(usual.canvas), StackOptions.of(usual.stack), OutputOptions.of(usual.output)
    return *own, CometOptions.of(usual.comet), JoinOptions.of(JoinSettings())
