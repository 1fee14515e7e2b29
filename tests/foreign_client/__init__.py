"""A device under test that is not ours: a PPMID or Alt HAN bridge on bellows' EZSP class.

It shares no code with the bench: its ZCL, OTA client, tunnel and GBCS are written a second time,
from the specifications alone, so that a mistake the bench makes on both of its own sides shows.
README.md says how to start it and what can be wrong with it.
"""
