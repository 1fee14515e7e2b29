"""What becomes of each kind of damaged image at the head end, in a hub and in a device.

Source: the sheet "Malformed or hostile images" of this bench (46 rows by 3 places). The table is
kept by hand; the tests beside it observe each cell by running the part.

    DSP      the response code of an 11.4 over HTTP. A file its maker would have made so is on the
             CPL with its own hash; one that was damaged later is not.
    hub      "offered", "mismatch" (CCS08 result 2, not stored), "refused" (not stored), "discards"
             (offered, and the image it displaced ends with CCS08 result 1)
    device   served as it is by a hub that looked at nothing: "activated", "invalid" (Upgrade End
             INVALID_IMAGE, after blocks), "not loaded" (refused before the first block), "abort"
             (Upgrade End ABORT), "aborted" (the hub said so), "waits"
"""

from __future__ import annotations

import random
from typing import NamedTuple

from firmware_images.damage import DAMAGES, damage_image
from firmware_images.image import FirmwareImage
from firmware_images.samples import identity, maker_key, seeded_image, sign_again, split_trailer

RUNNING, NEW = 0x00010150, 0x00010200
MAKER_KEY = maker_key(random.Random("maker").getrandbits)

BAD_IMAGE, BAD_HASH, TOO_LARGE = "E110402", "E110401", "E110405"
NO_DEVICE, TAKEN = "E110403", "I99"


class Fate(NamedTuple):
    dsp: str
    hub: str
    device: str


UNREADABLE = Fate(BAD_IMAGE, "refused", "invalid")
GOOD = Fate(TAKEN, "offered", "activated")
# Nobody looks at the body on the way; the device sees that its maker did not sign the file.
OPAQUE = Fate(TAKEN, "offered", "invalid")
ALTERED = Fate(BAD_HASH, "refused", "invalid")

# By kind, or by kind and variant where variants differ.
FATES: dict[str | tuple[str, str], Fate] = {
    ("empty", "none"): Fate(BAD_IMAGE, "refused", "not loaded"),
    ("empty", "one-short"): UNREADABLE,
    "magic": UNREADABLE,
    "header-version": UNREADABLE,
    "header-length-short": UNREADABLE,
    "header-length-fields": UNREADABLE,
    "header-length-extra": GOOD,
    "header-length-beyond": UNREADABLE,
    "field-control-reserved": GOOD,
    "size-less": Fate(BAD_IMAGE, "refused", "activated"),  # ends where the header says
    "size-more": Fate(BAD_IMAGE, "refused", "abort"),
    "size-zero": Fate(BAD_IMAGE, "refused", "not loaded"),
    "size-huge": Fate(BAD_IMAGE, "refused", "not loaded"),
    "size-without-header": UNREADABLE,
    "size-cap": GOOD,
    ("size-cap", "over"): Fate(TOO_LARGE, "refused", "not loaded"),
    "manufacturer-code": Fate(BAD_HASH, "mismatch", "invalid"),
    # The CPL names no image type, and its hash is that of what follows the header.
    "image-type": Fate(TAKEN, "mismatch", "invalid"),
    "file-version": Fate(BAD_IMAGE, "offered", "invalid"),
    "version-running": Fate(TAKEN, "offered", "not loaded"),
    "version-older": Fate(TAKEN, "offered", "not loaded"),
    "version-wildcard": Fate(BAD_IMAGE, "refused", "not loaded"),
    "hardware-inverted": UNREADABLE,
    "hardware-excluded": Fate(NO_DEVICE, "mismatch", "invalid"),
    "hardware-bounds": GOOD,
    "destination": Fate(TAKEN, "mismatch", "invalid"),
    "credential-version": UNREADABLE,
    "element-past-end": OPAQUE,
    "element-empty": OPAQUE,
    "element-twice": OPAQUE,
    "element-reserved": OPAQUE,
    "element-manufacturer": OPAQUE,
    "element-many": OPAQUE,
    "element-trailing": OPAQUE,
    "signature-missing": OPAQUE,
    "signature-not-last": OPAQUE,
    "signature-both": OPAQUE,
    "signature-foreign": OPAQUE,
    "flipped-bit": ALTERED,
    "erased-body": GOOD,
    "header-string": GOOD,
    "tail": GOOD,
    ("tail", "small"): OPAQUE,  # no room for a signature
    "beyond-64-kib": GOOD,
    "container": UNREADABLE,
    "newcomer": Fate(TAKEN, "discards", "aborted"),
    ("newcomer", "other-type"): Fate(TAKEN, "mismatch", "aborted"),
    "cut-short": Fate(BAD_IMAGE, "refused", "waits"),
    "meter-authorisation": OPAQUE,
    "other-body": ALTERED,
}
CASES = [(kind.name, variant) for kind in DAMAGES.values() for variant in kind.variants]

# Damaged after the maker signed the file and the CPL named it.
IN_TRANSIT = {"flipped-bit", "other-body", "manufacturer-code", "image-type"}
# Signed by the maker, who made them so.
BY_THE_MAKER = {
    "header-length-extra",
    "field-control-reserved",
    "size-cap",
    "file-version",
    "version-running",
    "version-older",
    "version-wildcard",
    "hardware-inverted",
    "hardware-excluded",
    "hardware-bounds",
    "destination",
    "credential-version",
    "erased-body",
    "header-string",
    "tail",
    "beyond-64-kib",
    "newcomer",
}


def fate(name: str, variant: str) -> Fate:
    return FATES.get((name, variant)) or FATES[name]


def original(version: int = NEW) -> FirmwareImage:
    return seeded_image(
        identity("ppmid"),
        file_version=version,
        size_bytes=2048,
        random_bits=random.Random("image").getrandbits,
        maker_key=MAKER_KEY,
    )


def damaged(name: str, variant: str, image: FirmwareImage | None = None) -> bytes:
    data = damage_image(
        (image or original()).data,
        name,
        variant,
        random_bits=random.Random(f"{name} {variant}").getrandbits,
        running=RUNNING,
    )
    if name in BY_THE_MAKER and split_trailer(data) is not None:
        return sign_again(data, MAKER_KEY)
    return data
