"""Everything that happens on a host after the files of a release have arrived there.

Standard library only: it runs under the host's own Python, started by an Ansible module in a
transient systemd unit, so that a rollout outlives the connection that asked for it.
"""
