"""All processes together: order, state that survives, events, beginning and reload."""
