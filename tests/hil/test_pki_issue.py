"""`hanbench pki issue` and `revoke`: what a maker of a device gives, and what it gets back."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from emulator.zigbee.cbke.ecqv import (
    CertificateAuthority,
    Identity,
    parse_certificate,
    private_key_matches,
    reconstruct_private_key,
)
from emulator.zigbee.cbke.identities import TEST_ISSUER, TestAuthorities
from emulator.zigbee.cbke.suites import (
    SUITE_163K1,
    SUITE_283K1,
    KeyPair,
    Suite,
    generate_key_pair,
)
from emulator.zigbee.security import mmo_hash
from gbcs.acb import AccessControlBroker, Alert, BrokerState, Rejected, Response, User
from gbcs.certificates import (
    HARDWARE_MODULE_NAME,
    Certificate,
    CertificateStore,
    parse_pem_certificate,
)
from gbcs.chain import ChainVerdict
from gbcs.device_credentials import certification_request
from gbcs.endpoint import DeviceKeys, Endpoint, EndpointState, Reply, TrustCells
from gbcs.firmware import ActivateImageResult, FirmwareActivation, build_firmware_activation
from gbcs.protection import KeyUse, PrivateKey, private_key_from
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64, key_usage_extension
from gbcs.use_cases import read_firmware_version
from hil.errors import HanbenchError
from hil.key_folder import load_authorities, load_keys
from hil.pki_commands import pki_group
from hil.pki_zse import read_request
from hil.seeds import Seeds

SIGNING, AGREEMENT, XML = (
    KeyUse.DIGITAL_SIGNATURE,
    KeyUse.KEY_AGREEMENT,
    KeyUse.XML_SIGNATURE,
)
BRIDGE = 0x00DB1234567890B1
NAME = "00-DB-12-34-56-78-90-B1"
VERSION = 0x00010200
NOW = datetime(2026, 1, 2, tzinfo=UTC)
# 1.3.6.1.4.1.99999.1: of no maker
MAKER_NAME = bytes.fromhex("3015 0609 2B06010401868D1F01 0408 00DB1234567890B1")


def maker_key(name: str) -> PrivateKey:
    """A key the maker of a device has, and nobody else."""
    return private_key_from(Seeds(77).stream(name).getrandbits)


def pki(*words: object) -> Result:
    return CliRunner().invoke(pki_group, [str(word) for word in words])


def issue(*words: object) -> dict[str, Any]:
    result = pki("issue", *words, "--json")
    assert result.exit_code == 0, result.exception or result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def refused(sentence: str, *words: object) -> None:
    result = pki(*words)
    assert isinstance(result.exception, HanbenchError), result.output
    assert result.exception.exit_code == 2
    assert sentence in str(result.exception)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "dcc"
    assert pki("create", folder).exit_code == 0
    return folder


@pytest.fixture
def dcc(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "dcc"))


def requests(folder: Path, form: Encoding = Encoding.PEM) -> list[object]:
    """The options for the two requests of a bridge whose keys are its maker's."""
    words: list[object] = []
    for use in (SIGNING, AGREEMENT):
        der = certification_request(BRIDGE, use, maker_key(use))
        path = folder / f"bridge {use}.csr"
        path.write_bytes(x509.load_der_x509_csr(der).public_bytes(form))
        words += ["--csr", path]
    return words


def certificate_of(document: dict[str, Any], use: KeyUse) -> Certificate:
    (row,) = (row for row in document["certificates"] if row["use"] == use)
    return parse_pem_certificate(row["pem"].encode())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- a device that keeps its keys --------------------------------------------------------------


def trust_of(document: dict[str, Any]) -> TrustCells:
    """The cells of a device whose maker has this document and nothing else."""
    held = {
        row["cell"]: parse_pem_certificate(row["pem"].encode()) for row in document["trust_anchors"]
    }
    return TrustCells(
        held.pop("access-control-broker digital-signature"),
        held.pop("access-control-broker key-agreement"),
        held.pop("recovery digital-signature"),
        held.pop("root key-cert-sign"),
    )


