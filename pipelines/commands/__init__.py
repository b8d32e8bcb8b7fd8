"""The commands, one file each: options in, one call, what came out told. Each imports what it runs when it is called."""
