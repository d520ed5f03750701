"""The API's routes, a file per concern: each gives its own with ``routes(context)``."""
