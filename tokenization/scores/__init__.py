"""Scores of quality: small pure functions of a decoded sound and its text, one file each; ``registry.py`` names them."""
