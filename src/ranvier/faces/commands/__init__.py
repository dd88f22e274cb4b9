"""One room per command; ``faces.cli`` names them and loads only the one that was asked for."""
