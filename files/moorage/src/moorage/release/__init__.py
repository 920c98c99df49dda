"""The contract of controller and host: what a release is called, where it lies and what it says.

Standard library only: the controller writes with it, hosts read with it.
"""
