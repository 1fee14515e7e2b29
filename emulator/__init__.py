"""Whatever can stand in for hardware: the air, the ZigBee stack, EZSP sticks, devices."""
