# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's names of the rejections, which its users know: in its settings and on our command line."""

REJECTIONS = {  # and the engine's
    "winsorized_sigma_clip": "winsor",
    "kappa_sigma": "kappa_sigma",
    "linear_fit_clip": "linear_fit",
    "none": "none",
}
WINSOR_METHODS = {"legacy_quantile": "winsor", "pixinsight": "huber"}  # the two that it calls winsorized
