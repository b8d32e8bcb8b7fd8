"""What ``verify`` finds damaged, made anew: what that costs, from which records, and the doing of it."""
