"""Reading the tables that the commands print."""

import re


def rows(output: str) -> list[list[str]]:
    """Return the cells of all lines below the header of a table, without the rules."""
    rule = re.compile("─+")
    lines = output.splitlines()
    header = next(number for number, line in enumerate(lines) if rule.fullmatch(line))
    below = [line for line in lines[header + 1 :] if not rule.fullmatch(line)]
    return [re.split(" {2,}", line.strip()) for line in below]
