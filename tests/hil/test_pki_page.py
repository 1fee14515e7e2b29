"""docs/pki.md does what it says: its examples are run as they stand, in their order."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bench_support import REPOSITORY
from click.testing import CliRunner

from dsp_stub import xml_signature
from dsp_stub.requests import NON_DEVICE_PATH, ReadInventory, Request, RequestId, build_request
from emulator.zigbee.cbke.ecqv import private_key_matches, reconstruct_private_key
from emulator.zigbee.cbke.suites import SUITE_283K1
from gbcs.certificates import CertificateStore
from gbcs.endpoint import DeviceKeys, Endpoint, EndpointState, TrustCells
from gbcs.firmware import ActivateImageResult, FirmwareActivation, build_firmware_activation
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64
from hil.cli import cli
from hil.key_folder import load_keys, read_private_key

DOCUMENT = (REPOSITORY / "docs" / "pki.md").read_text()
BRIDGE, USER = 0x00DB1234567890B1, 0x90B3D51F30050000
# The private half of the point on the page, from the same worked example.
KEPT = bytes.fromhex("0151CD0DBCB80474BF7AC9FEEBE39C7A32A63518938FCA9754AAE132BC9C73BE94A7E1BE")


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return found


def run(line: str) -> str:
    """One line of an example; our own command without a process for each."""
    program, *words = shlex.split(line)
    if program == "hanbench":
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0, (line, result.exception, result.output)
        return result.output
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


def alert_of_the_bridge() -> bytes:
    """What the bridge of the page sends, with the key openssl made for it."""
    anchors = load_keys(Path("for-the-bridge"))
    acb = [
        anchors.certificate(ACB_EUI64, use)
        for use in (KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT)
    ]
    assert acb[0] is not None
    assert acb[1] is not None
    keys = DeviceKeys(
        *(read_private_key(Path(f"bridge-{use}.key").read_bytes()) for use in ("ds", "ka"))
    )
    bridge = Endpoint(BRIDGE, keys, TrustCells(*acb), EndpointState(0), ())
    now = datetime(2026, 1, 2, tzinfo=UTC)
    activation = FirmwareActivation(now, 0x00010200, ActivateImageResult.ACTIVATION_SUCCESS)
    return bridge.alert(0x012B, build_firmware_activation(activation))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What every line of the examples printed; the current folder is theirs from here on."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("page")
    printed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "points.txt").write_text(blocks("text")[0])
        for block in blocks("sh"):
            for line in block.splitlines():
                if "alert.hex" in line:
                    (folder / "alert.hex").write_text(alert_of_the_bridge().hex())
                printed[line] = run(line)
    return printed | {"": str(folder)}


def said(page: dict[str, str], words: str) -> str:
    (line,) = (line for line in page if words in line)
    return page[line]


def test_the_alert_of_the_device_is_verified_with_the_folder(page: dict[str, str]) -> None:
    assert "signature: valid" in said(page, "frame decode")


def test_the_table_of_the_bundle_is_the_bundle(page: dict[str, str]) -> None:
    bundle = json.loads((Path(page[""]) / "for-the-bridge" / "bundle.json").read_text())
    named = re.findall(r"^\| `(\w+)` \| ", DOCUMENT, re.MULTILINE)
    assert [name for name in named if name in bundle] == [
        "certificates", "trust_anchors", "authorities", "zse",
    ]  # fmt: skip
    assert len(bundle["trust_anchors"]) == 4


def test_the_device_makes_its_private_key_of_the_answer(page: dict[str, str]) -> None:
    text = (Path(page[""]) / "dcc" / f"{BRIDGE:016x}-zse-283k1.txt").read_text()
    parts = dict(re.findall(r"^(.+): ([0-9a-f]+)$", text, re.MULTILINE))
    certificate, data, ca = (
        bytes.fromhex(parts[label])
        for label in ("Device Implicit Cert", "Private Key Reconstruction Data", "CA Public Key")
    )
    private = reconstruct_private_key(SUITE_283K1, certificate, KEPT, data)
    assert private_key_matches(SUITE_283K1, certificate, ca, private)


def test_every_file_of_the_folder_is_in_its_table(page: dict[str, str]) -> None:
    forms = (
        r"[0-9a-f]{16}-(ds|ka|pp-ka|xml-ds)\.(pem|key)",
        r"(root|issuing|device-issuing)\.(pem|key)|(root|issuing)\.crl",
        r"zse-ca-(163k1|283k1)\.(pub|key)",
        r"[0-9a-f]{16}-zse-(163k1|283k1)\.txt",
        r"smki\.toml|TEST-ONLY\.txt",
    )
    names = sorted(path.name for path in (Path(page[""]) / "dcc").iterdir())
    assert not [name for name in names if not re.fullmatch("|".join(forms), name)]


def test_a_served_dsp_refuses_what_the_page_took_back(page: dict[str, str], tmp_path: Path) -> None:
    """The command itself: the lists lie in the folder it is started on."""
    shutil.copytree(Path(page[""]) / "dcc", tmp_path / "pki")
    users = "".join(
        f'[[user]]\neui64 = "{eui64:016X}"\nrole = "IS"\n' for eui64 in (USER, 0x90B3D51F30010000)
    )
    options = "[options]\ncheck_certificate_times = false\n"
    (tmp_path / "dsp.toml").write_text(users + options)
    command = [sys.executable, "-u", "-m", "hil.cli", "dsp", "--listen", "127.0.0.1:0"]
    served = subprocess.Popen(
        [*command, "--data", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert served.stdout is not None
        found = re.search(r"http://[0-9.:]+", served.stdout.readline())
        assert found is not None
        keys = load_keys(tmp_path / "pki")
        assert "E40" in ask(found[0], keys, USER)
        assert "E080201" in ask(found[0], keys, 0x90B3D51F30010000)
    finally:
        served.send_signal(signal.SIGTERM)
        served.communicate(timeout=30)


def ask(url: str, keys: CertificateStore, user: int) -> str:
    certificate = keys.certificate(user, KeyUse.XML_SIGNATURE)
    key = keys.private_key(user, KeyUse.XML_SIGNATURE)
    assert certificate is not None
    assert key is not None
    request = Request(RequestId(user, ACB_EUI64, 1), 8, "8.2", "8.2", ReadInventory(device_id=1))
    octets = xml_signature.sign(build_request(request), key, certificate)
    headers = {"Content-Type": "application/xml"}
    post = urllib.request.Request(url + NON_DEVICE_PATH, octets, headers)
    with urllib.request.urlopen(post, timeout=30) as answer:
        text: str = answer.read().decode()
    return text
