"""Pulumi's engine: found on PATH, installed by Pulumi's installer, or built from Go modules."""
