"""Alerts: what is worth telling somebody, when, and by which way."""
