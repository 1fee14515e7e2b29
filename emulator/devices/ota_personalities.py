"""How the OTA clients of the makers behave, as data for the one client there is here.

Source: public sources and manuals of the stacks: Ember (EmberZNet) ota-client, TI Z-Stack zcl_ota,
NXP JN516x/K32 OTA, Digi XBee, Telink. What they leave open is that of the Ember client, whose
values are the defaults of `OtaClientParameters`.
"""

from __future__ import annotations

from emulator.devices.ota_rules import OtaClientParameters

# Ember clients ask for 63 octets, and take what a hub has room for.
EMBER = OtaClientParameters(max_data_size=63)

# Every request says the period; a query that finds an image starts it at offset 0.
TI = OtaClientParameters(
    max_data_size=32,
    block_timeout_s=5.0,
    retry_backoff_s=0.0,
    announce_block_period=True,
    max_end_requests=2,
    resume=False,
)
# The release that took the unit of the period for a second.
TI_SECONDS = OtaClientParameters(
    max_data_size=32,
    block_timeout_s=5.0,
    retry_backoff_s=0.0,
    announce_block_period=True,
    block_period_unit_s=1.0,
    max_end_requests=2,
    resume=False,
    cluster_revision=2,
)

# Blocks are a multiple of what flash is written in; the longest pause is 5 s.
NXP = OtaClientParameters(
    max_data_size=48,
    block_timeout_s=5.0,
    retry_backoff_s=5.0,
    announce_block_period=True,
    block_period_unit_s=1.0,
    max_block_period=5,
    cluster_revision=2,
)
# As delivered: a pause of 10 to 20 s before every block, 240 tries.
NXP_PRODUCTION = OtaClientParameters(
    max_data_size=48,
    block_timeout_s=5.0,
    retry_backoff_s=5.0,
    max_errors=240,
    announce_block_period=True,
    block_period_unit_s=1.0,
    max_block_period=5,
    pace_minimum_s=10.0,
    pace_maximum_s=20.0,
    cluster_revision=2,
)

# WAIT_FOR_DATA is no answer to it; erasing a sector takes long enough to be late.
XBEE = OtaClientParameters(max_data_size=48, honours_wait=False, erase_s=0.4, max_errors=30)

# Decrypts in place, 16 octets at a time.
TELINK = OtaClientParameters(max_data_size=48, verify_s=31.0, announce_eui64=True)

# An Ember client that loads pages where the server serves them.
EMBER_PAGES = OtaClientParameters(max_data_size=48, page_bytes=1024)

# On a battery, in flash that is slow to erase; its parent keeps an answer for 7.68 s.
SLEEPY = OtaClientParameters(
    max_data_size=40,
    block_timeout_s=8.0,
    erase_s=0.1,
    spares_battery=True,
    query_interval_s=1800.0,
)

PERSONALITIES = {
    "ember": EMBER,
    "ti": TI,
    "ti-seconds": TI_SECONDS,
    "nxp": NXP,
    "nxp-production": NXP_PRODUCTION,
    "xbee": XBEE,
    "telink": TELINK,
    "ember-pages": EMBER_PAGES,
    "sleepy": SLEEPY,
}
