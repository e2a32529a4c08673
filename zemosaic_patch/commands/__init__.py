# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: what each is asked, and what it does with it. What takes time to import is imported when it is run."""
