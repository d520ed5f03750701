"""What tests of several folders and the benches share: one file for each idea.

Nothing here imports tests, and ``bench/`` imports nothing else of ``tests/``
(``tests/test_architecture.py``).
"""
