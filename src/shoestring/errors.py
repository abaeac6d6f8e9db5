"""The few kinds of failure a user can meet. Our own bugs stay plain exceptions and keep their traceback.

ShoestringError      exit 1   the work failed and the line says what to do
  BadInput           exit 2   a setting, file, model or task that was given can't be used
  Interrupted        exit 130 stopped by the user; what was done is saved
"""


class ShoestringError(Exception):
    """One clear line for the user; the command line prints it without a traceback."""

    exit_code = 1


class BadInput(ShoestringError):
    """What the user gave can't be used: unknown setting, missing file, unreadable model, unknown task."""

    exit_code = 2


class Interrupted(ShoestringError):
    """The user stopped the work. The message says where it is saved and how to go on."""

    exit_code = 130
