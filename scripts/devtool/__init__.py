"""The developer's commands behind the Makefile: bootstrap, throwaway hosts, lint, tests."""
