"""The one exception family that reaches a person as a sentence."""


class AtdsrError(Exception):
    """What went wrong with which file or option and what to do, in one sentence.

    Every module that can fail for reasons of the user's input derives its own class from this
    one; the command line prints the sentence and exits with 1, a library caller catches it.
    """
