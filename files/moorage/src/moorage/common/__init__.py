"""The one way down to files, locks and sockets; it imports nothing else of moorage."""
