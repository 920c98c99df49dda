"""One supervised process and its life: states, starts, checks, restarts, what is left of it."""