def test_a_device_with_the_bundle_and_a_broker_with_the_folder_understand_each_other(
    dcc: Path, tmp_path: Path
) -> None:
    document = issue(dcc, *requests(tmp_path))
    device = Endpoint(
        BRIDGE,
        DeviceKeys(maker_key(SIGNING), maker_key(AGREEMENT)),
        trust_of(document),
        EndpointState(0),
        (read_firmware_version(lambda: VERSION),),
    )
    broker = AccessControlBroker(ACB_EUI64, load_keys(dcc), BrokerState())
    command = broker.read_firmware_version(BRIDGE, User(SUPPLIER_EUI64, 1000))
    (reply,) = device.receive(command, NOW)
    assert isinstance(reply, Reply)
    answer = broker.receive(reply.frame)
    assert isinstance(answer, Response)
    activation = FirmwareActivation(NOW, VERSION, ActivateImageResult.ACTIVATION_SUCCESS)
    alert = device.alert(0x012B, build_firmware_activation(activation))
    assert isinstance(broker.receive(alert), Alert)
    # and to one that was not told of the device it proves nothing
    (dcc / f"{BRIDGE:016x}-ds.pem").unlink()
    stranger = AccessControlBroker(ACB_EUI64, load_keys(dcc), BrokerState())
    assert isinstance(stranger.receive(alert), Rejected)


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_the_certificates_are_for_the_keys_of_the_requests(
    dcc: Path, tmp_path: Path, form: Encoding
) -> None:
    document = issue(dcc, *requests(tmp_path, form))
    authorities = load_authorities(dcc)
    assert authorities is not None
    for use in (SIGNING, AGREEMENT):
        certificate = certificate_of(document, use)
        mine = maker_key(use).public_key().public_numbers()
        assert certificate.public_key.public_numbers() == mine
        assert (certificate.eui64, certificate.use) == (BRIDGE, use)
        assert certificate.is_device
        assert certificate.not_after.year == 9999
        assert authorities.judge(certificate, NOW) is ChainVerdict.VALID
    assert not list(dcc.glob(f"{BRIDGE:016x}-*.key"))
    assert [row["key"] for row in document["certificates"]] == [None, None]


def test_the_trust_anchors_are_those_of_a_ppmids_cells(dcc: Path, tmp_path: Path) -> None:
    document = issue(dcc, *requests(tmp_path))
    rows = document["trust_anchors"]
    assert [(row["cell"], row["eui64"], row["key_usage"]) for row in rows] == [
        ("access-control-broker digital-signature", "90B3D51F30000002", "digital-signature"),
        ("access-control-broker key-agreement", "90B3D51F30000002", "key-agreement"),
        ("recovery digital-signature", "90B3D51F30000001", "digital-signature"),
        ("root key-cert-sign", None, "key-cert-sign"),
    ]
    for row in rows:
        assert row["pem"].encode() in (dcc / row["file"]).read_bytes()
        certificate = parse_pem_certificate(row["pem"].encode())
        assert f"{certificate.serial:X}" == row["serial"]
        assert certificate.subject_key_id.hex().upper() == row["key_id"]
    assert document["other_parties"] == []


def test_all_lists_whom_a_ppmid_has_no_cells_for_too(dcc: Path) -> None:
    rows = issue(dcc, "--eui64", NAME, "--all")["other_parties"]
    supplier = ["ds", "ka", "pp-ka"]
    assert [(row["role"], row["use"]) for row in rows] == [
        ("transitional-cos", "ds"),
        ("wan-provider", "ds"),
        *[("supplier", use) for use in 2 * supplier],
        ("network-operator", "ds"),
        ("network-operator", "ka"),
    ]


