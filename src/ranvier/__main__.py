"""``python -m ranvier`` is the command line."""

from __future__ import annotations

from ranvier.faces.cli import main

main()
