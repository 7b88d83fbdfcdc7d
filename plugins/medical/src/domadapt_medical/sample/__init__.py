"""Fictional medical articles in JATS: studies are simulated, then written up, then read like anybody's files."""