def test_a_maker_has_a_numbering_of_its_own(dcc: Path, tmp_path: Path) -> None:
    names = x509.SubjectAlternativeName([x509.OtherName(HARDWARE_MODULE_NAME, MAKER_NAME)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(key_usage_extension(SIGNING), critical=True)
        .add_extension(names, critical=True)
        .sign(maker_key("numbered"), SHA256())
    )
    path = tmp_path / "request.der"
    path.write_bytes(request.public_bytes(Encoding.DER))
    certificate = certificate_of(issue(dcc, "--csr", path), SIGNING)
    assert MAKER_NAME in certificate.der
    assert certificate.eui64 == BRIDGE


def test_the_same_key_again_gets_the_same_certificate_and_another_key_none(
    dcc: Path, tmp_path: Path
) -> None:
    first = issue(dcc, *requests(tmp_path))
    before = contents(dcc)
    assert issue(dcc, *requests(tmp_path)) == first
    other = certification_request(BRIDGE, AGREEMENT, maker_key("another"))
    (tmp_path / "other.csr").write_bytes(other)
    refused("says something else", "issue", dcc, "--csr", tmp_path / "other.csr")
    refused("says something else", "issue", dcc, "--eui64", NAME)
    assert contents(dcc) == before


def bare_request(path: Path, *extensions: x509.ExtensionType, key: object = None) -> Path:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    request = builder.sign(key or maker_key("bare"), SHA256())  # type: ignore[arg-type]
    path.write_bytes(request.public_bytes(Encoding.PEM))
    return path


def test_what_a_request_does_not_say_is_said_by_options(dcc: Path, tmp_path: Path) -> None:
    bare = bare_request(tmp_path / "bare.csr")
    refused("give --eui64", "issue", dcc, "--csr", bare, "--use", "ka")
    refused("give --use", "issue", dcc, "--csr", bare, "--eui64", NAME)
    document = issue(dcc, "--csr", bare, "--eui64", NAME, "--use", "ka")
    assert certificate_of(document, AGREEMENT).eui64 == BRIDGE


def test_a_request_that_cannot_be_granted_changes_nothing(dcc: Path, tmp_path: Path) -> None:
    before = contents(dcc)
    asked = requests(tmp_path)
    signing: list[object] = asked[:2]
    tampered = tmp_path / "tampered.csr"
    der = bytearray(certification_request(BRIDGE, SIGNING, maker_key(SIGNING)))
    der[-1] ^= 1
    tampered.write_bytes(der)
    off_curve = bare_request(tmp_path / "p384.csr", key=ec.derive_private_key(7, ec.SECP384R1()))
    for sentence, words in (
        ("is for 00DB1234567890B1, not for 00DB123", [*signing, "--eui64", NAME[:-1] + "2"]),
        ("asks for ds, not for ka", [*signing, "--use", "ka"]),
        ("second request for ds", [*signing, *signing]),
        ("--use is given 1 times", [*asked, "--use", "ds"]),
        ("proof of possession", ["--csr", tampered]),
        ("not on P-256", ["--csr", off_curve, "--eui64", NAME, "--use", "ds"]),
        ("not PKCS #10", ["--csr", dcc / "root.pem"]),
        ("cannot be read", ["--csr", tmp_path / "none.csr"]),
        ("a device has no key for xml-ds", [*signing, "--use", "xml-ds"]),
        ("a device has no key for pp-ka", ["--eui64", NAME, "--use", "pp-ka"]),
        ("give --csr FILE, or --eui64", []),
        ("--role is for an organisation", ["--eui64", NAME, "--role", "supplier", "--all"]),
        ("is not empty", [*asked, "--out", tmp_path]),
    ):  # fmt: skip
        refused(sentence, "issue", dcc, *words)
        assert contents(dcc) == before


def test_a_folder_that_is_no_test_smki_says_how_to_make_one(dcc: Path, tmp_path: Path) -> None:
    words: tuple[object, ...] = ("--eui64", NAME)
    refused("hanbench pki create", "issue", tmp_path, *words)
    settings = dcc / "smki.toml"
    text = settings.read_text()
    for wrong in ("seed = ", "seed = -1", 'seed = "1"', f"seed = {2**64}", "\0"):
        settings.write_text(text.replace("seed = 1", wrong))
        refused("does not say seed, epoch and days", "issue", dcc, *words)
    settings.write_text(text.replace("seed = 1", "seed = 2"))
    refused("root.pem of", "issue", dcc, *words)


# -- keys that are made here -------------------------------------------------------------------


def test_a_folder_to_be_handed_over_has_everything_and_nobody_else_can_read_it(
    dcc: Path, tmp_path: Path
) -> None:
    out = tmp_path / "for the maker"
    document = issue(dcc, "--eui64", NAME, "--out", out)
    assert out.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}
    named = {
        row["file"]
        for key in ("certificates", "trust_anchors", "authorities", "zse")
        for row in document[key]
    }
    keys = {row["key"] for row in document["certificates"]}
    assert set(contents(out)) == named | keys | {"TEST-ONLY.txt", "bundle.json"}
    assert json.loads((out / "bundle.json").read_text()) == document
    for name, data in contents(out).items():
        assert b"TEST ONLY" in data, name
    own = load_keys(out)
    for use in (SIGNING, AGREEMENT):
        key = own.private_key(BRIDGE, use)
        assert key is not None
        # those it has in a run with this seed
        ours = load_keys(dcc).private_key(BRIDGE, use)
        assert ours is not None
        assert key.private_numbers() == ours.private_numbers()


