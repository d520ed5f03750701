"""OpenBSD nodes, on stand-ins of its commands."""
