"""What applications of ours share; each imports what its own packages suffice for."""
