"""The supervisor's version: apart, so that who asks for it imports nothing else."""

__version__ = "0.1.0"
