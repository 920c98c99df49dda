"""What an operator can set: one table of names, defaults, readers and meanings.

`table` says what a setting is, `readers` reads single values. The tables are `stack` (of a stack),
`edge` (of its visitors) and `run` (options of a run).
"""
