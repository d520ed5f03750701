"""Anycast services: what the stack file, the plan and the nodes all say of them."""
