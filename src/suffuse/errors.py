"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """A mistake the user can mend: one sentence that says what was wrong, where, and what to do.

    The command line prints it as one line and exits with 2; nothing else about the program is at fault.

    Example:
        >>> raise UserError("no such folder: cats; give the path of a folder of pictures")
        Traceback (most recent call last):
        ...
        suffuse.errors.UserError: no such folder: cats; give the path of a folder of pictures
    """
