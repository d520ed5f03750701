"""Resources of a cloud's plugin become resources of our own, in the state alone."""
