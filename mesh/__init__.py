"""Anycast Mesh: one page of configuration to a dual-stack BGP anycast network on rented servers."""
