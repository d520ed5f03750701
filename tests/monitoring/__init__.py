"""Alerts of a twin: what is broken, and who rings."""
