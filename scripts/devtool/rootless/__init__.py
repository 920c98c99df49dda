"""`make local`: the own services of a stack as an ordinary user's processes, under Supervisor.

No root, no engine. Everything it makes is under .local/ of the checkout. Supervisor's own Python
imports this package too, so it has to be as light as it is.
"""
