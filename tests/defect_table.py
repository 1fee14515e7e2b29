"""Which conformance test finds each defect of the foreign client, and which requirements it names.

`tests/matrix/test_foreign_verify.py` shows each row; docs/conformance.md is made of it.
"""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """The test that a defect fails, and the requirements that fail with it."""

    test: str
    requirements: tuple[str, ...]
    personality: str = "ember"


_DEPLOYED = Finding("test_an_image_is_deployed", ("MP170-R2",))
_CONFIRMED = Finding(
    "test_the_activation_is_confirmed", ("MP170-R6", "MP170-N39", "MP170-REPORTING")
)
_TOLD = Finding("test_every_interface_tells_the_version", ("MP170-R5", "MP170-R7"))
_ANSWERED = Finding("test_only_what_holds_is_answered", ("MP170-R7", "CPL-MISMATCH"))


def _bad_image(test: str) -> Finding:
    return Finding(test, ("MP170-R1",))


def _manners(test: str, *requirements: str, personality: str = "ember") -> Finding:
    return Finding(test, requirements or ("MP170-R10",), personality)


FINDINGS = {
    "wrong-manufacturer-in-query": _DEPLOYED,
    "never-downloads": _DEPLOYED,
    "takes-foreign-image": _bad_image("test_a_foreign_image_is_not_loaded"),
    "takes-older-image": _bad_image("test_an_older_image_is_not_loaded"),
    "takes-large-image": Finding("test_a_large_image_is_not_loaded", ("MP170-SIZE",)),
    "upgrade-end-without-image": _DEPLOYED,
    "oversize-block-request": _DEPLOYED,
    "wrong-offset-accepted": _manners("test_a_wrong_block_is_not_taken", "MP170-R2"),
    "resumes-at-zero": _manners("test_a_transfer_is_resumed"),
    "restarts-on-notify": _manners("test_a_notify_begins_nothing_anew"),
    "ignores-wait-for-data": _manners("test_wait_for_data_is_kept"),
    "ignores-block-period": _manners("test_the_block_period_is_kept", personality="ti"),
    "spins-on-abort": _manners("test_abort_ends_the_transfer", "MP170-R10", "MP170-SLOT"),
    "unprotected-requests": _DEPLOYED,
    "takes-unprotected-notify": _bad_image("test_an_unprotected_notify_is_not_heeded"),
    "skips-last-block": _DEPLOYED,
    "never-ends-upgrade": _DEPLOYED,
    "activates-before-verification": _bad_image("test_a_damaged_image_is_not_activated"),
    "never-activates": _DEPLOYED,
    "forgets-version-on-restart": _TOLD,
    "no-alert": _CONFIRMED,
    "alert-before-upgrade-end": _CONFIRMED,
    "alert-twice": _CONFIRMED,
    "alert-bad-signature": _CONFIRMED,
    "alert-wrong-version": _CONFIRMED,
    "alert-result-inverted": _CONFIRMED,
    "counter-goes-back": Finding("test_the_next_update_is_confirmed_too", ("MP170-R6", "MP170-R5")),
    "replays-alert": Finding("test_a_restart_repeats_no_alert", ("MP170-R6",)),
    "wrong-version-in-cs08": _ANSWERED,
    "answers-cs08-with-bad-mac": _ANSWERED,
    "answers-with-another-counter": _ANSWERED,
    "accepts-forged-cs08": _ANSWERED,
    "accepts-replayed-cs08": _ANSWERED,
    "sends-broken-frames": _manners("test_with_nothing_to_do_it_is_quiet"),
    "asks-for-absurd-blocks": _DEPLOYED,
    "abuses-tunnel": _manners("test_with_nothing_to_do_it_is_quiet"),
    "sends-broken-gbcs": _CONFIRMED,
    "floods-queries": _manners("test_with_nothing_to_do_it_is_quiet"),
    "babbles-beside": _manners("test_with_nothing_to_do_it_is_quiet"),
}

DEVICE_MODULES = ("test_update", "test_bad_images", "test_manners", "test_commands")
"""Suites whose every requirement a device alone can break."""
