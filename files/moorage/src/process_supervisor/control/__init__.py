"""The control socket: protocol, client, server and what each operation does."""
