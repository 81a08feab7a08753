"""Door to the stores: `open_sink` gives a place where predictions are kept."""
