"""XML from anybody: what is read, and what is refused before it can do harm."""

from __future__ import annotations

import codecs
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp_stub.errors import DoctypeError, DuisError
from dsp_stub.safe_xml import (
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_TAGS,
    children,
    local_name,
    parse_xml,
    place_of,
    text_of,
    token,
)

BOMB = (
    '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    '<a x="&c;">&c;</a>'
)


@pytest.mark.parametrize(
    "octets",
    [
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a PUBLIC "-//x//y" "http://127.0.0.1:1/a.dtd"><a/>',
        b'<?xml version="1.0"?>\n<!-- \n --><?p i?>\n<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        BOMB.encode(),
        BOMB.encode("utf-8-sig"),
        codecs.BOM_UTF8 * 2 + BOMB.encode(),
        BOMB.encode("utf-16"),
        codecs.BOM_UTF16_BE + BOMB.encode("utf-16-be"),
        codecs.BOM_UTF16_LE * 2 + BOMB.encode("utf-16-le"),
        b'<?xml version="1.0" encoding="UTF-16"?>' + BOMB.encode(),
    ],
)
def test_a_document_type_is_refused_whatever_is_in_it(octets: bytes) -> None:
    with pytest.raises(DoctypeError, match="document type declaration"):
        parse_xml(octets)


def test_the_line_of_a_document_type_is_named() -> None:
    with pytest.raises(DoctypeError) as caught:
        parse_xml(b'<?xml version="1.0"?>\n\n<!DOCTYPE a><a/>', "request")
    assert str(caught.value) == "request: line 3 has a document type declaration"


def test_an_entity_nobody_defined_is_not_expanded() -> None:
    with pytest.raises(DuisError, match="line 1, column 7 is not XML"):
        parse_xml(b"<a>&b;</a>")
    assert parse_xml(b"<a>&lt;&#65;</a>").text == "<A"


@pytest.mark.parametrize("name", ["UTF-7", "ISO-8859-1", "ebcdic-cp-us", "UTF-32", "x" * 500])
def test_an_encoding_that_hides_letters_from_a_search_is_refused(name: str) -> None:
    octets = f'<?xml version="1.0" encoding="{name}"?><a/>'.encode()
    with pytest.raises(DuisError, match=r"the encoding says .*, only UTF-8 and UTF-16 are read"):
        parse_xml(octets)
    # What the parser does not believe is not believed either: not in UTF-7 and not as Latin-1.
    with pytest.raises(DuisError, match="is not UTF-8"):
        parse_xml(b"<a>\xe9</a>")


def test_the_same_document_in_either_encoding_is_the_same() -> None:
    text = '<?xml version="1.0" encoding="{}"?>\n<a b="\u00e9">\u20ac\U0001f600</a>'
    one = parse_xml(text.format("utf-8").encode())
    other = parse_xml(text.format("UTF-16").encode("utf-16"))
    assert (
        (one.text, one.get("b"))
        == ("\u20ac\U0001f600", "\u00e9")
        == (
            other.text,
            other.get("b"),
        )
    )


def test_an_inclusion_stays_what_it_is(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    include = f'<xi:include href="{secret}" parse="text"/>'
    root = parse_xml(f'<a xmlns:xi="http://www.w3.org/2001/XInclude">{include}</a>'.encode())
    assert [local_name(one) for one in children(root)] == ["include"]
    assert "".join(root.itertext()) == ""


def test_a_document_is_read_up_to_its_size_and_no_further() -> None:
    room = MAX_DOCUMENT_BYTES - len(b"<a></a>")
    assert len(text_of(parse_xml(b"<a>" + b"x" * room + b"</a>"))) == room
    with pytest.raises(DuisError, match=f"has {MAX_DOCUMENT_BYTES + 1} octets"):
        parse_xml(b"<a>" + b"x" * (room + 1) + b"</a>")


def test_a_document_nested_too_deep_is_refused() -> None:
    def nested(depth: int) -> bytes:
        return b"<a>" * depth + b"</a>" * depth

    parse_xml(nested(MAX_DEPTH))
    with pytest.raises(DuisError, match=f"nested deeper than {MAX_DEPTH} elements"):
        parse_xml(nested(MAX_DEPTH + 1))
    with pytest.raises(DuisError):
        parse_xml(nested(4000))


def test_markup_that_would_fill_the_memory_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(DuisError, match="more markup"):
        parse_xml(b"<a>" + b"<b/>" * MAX_TAGS + b"</a>")
    attributes = b"".join(b' a%d=""' % number for number in range(20_000))
    with pytest.raises(DuisError, match="more markup"):
        parse_xml(b"<a" + attributes + b"/>")


@pytest.mark.parametrize("octets", [b"", b"   ", b"<a>", b"<a/><b/>", b"<a>\0</a>", b"{}", b"<"])
def test_what_is_no_xml_is_refused_in_a_sentence_with_its_place(octets: bytes) -> None:
    with pytest.raises(DuisError, match=r"^DUIS document: line \d+, column \d+ is not XML: \S"):
        parse_xml(octets)


def test_a_refusal_does_not_repeat_the_document() -> None:
    with pytest.raises(DuisError) as caught:
        parse_xml(b"<a><" + b"x" * 100_000 + b"></a>")
    assert len(str(caught.value)) < 300


def test_a_comment_does_not_cut_a_text_short() -> None:
    root = parse_xml(b"<a> AB<!-- -->CD<?p i?>EF<![CDATA[<G>]]>\n </a>")
    assert text_of(root) == " ABCDEF<G>\n "
    assert token(root) == "ABCDEF<G>"


def test_a_place_is_a_path_and_a_line() -> None:
    root = parse_xml(b'<s:a xmlns:s="urn:s">\n<s:b>\n<c/></s:b></s:a>')
    assert place_of(root[0][0]) == "a/b/c (line 3)"


MARKUP = (
    b"<a>", b"</a>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?x", b"?>", b"&#0;", b"&lt;",
    b"<!DOCTYPE", b"\0", b"\xff\xfe", b"xmlns:a=''", b" xml:id='a'", b"<a b='", b"'/>",
)  # fmt: skip
FRAGMENTS = st.lists(st.sampled_from(MARKUP) | st.binary(max_size=4)).map(b"".join)


@given(st.binary() | FRAGMENTS | FRAGMENTS.map(lambda octets: b"<a>" + octets + b"</a>"))
def test_hostile_octets_raise_nothing_but_a_duis_error(octets: bytes) -> None:
    with suppress(DuisError):
        assert parse_xml(octets).getroottree().docinfo.internalDTD is None
