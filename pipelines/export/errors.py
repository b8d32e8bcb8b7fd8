"""What ends an export."""


class ExportError(ValueError):
    """An export that cannot be made: says what, where, why and what to do, in one line."""
