"""junit.xml: what CI servers count is what the verdict says, whatever the words in it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hil.junit import render_junit
from hil.verdict import Check, DeviceVerdict, Requirement, Verdict

# The part of the common form that is used here, as strictly as its readers take it.
FORM = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:simpleType name="seconds">
    <xs:restriction base="xs:decimal"><xs:minInclusive value="0"/></xs:restriction>
  </xs:simpleType>
  <xs:complexType name="outcome" mixed="true">
    <xs:attribute name="message" type="xs:string"/>
    <xs:attribute name="type" type="xs:string"/>
  </xs:complexType>
  <xs:element name="testsuite">
    <xs:complexType>
      <xs:sequence>
        <xs:element name="properties">
          <xs:complexType>
            <xs:sequence>
              <xs:element name="property" maxOccurs="unbounded">
                <xs:complexType>
                  <xs:attribute name="name" type="xs:string" use="required"/>
                  <xs:attribute name="value" type="xs:string" use="required"/>
                </xs:complexType>
              </xs:element>
            </xs:sequence>
          </xs:complexType>
        </xs:element>
        <xs:element name="testcase" minOccurs="0" maxOccurs="unbounded">
          <xs:complexType>
            <xs:choice minOccurs="0">
              <xs:element name="skipped" type="outcome"/>
              <xs:element name="error" type="outcome"/>
              <xs:element name="failure" type="outcome"/>
            </xs:choice>
            <xs:attribute name="classname" type="xs:string" use="required"/>
            <xs:attribute name="name" type="xs:string" use="required"/>
            <xs:attribute name="time" type="seconds"/>
          </xs:complexType>
        </xs:element>
      </xs:sequence>
      <xs:attribute name="name" type="xs:string" use="required"/>
      <xs:attribute name="tests" type="xs:nonNegativeInteger" use="required"/>
      <xs:attribute name="failures" type="xs:nonNegativeInteger" use="required"/>
      <xs:attribute name="errors" type="xs:nonNegativeInteger" use="required"/>
      <xs:attribute name="skipped" type="xs:nonNegativeInteger" use="required"/>
      <xs:attribute name="time" type="seconds" use="required"/>
    </xs:complexType>
  </xs:element>
</xs:schema>
"""
SCHEMA = etree.XMLSchema(etree.fromstring(FORM))

DEVICE = DeviceVerdict(
    "bridge-1", "bridge-1", "activated", "00000001", "00000002", "opaque", 10, 560, "ab" * 32
)
PASSED = Verdict(
    seed=7,
    clock="virtual",
    trace_hash="cd" * 32,
    wall_s=1.25,
    virtual_s=300,
    devices=(DEVICE, replace(DEVICE, device_id="ppmid", kind="ppmid", sha256=None)),
    checks=(Check("seed repeats", "pass", "same trace hash"),),
    scope=("MP170-R6",),
    requirements=(
        Requirement("MP170-R6", "pass", ("events.jsonl#12",)),
        Requirement("MP170-R1", "not-run"),
        Requirement("MP170-R3", "not-applicable"),
    ),
)


def read(verdict: Verdict) -> Element:
    octets = render_junit(verdict)
    SCHEMA.assertValid(etree.fromstring(octets))
    suite = ElementTree.fromstring(octets)
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases)
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
    assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
    return suite


def failures(suite: Element) -> dict[str, tuple[str, str | None]]:
    """By name: the message and the text."""
    return {
        case.attrib["name"]: (failure.attrib["message"], failure.text)
        for case in suite.findall("testcase")
        for failure in case.findall("failure")
    }


def test_everything_that_was_judged_is_a_testcase() -> None:
    suite = read(PASSED)
    cases = [(case.attrib["classname"], case.attrib["name"]) for case in suite.iter("testcase")]
    assert cases == [
        ("hanbench.device", "bridge-1"),
        ("hanbench.device", "ppmid"),
        ("hanbench.requirement", "MP170-R6 an alert confirms success or failure of an activation"),
        (
            "hanbench.requirement",
            "MP170-R1 images of the four products are built, signed, checked and released",
        ),
        ("hanbench.requirement", "MP170-R3 suppliers keep AltHANCo up to date"),
        ("hanbench.check", "seed repeats"),
    ]
    assert failures(suite) == {}
    assert [skipped.attrib["message"] for skipped in suite.iter("skipped")] == [
        "not-run",
        "not-applicable",
    ]
    assert suite.attrib["time"] == "1.250"


def test_the_properties_say_how_to_have_the_same_run_again() -> None:
    properties = {
        each.attrib["name"]: each.attrib["value"] for each in read(PASSED).iter("property")
    }
    assert properties == {
        "seed": "7",
        "clock": "virtual",
        "trace_hash": "cd" * 32,
        "verdict": "pass",
        "sha256.bridge-1": "ab" * 32,
    }


def test_a_device_that_was_not_activated_fails_with_its_outcome() -> None:
    lost = replace(DEVICE, outcome="timed-out", version_after=None)
    assert failures(read(replace(PASSED, devices=(lost,)))) == {
        "bridge-1": ("timed-out", "bridge-1, 00000001 -> unknown, 10 blocks, 560 bytes")
    }


@pytest.mark.parametrize("result", ["fail", "not-run"])
def test_a_requirement_of_the_scope_that_was_not_shown_fails(result: str) -> None:
    row = Requirement("MP170-R6", result, ("events.jsonl#12", "air.pcapng#3"))  # type: ignore[arg-type]
    (failure,) = failures(read(replace(PASSED, requirements=(row,)))).values()
    assert failure == (result, "events.jsonl#12\nair.pcapng#3")


def test_a_failed_check_says_what_it_saw() -> None:
    check = Check("seed repeats", "fail", "another trace hash")
    suite = read(replace(PASSED, checks=(check,)))
    assert failures(suite) == {"seed repeats": ("another trace hash", "another trace hash")}


@given(st.text(st.characters(codec=None)))
def test_no_word_of_a_device_breaks_the_document(text: str) -> None:
    verdict = replace(
        PASSED,
        devices=(replace(DEVICE, device_id=text, outcome="refused"),),
        checks=(Check(text, "fail", text),),
        requirements=(Requirement(text, "fail", (text,)),),
        scope=(text,),
    )
    suite = read(verdict)
    assert len(suite.findall("testcase/failure")) == 3


@given(st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cn"))))
def test_every_word_that_xml_can_hold_comes_out_as_it_was(text: str) -> None:
    verdict = replace(PASSED, checks=(Check("words", "fail", text),))
    (told,) = failures(read(verdict)).values()
    assert told[0] == text
