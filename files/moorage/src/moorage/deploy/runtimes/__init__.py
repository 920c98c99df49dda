"""What makes, starts, stops, looks at and removes instances: all that knows an engine by name."""
