"""Running Mandate: settings, keys, the local stack, topic creation, the command line."""
