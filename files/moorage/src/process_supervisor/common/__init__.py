"""What every part stands on: the event loop, what the kernel says, files, text."""
