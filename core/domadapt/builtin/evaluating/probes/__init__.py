"""Generation probes: a few prompts answered at every stage, and mechanical checks of the answers."""
