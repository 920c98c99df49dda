"""Where the output of processes goes: FIFOs, log files, their rotation, reading them."""
