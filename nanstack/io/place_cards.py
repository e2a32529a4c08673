# SPDX-License-Identifier: GPL-3.0-or-later
"""The place of an image on the sky as cards: as programs for photographs read it, not only those for astronomy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

NEEDLESS = ("WCSAXES", "MJDREF", "MJDREFI", "MJDREFF", "DATEREF")  # an image with colours has a third axis
J2000 = 2000.0


def cd_cards(wcs: WCS) -> Header:
    """Return a solution as cards, its linear part as a CD matrix: Siril, ASTAP and PixInsight want no PC and CDELT."""
    from astropy.io.fits import Header

    cards = Header()
    for card in wcs.to_header(relax=True).cards:
        if card.keyword.startswith(("PC1_", "PC2_", "CDELT")) or card.keyword in NEEDLESS:
            continue
        cards.append(card)
    matrix = wcs.pixel_scale_matrix
    at = cards.index("CRPIX2") + 1
    for index, (row, column) in enumerate(np.ndindex(2, 2)):
        name, value = f"CD{row + 1}_{column + 1}", float(matrix[row, column])
        cards.insert(at + index, (name, value, "[deg] coordinate matrix"))
    cards["EQUINOX"] = (J2000, "[yr] of the axes, which are those of ICRS")
    return cards


def row_order(wcs: WCS) -> str:
    """Return the value of ROWORDER with which programs show the sky as it is seen, not mirrored.

    Siril and others put the first row of a file at the bottom of the screen, as the FITS standard asks for, unless it
    is 'TOP-DOWN'. East is then to the left of north where the CD matrix has a negative determinant.
    """
    return "TOP-DOWN" if np.linalg.det(wcs.pixel_scale_matrix) > 0 else "BOTTOM-UP"
