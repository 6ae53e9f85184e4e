"""Route templates of HTTP functions."""

from __future__ import annotations

import pytest

from local.functions_host.triggers.http.routes import parse_route


@pytest.mark.parametrize(
    ("template", "path", "parameters"),
    [
        ("hello", "/hello", {}),
        ("hello", "/HELLO/", {}),
        ("hello", "/hello/x", None),
        ("orders/{id}", "/orders/17", {"id": "17"}),
        ("orders/{id}", "/orders", None),
        ("orders/{id?}", "/orders", {}),
        ("orders/{id=9}", "/orders", {"id": "9"}),
        ("orders/{id:int}", "/orders/17", {"id": "17"}),
        ("orders/{id:int}", "/orders/x", None),
        ("orders/{id:int?}", "/orders", {}),
        ("{id:guid}", "/6f9619ff-8b86-d011-b42d-00cf4fc964ff", {}),
        ("{id:guid}", "/none", None),
        ("{name:alpha}", "/abc", {"name": "abc"}),
        ("{name:alpha}", "/abc1", None),
        ("{x:double}", "/1.5", {"x": "1.5"}),
        ("{x:bool}", "/True", {"x": "True"}),
        ("files/{*path}", "/files/a/b", {"path": "a/b"}),
        ("files/{*path}", "/files", {"path": ""}),
        ("a/{x}/b", "/a/1%2F2/b", {"x": "1/2"}),
        ("a/{x}/b", "/a/%C3%BC/b", {"x": "ü"}),
        ("", "/", {}),
        ("", "/x", None),
    ],
)
def test_match(template: str, path: str, parameters: dict[str, str] | None) -> None:
    found = parse_route(template).match(path)
    if parameters is None:
        assert found is None
    else:
        assert found is not None
        assert parameters.items() <= found.items()


def test_specific_templates_come_first() -> None:
    templates = ["{*rest}", "{a}/{b}", "x/{b}", "{a:int}/{b}", "x/y"]
    ordered = sorted(map(parse_route, templates), key=lambda route: route.precedence)
    expected = ["x/y", "x/{b}", "{a:int}/{b}", "{a}/{b}", "{*rest}"]
    assert [route.template for route in ordered] == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a{b}", "segment 'a{b}' is invalid"),
        ("{", "is invalid"),
        ("{a:strange}", "unknown constraint 'strange'; known are alpha"),
        ("{*a}/b", "must come last"),
    ],
)
def test_an_invalid_template_is_rejected(template: str, message: str) -> None:
    with pytest.raises(ValueError, match="route") as e:
        parse_route(template)
    assert message in str(e.value)
