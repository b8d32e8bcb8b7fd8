"""Corruption: which cells of an utterance are masked or replaced. One file a strategy; all of them pure functions of hashes.

masked(settings, grid, key) -> masked_VLQ      which cells are masked, for every view of the key
chances(settings, grid) -> chance_K            in theory: how likely a block has so many masked cells
"""
