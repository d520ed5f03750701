"""Random faults on a running twin, and what has to hold all the while: ``python -m tests.soak``."""
