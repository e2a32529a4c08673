# SPDX-License-Identifier: GPL-3.0-or-later
"""Rejection and combination: the definition, the compiled kernels and the GPU, and what feeds them."""
