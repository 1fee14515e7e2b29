"""Key agreement: the worked examples octet for octet, and two devices that agree or do not."""

from __future__ import annotations

from random import Random

import pytest
from cbke_vectors import EXAMPLES, Example
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.zigbee.cbke.ecmqv import agree, associate_value, derive, ecmqv, shared_secret
from emulator.zigbee.cbke.ecqv import Identity, create_authority
from emulator.zigbee.cbke.errors import CbkeError
from emulator.zigbee.cbke.suites import SUITES, KeyPair, Suite, generate_key_pair

both_suites = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.curve.name)
both_examples = pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda example: example.suite.curve.name
)


@both_examples
def test_the_public_keys_of_a_worked_example_are_those_of_its_private_keys(
    example: Example,
) -> None:
    curve = example.suite.curve
    for party in (example.u, example.v):
        for pair in (party.static, party.ephemeral):
            public = curve.multiply_generator(curve.scalar(pair.private_key))
            assert curve.compress(public) == pair.public_key


@both_examples
def test_both_sides_of_a_worked_example_come_to_the_published_secret(example: Example) -> None:
    curve = example.suite.curve
    for own, partner in ((example.u, example.v), (example.v, example.u)):
        secret = ecmqv(
            curve,
            curve.scalar(own.static.private_key),
            curve.scalar(own.ephemeral.private_key),
            curve.decompress(own.ephemeral.public_key),
            curve.decompress(partner.static.public_key),
            curve.decompress(partner.ephemeral.public_key),
        )
        assert secret == example.secret


@both_examples
def test_the_keys_and_macs_of_a_worked_example_are_those_published(example: Example) -> None:
    agreement = derive(
        example.secret,
        example.u.eui64,
        example.v.eui64,
        example.u.ephemeral.public_key,
        example.v.ephemeral.public_key,
    )
    assert agreement.mac_key == example.mac_key
    assert agreement.link_key == example.link_key
    assert agreement.initiator_smac == example.macu
    assert agreement.responder_smac == example.macv


def test_a_worked_example_runs_from_its_certificates_to_its_macs() -> None:
    # The initiator's certificate of C.6 was not published: only C.5 runs on both sides.
    example = EXAMPLES[0]
    for own, partner, am_initiator in (
        (example.u, example.v, True),
        (example.v, example.u, False),
    ):
        assert own.certificate is not None
        assert partner.certificate is not None
        identity = Identity(
            example.suite, own.certificate, own.static.private_key, example.ca_public_key
        )
        agreement = agree(
            identity,
            own.ephemeral,
            partner.certificate,
            partner.ephemeral.public_key,
            am_initiator=am_initiator,
        )
        assert agreement.link_key == example.link_key
        assert (agreement.initiator_smac, agreement.responder_smac) == (example.macu, example.macv)


class Pair:
    """Two devices of one authority, or of two, with ephemeral keys."""

    def __init__(self, suite: Suite, seed: int, *, authorities: int = 1) -> None:
        random = Random(seed).getrandbits
        cas = [create_authority(suite, 9, random) for _ in range(authorities)]
        self.u, self.v = cas[0].issue(1, random), cas[-1].issue(2, random)
        self.eu, self.ev = generate_key_pair(suite, random), generate_key_pair(suite, random)

    def agree(
        self, *, v_certificate: bytes | None = None, qeu: bytes | None = None
    ) -> tuple[object, object]:
        u = agree(
            self.u,
            self.eu,
            v_certificate or self.v.certificate,
            self.ev.public_key,
            am_initiator=True,
        )
        v = agree(
            self.v, self.ev, self.u.certificate, qeu or self.eu.public_key, am_initiator=False
        )
        return u, v


