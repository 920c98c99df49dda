"""The topology containers: every service a container of its own, by Compose on the host."""
