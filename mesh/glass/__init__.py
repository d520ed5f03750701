"""The looking glass: what a node knows of itself and of its routes, read-only."""