@both_suites
@given(seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_two_devices_of_one_authority_agree(suite: Suite, seed: int) -> None:
    u, v = Pair(suite, seed).agree()
    assert u == v


@both_suites
@given(seed=st.integers(0, 2**32))
@settings(max_examples=8)
def test_two_devices_of_different_authorities_do_not_agree(suite: Suite, seed: int) -> None:
    u, v = Pair(suite, seed, authorities=2).agree()
    assert u != v


@both_suites
def test_who_shows_the_certificate_of_another_does_not_agree(suite: Suite) -> None:
    pair = Pair(suite, 1)
    other = create_authority(suite, 9, Random(1).getrandbits).issue(3, Random(2).getrandbits)
    u, v = pair.agree(v_certificate=other.certificate)
    assert u != v


@both_suites
def test_an_ephemeral_key_changed_on_its_way_leads_to_no_agreement(suite: Suite) -> None:
    pair = Pair(suite, 1)
    other = pair.eu.public_key
    negated = bytes((other[0] ^ 1,)) + other[1:]
    u, v = pair.agree(qeu=negated)
    assert u != v


@both_suites
def test_both_in_the_same_role_have_the_same_key_and_other_macs(suite: Suite) -> None:
    pair = Pair(suite, 1)
    u = agree(pair.u, pair.eu, pair.v.certificate, pair.ev.public_key, am_initiator=True)
    v = agree(pair.v, pair.ev, pair.u.certificate, pair.eu.public_key, am_initiator=True)
    assert u.link_key == v.link_key
    assert u.initiator_smac != v.initiator_smac
    assert len({u.initiator_smac, u.responder_smac, u.mac_key, u.link_key}) == 4


@both_suites
@given(data=st.data())
@settings(max_examples=40)
def test_a_partner_whose_octets_are_no_key_raises_nothing_but_a_cbke_error(
    suite: Suite, data: st.DataObject
) -> None:
    pair = Pair(suite, 1)
    certificate = data.draw(
        st.one_of(st.just(pair.v.certificate), st.binary(max_size=80)), "certificate"
    )
    ephemeral = data.draw(st.binary(max_size=40), "ephemeral")
    with pytest.raises(CbkeError, match="partner's"):
        agree(pair.u, pair.eu, certificate, ephemeral, am_initiator=True)


@both_suites
def test_a_partner_with_a_point_of_small_order_gets_no_secret(suite: Suite) -> None:
    pair = Pair(suite, 1)
    octets = suite.curve.element_octets
    for form in (2, 3):
        for x in (0, 1):
            point = bytes((form,)) + x.to_bytes(octets, "big")
            with pytest.raises(CbkeError, match="ephemeral key"):
                shared_secret(pair.u, pair.eu, pair.v.certificate, point)
            at = pair.v.certificate.index(pair.v.fields.point)
            certificate = pair.v.certificate[:at] + point + pair.v.certificate[at + len(point) :]
            with pytest.raises(CbkeError, match="certificate"):
                shared_secret(pair.u, pair.eu, certificate, pair.ev.public_key)


@both_suites
def test_an_ephemeral_key_chosen_to_cancel_the_static_key_gives_no_secret(suite: Suite) -> None:
    # QE' + avf(QE') Q' is infinity where the partner can choose Q' after QE', as a certificate
    # authority can: Q' = -QE' / avf(QE').
    curve = suite.curve
    random = Random(1).getrandbits
    ephemeral = curve.multiply_generator(curve.random_scalar(random))
    inverse = pow(associate_value(curve, ephemeral), -1, curve.order)
    static = curve.multiply(curve.order - inverse, ephemeral)
    assert static is not None
    with pytest.raises(CbkeError, match="cancels"):
        ecmqv(curve, 5, 7, curve.multiply_generator(7), static, ephemeral)


@both_suites
def test_the_associate_value_has_a_leading_one_and_the_lower_half_of_x(suite: Suite) -> None:
    curve = suite.curve
    bits = {"sect163k1": 82, "sect283k1": 141}[curve.name]
    value = associate_value(curve, curve.generator)
    assert value.bit_length() == bits + 1
    assert value & (1 << bits) - 1 == curve.generator.x & (1 << bits) - 1


@both_suites
def test_an_ephemeral_key_pair_of_the_wrong_form_is_refused(suite: Suite) -> None:
    pair = Pair(suite, 1)
    for private_key, public_key in (
        (bytes(suite.private_key_octets), pair.eu.public_key),
        (pair.eu.private_key, bytes(suite.point_octets)),
    ):
        with pytest.raises(CbkeError, match="ephemeral p"):
            shared_secret(
                pair.u, KeyPair(private_key, public_key), pair.v.certificate, pair.ev.public_key
            )


@both_suites
def test_no_key_shows_in_what_is_printed(suite: Suite) -> None:
    pair = Pair(suite, 1)
    agreement = agree(pair.u, pair.eu, pair.v.certificate, pair.ev.public_key, am_initiator=True)
    assert repr(agreement) == "Agreement(…)"
