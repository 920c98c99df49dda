"""The watcher of a stack whose services are processes of the host: checks, stops, events."""
