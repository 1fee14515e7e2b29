"""What the DCC says to a hub and to devices: GBCS frames, crypto, SMKI, WAN messages."""