def test_no_private_key_is_printed(dcc: Path) -> None:
    result = pki("issue", dcc, "--eui64", NAME)
    printed = (result.stdout + pki("issue", dcc, "--eui64", NAME, "--json").stdout).lower()
    assert "private key" not in printed.lower()
    secrets = [
        line.split(": ")[1]
        for path in dcc.glob("*-zse-*.txt")
        for line in path.read_text().splitlines()
        if line.startswith("Device Private Key")
    ]
    assert len(secrets) == 2
    assert not any(secret in printed for secret in secrets)
    assert printed.count("-----begin certificate-----") == 2 * (2 + 4 + 3)


def test_a_tool_takes_the_certificates_out_of_the_printed_text(dcc: Path, tmp_path: Path) -> None:
    text = tmp_path / "printed.txt"
    text.write_bytes(pki("issue", dcc, "--eui64", NAME).stdout_bytes)
    printed = x509.load_pem_x509_certificates(text.read_bytes())
    assert len(printed) == 2 + 4 + 3


# -- organisations -----------------------------------------------------------------------------


def test_an_organisation_is_certified_for_its_uses(dcc: Path) -> None:
    eui64 = 0x90B3D51F30050000
    document = issue(dcc, "--eui64", f"{eui64:016X}", "--role", "supplier")
    assert [row["use"] for row in document["certificates"]] == ["ds", "ka", "xml-ds"]
    assert (document["role"], document["trust_anchors"], document["zse"]) == ("supplier", [], [])
    store = load_keys(dcc)
    for use in (SIGNING, AGREEMENT, XML):
        certificate = store.certificate(eui64, use)
        assert certificate == certificate_of(document, use)
        assert certificate is not None
        assert certificate.not_after < datetime(2026, 2, 1, tzinfo=UTC)
        assert store.private_key(eui64, use) is not None


def test_an_organisation_signs_xml_with_a_key_it_keeps(dcc: Path, tmp_path: Path) -> None:
    bare = bare_request(tmp_path / "user.csr", key_usage_extension(SIGNING))
    words: list[object] = ["--csr", bare, "--eui64", "90B3D51F30050000", "--role", "supplier"]
    certificate = certificate_of(issue(dcc, *words, "--use", "xml-ds"), XML)
    mine = maker_key("bare").public_key().public_numbers()
    assert certificate.public_key.public_numbers() == mine
    assert certificate.use is XML
    assert certificate_of(issue(dcc, *words), SIGNING).use is SIGNING


# -- key establishment -------------------------------------------------------------------------


def zse_request(path: Path, *pairs: KeyPair) -> Path:
    lines = [f"Device Public Key: {pair.public_key.hex()}\n" for pair in pairs]
    path.write_text("# of the maker's tool\n\n" + "".join(lines))
    return path


