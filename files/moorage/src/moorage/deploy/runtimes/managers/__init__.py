"""Process managers of a host, as the runtime of processes without containers asks them."""
