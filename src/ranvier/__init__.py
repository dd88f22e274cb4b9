"""Ranvier: the server-server half of the Matrix protocol. Every answer carries its trail."""

__version__ = "0.1.0"
