"""What an operator can set: one table of names, defaults, readers and meanings.

`table` says what a setting is, `readers` reads single values. The tables are `stack` (of a stack),
`edge` (of its visitors, and of a host's edge), `host` (of all hosts) and `run` (options of a run);
those of roles stand in the roles' own files (`moorage.controller.roles`). Standard library only:
a host reads by the same tables what it was given.
"""
