"""The nouns of federation: protocol and plugs, driven. They say with whom, and whether to retry."""
