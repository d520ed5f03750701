"""Networks that operators have, each a stack file that begins with what its operator wants."""
