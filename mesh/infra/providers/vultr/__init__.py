"""Vultr: edges, on instances and bare metal."""
