"""Near duplicates: things that resemble an earlier one, found without comparing all with all, in an order that decides who stays."""
