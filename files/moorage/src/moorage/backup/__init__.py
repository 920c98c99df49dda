"""Backups of stacks by restic: making, listing, restoring and proving them."""
