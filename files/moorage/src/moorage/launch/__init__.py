"""The launcher of processes without containers: becomes the program, in surroundings of its own."""
