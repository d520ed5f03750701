"""Witnesses: nodes that examine others during a rollout, and say what works at them."""
