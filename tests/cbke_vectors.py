"""Published numbers of key establishment, with their origins.

C.5 and C.6 are the worked examples in annex C of the Smart Energy profile 07-5356; the certificates
there are of Certicom's test authorities, and so are the three below them, which Certicom's site
issued to others, who have published them with their keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1, KeyPair, Suite

CA_163K1 = bytes.fromhex("0200FDE8A7F3D1084224962A4E7C54E69AC3F04DA6B8")
CA_283K1 = bytes.fromhex(
    "0207A445022D9F39F49BDC38380026A27A9E0A1799313AB28C5C1A1C6B605154DB1DFF6752"
)


@dataclass(frozen=True)
class Party:
    """One side of a worked example; the certificate is None where none was published."""

    eui64: int
    static: KeyPair
    ephemeral: KeyPair
    certificate: bytes | None


@dataclass(frozen=True)
class Example:
    suite: Suite
    ca_public_key: bytes
    u: Party
    v: Party
    secret: bytes
    mac_key: bytes
    link_key: bytes
    macu: bytes
    macv: bytes


def _pair(private_key: str, public_key: str) -> KeyPair:
    return KeyPair(bytes.fromhex(private_key), bytes.fromhex(public_key))


EXAMPLES = (
    Example(  # C.5
        SUITE_163K1,
        CA_163K1,
        Party(
            0x0000000000000002,
            _pair(
                "01E9DDB5580CF72ECE7F215F0AE594E48DF3E7FEE8",
                "03025BBA38D0C7B5436B68DF728F093E7A1D6C437E6D",
            ),
            _pair(
                "0013D36DE4B1EA8E22739C381370823F404BFF8862",
                "0300E117C86D0E7CD128B2F34E9076CFF24AF46D7288",
            ),
            bytes.fromhex(
                "020615E07D30ECA2DAD58002E667D94BC1B422398307 0000000000000002 5445535453454341"
                "01090006000000000000"
            ),
        ),
        Party(
            0x0000000000000001,
            _pair(
                "00B8A900FCADEBABBFA383B540FCE9ED438395EAA7",
                "030290A1F5C08DAD5F2945E335620C7A98FAC46666A1",
            ),
            _pair(
                "03D48C7210DDBCC4FB2E5E7A0AA16A0DB89540820B",
                "0306AB52062201D995B8B8591F3F086A3A2E214D845E",
            ),
            bytes.fromhex(
                "03045FDFC8D85FFB8B3993CB72DDCAA55F00B3E87D6D 0000000000000001 5445535453454341"
                "01090006000000000000"
            ),
        ),
        secret=bytes.fromhex("00E0D2C3CCD5C106A89C4F6CC26A5F7EC9DF78A7BE"),
        mac_key=bytes.fromhex("90F967B22C8357C10C1C04788DE9E848"),
        link_key=bytes.fromhex("86D58AAA998E2FAEFAF9FEF49606543A"),
        macu=bytes.fromhex("B82F1F9774740C32F80FCFC3921B6420"),
        macv=bytes.fromhex("79D5F2AD1C31D4D1EE7CB719AC683C3C"),
    ),
    Example(  # C.6
        SUITE_283K1,
        CA_283K1,
        Party(
            0x0A0B0C0D0E0F1012,
            _pair(
                "00F2561ADB39EF49C1D62EF5186C6E0C158A5A45BFCE38660931ACC3694592D5ACDE9006",
                "03030E56F7ADE866E76372764BA20A9FF1FE4CAE522F94839E70F2ADFC1CA3E97F4DDCAF2E",
            ),
            _pair(
                "0013D36DE4B1EA8E22739C381370823F404BFF8862B521FECA9871FB3691846D361304B4",
                "0305F3394E15680660EECAA36788D9B6F312B971CE2C9617570BF7DFCD21C972017762C332",
            ),
            None,
        ),
        Party(
            0x0A0B0C0D0E0F1011,
            _pair(
                "0151CD0DBCB80474BF7AC9FEEBE39C7A32A63518938FCA9754AAE132BC9C73BE94A7E1BE",
                "0202F4FA2A3040433C6820299D182A1042E41404E337C57F47716B42DFAF970F1580A04C9B",
            ),
            _pair(
                "03D48C7210DDBCC4FB2E5E7A0AA16A0DB89540820B8DC091AB521EA824AFE117CADE995B",
                "03009A5131CF5B92A016378C0F7F284ECD47F94010F875D43BF1E9A65474ADBFC63696A930",
            ),
            bytes.fromhex(
                "00 2622A505E8938F27 0D 08 1112131415161718 005292A35B FFFFFFFF 0A0B0C0D0E0F1011 88"
                "0303B4E9DC543A64333C982308022B54E67E2F15F532551B0A11E2E2C1C1D3097A4324E7ED"
            ),
        ),
        secret=bytes.fromhex(
            "04F7724A9A77B21D2747CCEF68A457E45246C4BE9F66FD9425227BCB2CC5180EA9CCCB9A"
        ),
        mac_key=bytes.fromhex("ED380A00296600FB6B893025DE5FD137"),
        link_key=bytes.fromhex("AA4689C70BE0FAF0C9BE534ABD9F4CDC"),
        macu=bytes.fromhex("BF7E1A26D4EF7038B56813E465A131C9"),
        macv=bytes.fromhex("C5B432A9995A092F4449F83613930064"),
    ),
)

# suite, authority's public key, certificate, the private and the public key it stands for.
CERTIFICATES = (
    *(
        (example.suite, example.ca_public_key, party.certificate, party.static)
        for example in EXAMPLES
        for party in (example.u, example.v)
        if party.certificate is not None
    ),
    (
        SUITE_163K1,
        CA_163K1,
        bytes.fromhex(
            "0200CAA15B4BEEDE65C3139A5C3BC40C9AD153854A27 0022A300001731F3 5445535453454341"
            "0109108301234567890A"
        ),
        _pair(
            "019FCC486FC46980AB4A612725B36F005EDFF075FE",
            "020366D312A0ABF55654EAD3E1624C31FAED89C3BB20",
        ),
    ),
    (
        SUITE_163K1,
        CA_163K1,
        bytes.fromhex(
            "02020882B1D7DF05538F37CDD09A4F6B15368998642B 0022080000000001 5445535453454341"
            "0109108301234567890A"
        ),
        _pair(
            "0392BA4AFC2453A49EEBE9BCA8DE73210F02479A4A",
            "0207D1CA014786B5E552CFD5F04339A2E856F00EAAEF",
        ),
    ),
    (
        SUITE_283K1,
        CA_283K1,
        bytes.fromhex(
            "00 0B3AD5A312AB75D6 0D 08 1112131415161718 005B7ED230 FFFFFFFF 0022080000000001 08"
            "0205BB3D1D1576197FF9AB6563915019A130437ADB0EE7915432DC4A09C97DC595C5856800"
        ),
        _pair(
            "00997097B87684F62F555173C47BE89935FBF6440AE292492B54C5829A0D541F4D26E254",
            "02012F082EE7DB1BD3F89F16EABBF5D6221A5DCD077FC0C9D37B329EEE8E2CDAEE03439DE0",
        ),
    ),
)
