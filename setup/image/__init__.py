"""The Debian 13 tree that every node of the lab boots from."""
