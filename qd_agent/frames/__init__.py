"""Door to the pixels: `open_reader` gives a reader that turns references into frames."""
