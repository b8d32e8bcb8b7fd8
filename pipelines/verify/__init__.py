"""A dataset looked at again: everything it claims, file by file; each file of this room checks what its name says."""
