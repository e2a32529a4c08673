# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress that keeps what it is told."""


class Told:
    """Keeps steps and warnings, in their order."""

    def __init__(self):
        self.steps, self.warnings = [], []

    def step(self, *told):
        self.steps.append(told)

    def warn(self, text):
        self.warnings.append(text)
