"""How GBCS and the WAN call the types of the inventory.

Source: GBCS device types; a Type 2 device is an IHD or a CAD.
"""

from __future__ import annotations

from dsp_stub.smi import DeviceType
from gbcs import wan

WAN_TYPES = {
    DeviceType.GSME: wan.DeviceType.GSME,
    DeviceType.ESME: wan.DeviceType.ESME,
    DeviceType.CHF: wan.DeviceType.CHF,
    DeviceType.GPF: wan.DeviceType.GPF,
    DeviceType.HCALCS: wan.DeviceType.HCALCS,
    DeviceType.PPMID: wan.DeviceType.PPMID,
    DeviceType.IHD: wan.DeviceType.TYPE_2,
    DeviceType.CAD: wan.DeviceType.TYPE_2,
}
