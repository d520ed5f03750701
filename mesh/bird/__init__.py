"""BIRD: its control socket, and what each version of it can do."""
