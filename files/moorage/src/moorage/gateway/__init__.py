"""The gateway: the only process that holds the engine's socket, and all that it does with it."""
