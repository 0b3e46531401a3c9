r"""Make text from outside, such as file names, safe to show: escaped, and on one line.

A file name may hold anything: codes that a terminal obeys, marks that reverse the direction of the
text after them (`photo_gpj.exe` can read as `photo_exe.jpg`), letters without width, HTML tags.
Characters that cannot be seen are written as Python writes them, such as `\u202e`.
"""

import re
import unicodedata

# control and format characters, line and paragraph separators, halves of surrogate pairs
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Other characters that a renderer may leave out by Unicode (Default_Ignorable_Code_Point in
# DerivedCoreProperties.txt): joiners, fillers, variation selectors, code points reserved for such.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
_MARKDOWN = re.compile(r"[\\`*_\[\]~$]|(?<=www)\.|:(?=//)|@")
_HTML_IN_MARKDOWN = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("|"): "&#124;"}


def printable(text: str) -> str:
    r"""Return the text on one line, with every character that cannot be seen written out.

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
    """Return the text for a paragraph or table cell of Markdown: no markup, no HTML, no link."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", printable(text))
    return escaped.translate(_HTML_IN_MARKDOWN)
