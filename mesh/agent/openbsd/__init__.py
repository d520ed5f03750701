"""What the agent does on OpenBSD alone."""
