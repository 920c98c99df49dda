"""The command line: what it does and how it prints."""
