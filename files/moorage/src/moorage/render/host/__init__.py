"""The topology host: every service a process group of its own, without a container."""
