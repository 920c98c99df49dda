"""What starts the four processes: never part of a release that the updater installs.

It decides which release runs, so nothing here may import `fastblog` before that is decided.
"""
