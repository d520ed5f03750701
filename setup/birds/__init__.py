"""Other BIRDs than the node image's, and what speaks with them, as layers over it for tests."""
