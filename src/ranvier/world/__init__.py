"""The edges in memory: a virtual clock, and faults by name."""
