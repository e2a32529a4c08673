# SPDX-License-Identifier: GPL-3.0-or-later
"""The window: a page in the browser, served to this machine alone. Nothing but the command `ui` imports it."""
