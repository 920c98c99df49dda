"""Somebody else's Compose project as a stack: brought here, looked at, and said what becomes of it.

Runs on the controller (scripts/adopt). Upstream's files stay as they came, in upstream/ of the
stack's directory; compose.yml beside it includes them and says what Moorage adds.
"""
