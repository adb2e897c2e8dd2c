"""The one error that data raises."""


class DataError(ValueError):
    """Data on disk is missing or malformed; the message is one sentence: where, what was got, what
    is allowed, what to do.
    """

    for_people = True
