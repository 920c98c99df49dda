"""What differs between topologies when one release follows another."""
