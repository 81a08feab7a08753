"""Door to the patterns: `open_reducer` gives a reducer that integrates frames."""