@pytest.mark.parametrize("suite", [SUITE_163K1, SUITE_283K1])
def test_a_point_is_certified_and_only_its_maker_has_the_private_key(
    dcc: Path, tmp_path: Path, suite: Suite
) -> None:
    kept = generate_key_pair(suite, Seeds(78).stream(suite.name).getrandbits)
    path = zse_request(tmp_path / "points.txt", kept)
    document = issue(dcc, *requests(tmp_path), "--zse", path)
    (row,) = (row for row in document["zse"] if row["certificate"])
    certificate, data = (bytes.fromhex(row[key]) for key in ("certificate", "reconstruction_data"))
    ca = bytes.fromhex(row["ca_public_key"])
    assert parse_certificate(suite, certificate).subject == BRIDGE
    private = reconstruct_private_key(suite, certificate, kept.private_key, data)
    assert private_key_matches(suite, certificate, ca, private)
    assert not private_key_matches(suite, certificate, ca, data)
    Identity(suite, certificate, private, ca)  # as a stick takes it
    # the authority is the one a run with this seed has
    seeds = Seeds(1)
    of_the_run = TestAuthorities(lambda name: seeds.stream(name).getrandbits)
    assert of_the_run.by_suite[suite.bit].public_key == ca
    text = (dcc / row["file"]).read_text()
    assert "Device Private Key" not in text
    assert f"Private Key Reconstruction Data: {data.hex()}" in text


def test_two_answers_never_share_the_secret_that_would_give_the_authority_away(
    made: Path, tmp_path: Path
) -> None:
    """With one secret in two answers, anybody could solve for the authority's private key."""
    suite = SUITE_163K1
    key = bytes.fromhex((made / "zse-ca-163k1.key").read_text().split()[2])
    authority = CertificateAuthority(suite, TEST_ISSUER, key)
    secrets = []
    for number in range(2):
        dcc = Path(shutil.copytree(made, tmp_path / f"{number}"))
        kept = generate_key_pair(suite, Seeds(number).stream("maker").getrandbits)
        path = zse_request(tmp_path / "points.txt", kept)
        document = issue(dcc, "--eui64", NAME, "--zse", path)
        (row,) = (row for row in document["zse"] if row["certificate"])
        hashed = int.from_bytes(mmo_hash(bytes.fromhex(row["certificate"])), "big")
        order = suite.curve.order
        sent = int(row["reconstruction_data"], 16) - int.from_bytes(authority.private_key, "big")
        secrets.append(sent * pow(hashed, -1, order) % order)
    assert len(set(secrets)) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no point"),
        ("TEST ONLY\n# 02\n", "holds no point"),
        ("Device Public Key: 0306AB52062201D995B8B8591F3F086A3A2E214D84ZZ", "line 1"),
        ("03D48C7210DDBCC4FB2E5E7A0AA16A0DB89540820B", "not a device's public key"),
        ("CA Public Key: 0200fde8a7f3d1084224962a4e7c54e69ac3f04da6b8", "not a device's public"),
        ("Device Implicit Cert: " + 48 * "03", "not a device's public key"),
        (2 * "0306AB52062201D995B8B8591F3F086A3A2E214D845E\n", "line 2"),
        ("05" + 21 * "00", "certificate request"),
        ("02" + 21 * "FF", "certificate request"),
    ],
)
def test_a_file_of_something_else_is_refused_and_never_shown(
    dcc: Path, tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "points.txt"
    path.write_text(text)
    before = contents(dcc)
    result = pki("issue", dcc, "--eui64", NAME, "--zse", path)
    assert isinstance(result.exception, HanbenchError)
    assert sentence in str(result.exception)
    for word in text.split()[-1:]:
        assert word.lower() not in str(result.exception).lower()
    assert contents(dcc) == before


@given(
    st.dictionaries(st.sampled_from([SUITE_163K1, SUITE_283K1]), st.randoms(), min_size=1),
    st.sampled_from(["", "Device Public Key: ", "a:b: ", " "]),
)
def test_points_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, chosen: dict[Suite, Random], label: str
) -> None:
    points = {suite: random.randbytes(suite.point_octets) for suite, random in chosen.items()}
    path = tmp_path_factory.getbasetemp() / "points.txt"
    path.write_text("\n".join(label + point.hex() for point in points.values()))
    assert read_request(path) == points


