import pytest

from atdsr.web.config import WebConfig, WebError

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_needs_no_token(host):
    assert WebConfig(host=host).is_local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "example.org"])
def test_others_need_one(host):
    with pytest.raises(WebError, match="add --token SECRET"):
        WebConfig(host=host)
    assert not WebConfig(host=host, token=TOKEN).is_local


@pytest.mark.parametrize(("token", "reason"), [("short", "at least 16"), ("ü" * 16, "ASCII")])
def test_a_token_can_be_sent_and_not_be_guessed(token, reason):
    with pytest.raises(WebError, match=reason):
        WebConfig(token=token)


def test_limits():
    config = WebConfig(max_megapixels=0.5, max_megabytes=2)
    assert (config.max_pixels, config.max_bytes) == (500_000, 2_000_000)
