"""Set-up of a fresh Debian machine: packages, virtual environment, engine, node image.

Standard library only: it runs on Debian's own Python before anything is installed.
"""
