"""What runs as PID 1 and outlives the supervisor, and how the two know of each other."""
