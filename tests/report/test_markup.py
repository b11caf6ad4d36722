"""Escaping by construction."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medmax_pipeline.report.markup import Markup, table, tag


def test_text_is_escaped_and_markup_is_not_escaped_twice() -> None:
    assert tag("p", "a < b", tag("b", "&")) == "<p>a &lt; b<b>&amp;</b></p>"


def test_attributes_are_escaped_and_unknown_ones_left_out() -> None:
    assert tag("img", src='"><script>', alt=None, class_="x") == '<img src="&quot;&gt;&lt;script&gt;" class="x">'


@given(st.text())
def test_no_text_opens_an_element(text: str) -> None:
    inside = table((text,), [(text,)]).replace("</", "<")
    for known in ("div", "table", "thead", "tbody", "tr", "th", "td"):
        inside = inside.replace(f"<{known}>", "").replace(f'<{known} class="scroll">', "")
    assert "<" not in inside


def test_markup_is_a_string() -> None:
    assert isinstance(tag("p"), Markup)
