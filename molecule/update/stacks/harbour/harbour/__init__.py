"""An application for trying updates: visitors' pages, a worker that must be alone, migrations."""
