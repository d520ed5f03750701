"""Stand-ins of OpenBSD's commands, and a machine made of them.

What they print, refuse and exit with is taken from OpenBSD's manual pages and sources. A word that
the real command knows and its stand-in does not ends with 64, so that no test passes by it.
"""
