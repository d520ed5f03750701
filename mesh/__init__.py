"""Anycast Mesh: a dual-stack BGP anycast network on rented servers from one stack file."""
