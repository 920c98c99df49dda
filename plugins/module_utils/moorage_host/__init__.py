"""What Moorage's modules know about a Debian host: standard library only, Python 3.9 and newer.

Hosts run 3.11 or newer; 3.9 is kept in reach so that the survey of an older host ends in its
report rather than in a syntax error.
"""
