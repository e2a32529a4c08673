# SPDX-License-Identifier: GPL-3.0-or-later
"""What the solution of the sky could tell, and what it could not, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nanstack.levels.sky_told import SkyTold

MOST_NAMED = 5


def in_a_line(sky: SkyTold) -> str:
    """Return how well frames agree on the sky, and what they leave open, in green."""
    residual, tilt, bowl = (_figure(of[len(of) // 2]) for of in (sky.residual_adu, sky.tilt_adu, sky.bowl_adu))
    if not sky.shades:
        return f"frames agree to {residual} ADU; each was brought to one level by a constant"
    left = f"a gradient of up to {tilt} ADU across the picture, {bowl} to its corners, may be left"
    return f"frames agree to {residual} ADU; {left}: nobody can tell it from the sky"


def sentences(sky: SkyTold, covered: Mapping[str, float]) -> list[str]:
    """Return what could be told and what could not, a sentence each.

    Parameters
    ----------
    sky : SkyTold
    covered : mapping of str to float
        Names of frames that are covered in part: how much of them.
    """
    said = [_tilt(sky), *(_bowl(sky) if sky.shades else [])]
    return said + ([f"{covered_frames(covered)}: that part is left out of the sky."] if covered else [])


def covered_frames(covered: Mapping[str, float]) -> str:
    """Return which frames are covered in part, and by how much."""
    least, most = (f"{100 * of(covered.values()):.0f} %" for of in (min, max))
    share = least if least == most else f"{least} to {most}"
    them = "it" if len(covered) == 1 else "them"
    return f"{_named(sorted(covered))}: {share} of {them} is far too dark for the sky, as behind a tree"


def _named(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{len(names)} frames ({', '.join(names[:MOST_NAMED])}{', ...' if len(names) > MOST_NAMED else ''})"


def _adu(values: Sequence[float]) -> str:
    """Return figures of the colours, or of the only one."""
    return " / ".join(map(_figure, values)) + (" ADU (R / G / B)" if len(values) == 3 else " ADU")


def _figure(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _tilt(sky: SkyTold) -> str:
    """Say how well a tilt of the whole sky is known."""
    if not sky.shades:
        return "Only a constant was added to each frame: what tilts its sky is in the picture."
    size = _adu(sky.tilt_adu)
    if sky.turned > 0.5:
        return (
            "Some frames are turned by half circles against others, which tells a glow of theirs from the sky's own "
            f"light: one end of the picture may be too bright against the other by {size}."
        )
    if sky.spread > 0.5:
        return (
            "A tilt that all frames have in common cannot be told from one of the sky. It is chosen so that the "
            "darkest sky is level, where the frames' middles lie far apart, and is as the frames show it elsewhere. "
            f"So one end of the picture may be too bright against the other by up to {size}."
        )
    return (
        "A tilt that all frames have in common cannot be told from one of the sky, and is left as the frames show it. "
        f"So one end of the picture may be too bright against the other by up to {size}."
    )


def _bowl(sky: SkyTold) -> list[str]:
    """Say how well a bowl over the whole picture is known."""
    return [
        "A bowl, dim or bright in all corners, looks alike whether the sensor or the sky has it: the picture's corners "
        f"may be off by {_adu(sky.bowl_adu)} against its middle (standard error)."
    ]
