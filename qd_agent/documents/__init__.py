"""Door to the documents: `open_source` gives a source, `Router` turns documents into frames."""
