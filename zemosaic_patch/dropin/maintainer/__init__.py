# SPDX-License-Identifier: GPL-3.0-or-later
"""What `zemosaic-patch export` puts into ZeMosaic's own source: functions as they will stand there, and their tests."""
