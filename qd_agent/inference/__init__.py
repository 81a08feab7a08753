"""Door to the sizes: `open_sizer` loads an artifact and answers patterns."""
