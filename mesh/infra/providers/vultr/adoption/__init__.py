"""Moves a stack from the plugin's resources to our own, in the state only."""
