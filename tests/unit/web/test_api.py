"""What the answers of the API say in their headers."""

import doctest

import pytest

from atdsr.web import api


def test_the_examples():
    assert doctest.testmod(api).failed == 0


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a b.png", 'attachment; filename="a b.png"'),
        ("50%.png", "attachment; filename=\"50_.png\"; filename*=utf-8''50%25.png"),
        ('a"\\.png', "attachment; filename=\"a__.png\"; filename*=utf-8''a%22%5C.png"),
        ("猫.png", "attachment; filename=\"_.png\"; filename*=utf-8''%E7%8C%AB.png"),
        ("a\r\nb.png", "attachment; filename=\"a__b.png\"; filename*=utf-8''a%0D%0Ab.png"),
    ],
)
def test_a_file_is_saved_by_a_name_that_every_client_reads(name: str, header: str):
    assert api.attachment(name) == header
