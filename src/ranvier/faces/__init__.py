"""Faces only translate: the command line and the ASGI application."""
