"""Typed settings, one file per block of a recipe."""
