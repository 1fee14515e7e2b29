"""Firmware files with one thing wrong, or one thing odd: 46 kinds of damage, by name.

Source: the sheet "Malformed or hostile images" of this bench, one kind a row, in its order; the
layout is that of the ZigBee Cluster Library, "OTA File Format". What must become of each at the
head end, in a hub and in a device is a table in the tests.

A kind is a pure function from a file to another; where chance has a part, it comes from the
`random_bits` of the caller, so the same seed gives the same file. Some kinds have variants: the
first is meant where none is named. The file must be one that reads, with a body. A kind that
changes what the maker made (a header field, the body's size) leaves the built-in maker's trailer at
the end of the file, its signature no longer fitting: `sign_again` makes it fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from firmware_images import element_mutations as elements
from firmware_images import mutations
from firmware_images.errors import ImageValueError
from firmware_images.image import FirmwareImage, read_image
from firmware_images.mutations import Undamaged
from firmware_images.samples import RandomBits

Mutate = Callable[[Undamaged], bytes]


@dataclass(frozen=True, slots=True)
class Damage:
    """One kind: its row in the sheet, its name, one line of what it is, and its variants."""

    number: int
    name: str
    what: str
    variants: Mapping[str, Mutate]

    @property
    def default_variant(self) -> str:
        return next(iter(self.variants))


def _kinds(*rows: tuple[str, str, Mutate | dict[str, Mutate]]) -> dict[str, Damage]:
    return {
        name: Damage(number, name, what, made if isinstance(made, dict) else {"plain": made})
        for number, (name, what, made) in enumerate(rows, 1)
    }


DAMAGES = _kinds(
    ("empty", "no octets at all, or one less than a header has", mutations.EMPTY),
    ("magic", "file identifier with its octets reversed", mutations.magic),
    ("header-version", "the Thread variant, an unknown minor, FFFF", mutations.HEADER_VERSION),
    ("header-length-short", "header length below 56", mutations.HEADER_LENGTH_SHORT),
    ("header-length-fields", "header length 56 with optional fields", mutations.length_for_fields),
    ("header-length-extra", "13 unknown header octets, no optional field", mutations.extra_octets),
    ("header-length-beyond", "header length past the end of the file", mutations.LENGTH_BEYOND),
    ("field-control-reserved", "a reserved bit of field control is set", mutations.reserved_bit),
    ("size-less", "one octet behind what total image size says", mutations.trailing_octet),
    ("size-more", "total image size is one more than there is", mutations.missing_octet),
    ("size-zero", "total image size 0", mutations.size_zero),
    ("size-huge", "total image size FFFFFFFF", mutations.size_huge),
    ("size-without-header", "total image size leaves the header out", mutations.size_of_body),
    ("size-cap", "exactly 750 KB in either reading, or one octet over", mutations.SIZE_CAP),
    ("manufacturer-code", "header of another manufacturer", mutations.manufacturer_code),
    ("image-type", "header of another image type", mutations.image_type),
    ("file-version", "header of another version than is told", mutations.file_version),
    ("version-running", "the version that the device runs", mutations.version_running),
    ("version-older", "a version older than the device runs", mutations.version_older),
    ("version-wildcard", "a version that is none", mutations.VERSION_WILDCARD),
    ("hardware-inverted", "minimum hardware version above the maximum", mutations.inverted),
    ("hardware-excluded", "a hardware range without the device", mutations.excluded),
    ("hardware-bounds", "the device's hardware is a bound of the range", mutations.BOUNDS),
    ("destination", "a file for one other device", mutations.destination),
    ("credential-version", "security credential version 4", mutations.credential_version),
    ("element-past-end", "a sub-element longer than the file", elements.element_past_end),
    ("element-empty", "an upgrade image of length 0", elements.element_empty),
    ("element-twice", "two upgrade images", elements.element_twice),
    (
        "element-reserved",
        "a reserved tag before the upgrade image",
        elements.element_reserved,
    ),
    (
        "element-manufacturer",
        "a maker's tag beside the image",
        elements.element_manufacturer,
    ),
    ("element-many", "seven sub-elements", elements.element_many),
    (
        "element-trailing",
        "part of a sub-element's head at the end",
        elements.ELEMENT_TRAILING,
    ),
    (
        "signature-missing",
        "no signature where one is required",
        elements.SIGNATURE_MISSING,
    ),
    ("signature-not-last", "octets behind the signature", elements.SIGNATURE_NOT_LAST),
    ("signature-both", "signatures of both suites", elements.signature_both),
    ("signature-foreign", "signed by somebody else", elements.SIGNATURE_FOREIGN),
    ("flipped-bit", "one bit of the body", mutations.FLIPPED_BIT),
    ("erased-body", "a body as erased flash reads", mutations.ERASED_BODY),
    ("header-string", "a header string that is no text", mutations.header_string),
    ("tail", "a size that makes the last block a special one", mutations.TAIL),
    ("beyond-64-kib", "a size at, or past, 65 536 octets", mutations.BEYOND_64_KIB),
    ("container", "a vendor's container in front", mutations.container),
    ("newcomer", "another good file, to take the place of this one", mutations.NEWCOMER),
    ("cut-short", "the first half, as an interrupted store leaves it", mutations.first_half),
    ("meter-authorisation", "a meter's 00 40 and 64 octets at the end", mutations.authorisation),
    ("other-body", "another body of the same length", mutations.other_body),
)
DAMAGE_NAMES = tuple(DAMAGES)


def find_damage(name: str) -> Damage:
    """The kind of this name. Raises ImageValueError with those there are."""
    try:
        return DAMAGES[name]
    except KeyError:
        raise ImageValueError(
            f"no damage is called {name!r}; there are {', '.join(DAMAGE_NAMES)}"
        ) from None


def damage_image(
    data: bytes,
    name: str,
    variant: str | None = None,
    *,
    random_bits: RandomBits,
    running: int | None = None,
) -> bytes:
    """The file `data` with this damage.

    `running` is the version the device runs, which two kinds are about. Raises ImageError when
    `data` is no image, ImageValueError for a kind, a variant or a file that does not go together.
    """
    kind = find_damage(name)
    mutate = kind.variants.get(kind.default_variant if variant is None else variant)
    if mutate is None:
        raise ImageValueError(
            f"damage {name} has no variant {variant!r}; there are {', '.join(kind.variants)}"
        )
    image: FirmwareImage = read_image(data)
    if not len(image.body):
        raise ImageValueError("the file has no body to damage")
    return mutate(Undamaged(image, random_bits, running))
