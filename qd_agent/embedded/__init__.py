"""Real servers that the agent starts on loopback when it is given no URL."""
