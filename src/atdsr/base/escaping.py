r"""Text from outside, such as names of files, made fit to be shown: escaped, and on one line.

Whoever names a file may put anything into the name: codes that a terminal obeys, marks that turn
the direction of what follows (`photo_gpj.exe` can read as `photo_exe.jpg`), letters of no width,
tags of HTML. What cannot be seen as what it is stands here as Python writes it, such as `\u202e`.
"""

import re
import unicodedata

# control and format characters, line and paragraph separators, halves of surrogate pairs
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# what Unicode lets a renderer leave out (Default_Ignorable_Code_Point, DerivedCoreProperties.txt)
# in other categories: joiners, fillers, variation selectors, code points kept free for such
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
_MARKDOWN = re.compile(r"[\\`*_\[\]~$]|(?<=www)\.|:(?=//)|@")
_HTML_IN_MARKDOWN = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("|"): "&#124;"}


def printable(text: str) -> str:
    r"""The text on one line, every character of which can be seen as what it is.

    Example:
        >>> printable("a\u202egnp.\n")
        'a\\u202egnp.\\n'
    """
    if text.isprintable() and text.isascii():
        return text
    return "".join(_escape(letter) if _is_unseen(letter) else letter for letter in text)


def _is_unseen(letter: str) -> bool:
    return unicodedata.category(letter) in _UNSEEN_CATEGORIES or bool(_IGNORABLE.match(letter))


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def markdown(text: str) -> str:
    """The text as words of Markdown or as a cell of its tables: no markup, no HTML, no link."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", printable(text))
    return escaped.translate(_HTML_IN_MARKDOWN)
