"""The edges for life: one question, one handshake, one exchange, one listener.

No trust decision of their own, and no Matrix JSON.
"""
