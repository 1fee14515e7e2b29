"""What can be wrong with this device, one at a time: a name for `--defect`, and what shows it."""

DEFECTS = {
    # what it loads
    "wrong-manufacturer-in-query": "its queries have another manufacturer's code",
    "never-downloads": "a query is answered with an image, and no block is ever asked for",
    "takes-foreign-image": "it loads what is offered for another image type",
    "takes-older-image": "it loads a version below the one it runs",
    "takes-large-image": "it loads a file of more than 750 KB",
    "upgrade-end-without-image": "it ends the upgrade with SUCCESS before it has loaded a block",
    # how it loads
    "oversize-block-request": "it asks for 255 octets at a time",
    "wrong-offset-accepted": "a block of another offset is appended where it is",
    "resumes-at-zero": "after a power cut it queries anew and begins at offset 0",
    "restarts-on-notify": "an Image Notify in mid-transfer sends it back to offset 0",
    "ignores-wait-for-data": "told to wait, it asks again at once",
    "ignores-block-period": "the block period it is given changes nothing",
    "spins-on-abort": "told ABORT, it asks for the same block again and again",
    "unprotected-requests": "its OTA commands are not under the link key",
    "takes-unprotected-notify": "a unicast Image Notify that is not under the link key counts",
    # how it ends
    "skips-last-block": "it ends the upgrade with SUCCESS a block early",
    "never-ends-upgrade": "the last block is loaded, and no Upgrade End follows",
    "activates-before-verification": "a file with the wrong hash is ended with SUCCESS",
    "never-activates": "Upgrade End is answered, and it goes on running the old image",
    "forgets-version-on-restart": "after the restart it says it runs what it left the factory with",
    # what it says of it
    "no-alert": "the new image runs, and no 0x8F8B comes",
    "alert-before-upgrade-end": "0x8F8B comes before the upgrade has ended",
    "alert-twice": "0x8F8B comes twice, each with a counter and a signature of its own",
    "alert-bad-signature": "the signature of 0x8F8B does not hold",
    "alert-wrong-version": "0x8F8B names another version",
    "alert-result-inverted": "0x8F8B calls a success a failure",
    "counter-goes-back": "after a restart its counter begins at 1",
    "replays-alert": "after every restart it sends the last 0x8F8B again, octet for octet",
    # what it answers
    "wrong-version-in-cs08": "the response to CS08 has another version",
    "answers-cs08-with-bad-mac": "the MAC of the response to CS08 does not hold",
    "answers-with-another-counter": "the response to CS08 has not the counter of the command",
    "accepts-forged-cs08": "a CS08 whose MAC does not hold is answered",
    "accepts-replayed-cs08": "a CS08 that has been answered is answered again",
    # what it says beside all that
    "sends-broken-frames": "ZCL that is cut short, of no command, or a server's",
    "asks-for-absurd-blocks": "offsets behind the end, none or 255 octets, another image",
    "abuses-tunnel": "data for tunnels nobody opened, oversized, cut short, or not asked for",
    "sends-broken-gbcs": "no frame, half an alert, one of somebody else, in its open tunnel",
    "floods-queries": "queries for an image, one behind the other",
    "babbles-beside": "other profiles, clusters and endpoints, ZDO nonsense, announcements",
}
