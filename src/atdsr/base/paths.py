"""Where atdsr keeps what can be made or fetched again."""

from pathlib import Path


def folder() -> Path:
    r"""The user's cache folder of atdsr, which need not exist.

    `$XDG_CACHE_HOME/atdsr` where that is set; else `~/.cache/atdsr`, on macOS
    `~/Library/Caches/atdsr`, on Windows `%LOCALAPPDATA%\atdsr\Cache`.
    """
    import platformdirs

    return platformdirs.user_cache_path("atdsr", appauthor=False)
