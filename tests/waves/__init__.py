"""Changes of a running twin under probes: who loses an answer, and where a bad change stops."""
