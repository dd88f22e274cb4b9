"""Demonstrations that run whole federations inside one process."""
