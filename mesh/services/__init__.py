"""Anycast services, as the stack file, the plan and the nodes describe them."""
