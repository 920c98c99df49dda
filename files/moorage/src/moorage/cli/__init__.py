"""The command `moorage`: what people, playbooks and timers ask on a host."""
