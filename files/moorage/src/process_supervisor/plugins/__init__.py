"""Code of others, each in a process of its own: health checks, listeners, channels of alerts."""
