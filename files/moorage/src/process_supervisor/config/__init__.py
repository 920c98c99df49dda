"""What is configured: the settings of the supervisor and of each process, read and checked."""
