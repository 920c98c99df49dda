"""One Compose file, four ways to run it: the model of a stack, its topologies and its rollouts."""

__version__ = "0.1.0"