@given(st.binary(max_size=200))
def test_a_hostile_file_of_points_raises_only_our_error(
    tmp_path_factory: pytest.TempPathFactory, octets: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.txt"
    path.write_bytes(octets)
    with pytest.raises(HanbenchError):
        read_request(path)


# -- taking back -------------------------------------------------------------------------------


def test_what_is_taken_back_stays_taken_back(dcc: Path) -> None:
    store: CertificateStore = load_keys(dcc)
    first, second = dcc / "90b3d51f30010000-xml-ds.pem", dcc / "90b3d51f30030000-xml-ds.pem"
    assert "is on issuing.crl" in pki("revoke", dcc, first, "--at", "2026-01-02T00:00:00Z").output
    assert "is on issuing.crl" in pki("revoke", dcc, second, "--at", "2026-01-03T00:00:00Z").output
    assert "was already on" in pki("revoke", dcc, first).output
    assert "is on root.crl" in pki("revoke", dcc, dcc / "device-issuing.pem").output
    authorities = load_authorities(dcc)
    assert authorities is not None
    issuing = next(each for each in authorities.revoked if len(each.revoked) == 2)
    assert sorted(moment.day for moment in issuing.revoked.values()) == [2, 3]
    for eui64, use, verdict in (
        (SUPPLIER_EUI64, XML, ChainVerdict.REVOKED),
        (0x90B3D51F30030000, XML, ChainVerdict.REVOKED),
        (SUPPLIER_EUI64, SIGNING, ChainVerdict.VALID),
        (0x00DB1234567890A4, SIGNING, ChainVerdict.REVOKED),
    ):
        certificate = store.certificate(eui64, use)
        assert certificate is not None
        assert authorities.judge(certificate) is verdict
    assert (dcc / "issuing.crl").stat().st_mode & 0o777 == 0o600


def test_what_no_authority_of_the_folder_can_take_back_leaves_the_lists_alone(
    dcc: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert pki("create", other, "--seed", "2").exit_code == 0
    before = contents(dcc)
    own = dcc / "90b3d51f30010000-xml-ds.pem"
    for sentence, path in (
        ("no authority of", other / own.name),
        ("no authority of", dcc / "root.pem"),
        ("is on no list", dcc / "00db1234567890a4-ds.pem"),
        ("holds no certificate in PEM", dcc / "smki.toml"),
    ):
        refused(sentence, "revoke", dcc, own, path)
        assert contents(dcc) == before


# -- other tools -------------------------------------------------------------------------------


def openssl(*words: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_openssl_believes_the_chains_and_the_lists(dcc: Path, tmp_path: Path) -> None:
    issue(dcc, *requests(tmp_path))
    user, other = dcc / "90b3d51f30010000-xml-ds.pem", dcc / "90b3d51f30030000-xml-ds.pem"
    assert pki("revoke", dcc, user, "--at", "2026-01-01T12:00:00Z").exit_code == 0
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(
        b"".join((dcc / f"{name}.pem").read_bytes()
                 for name in ("root", "issuing", "device-issuing"))
    )  # fmt: skip
    verify = ("verify", "-x509_strict", "-attime", int(NOW.timestamp()), "-CAfile", anchors)
    for use in ("ds", "ka"):
        done = openssl(*verify, dcc / f"{BRIDGE:016x}-{use}.pem")
        assert done.returncode == 0, done.stderr
    lists = ("-crl_check", "-CRLfile", dcc / "issuing.crl")
    done = openssl(*verify, *lists, other)
    assert done.returncode == 0, done.stderr
    done = openssl(*verify, *lists, user)
    assert "certificate revoked" in done.stderr


def test_a_request_of_openssls_is_granted(dcc: Path, tmp_path: Path) -> None:
    key, request = tmp_path / "device.key", tmp_path / "device.csr"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    done = openssl("req", "-new", *curve, "-subj", "/", "-keyout", key, "-out", request,
                   "-addext", "keyUsage=critical,keyAgreement")  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = issue(dcc, "--csr", request, "--eui64", NAME)
    assert certificate_of(document, AGREEMENT).eui64 == BRIDGE


def test_a_folder_that_cannot_be_written_is_named(dcc: Path, tmp_path: Path) -> None:
    (dcc / f"{BRIDGE:016x}-ka.pem").mkdir()
    refused("cannot be written", "issue", dcc, *requests(tmp_path))
    assert not (dcc / f"{BRIDGE:016x}-ds.pem").exists()
