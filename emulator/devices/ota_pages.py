"""The page a hub is sending: block after block without being asked for each.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade), Image Page Request: blocks at
least `response_spacing` apart, each an Image Block Response with the request's sequence number.
That a hub sends one page at a time, and not closer than 10 ms, is after the Ember server.
"""

from __future__ import annotations

from emulator.zigbee.ota import ImageBlockRequest, ImagePageRequest

MIN_SPACING_S = 0.010


class PageUnderWay:
    """One page to one device, until it is sent, or somebody else's turn."""

    __slots__ = ("_end", "_request", "_spacing_s", "due_s", "eui64", "tsn")

    def __init__(
        self, eui64: int, tsn: int, request: ImagePageRequest, size_bytes: int, now: float
    ) -> None:
        self.eui64 = eui64
        self.tsn = tsn
        self.due_s = now
        self._request = request
        self._spacing_s = max(request.response_spacing_ms / 1000, MIN_SPACING_S)
        self._end = min(request.file_offset + request.page_size, size_bytes)

    @property
    def is_sent(self) -> bool:
        return self._request.file_offset >= self._end

    @property
    def left_s(self) -> float:
        """How long it takes until all of it is sent, at the least."""
        blocks = -(-(self._end - self._request.file_offset) // self._request.maximum_data_size)
        return blocks * self._spacing_s

    def block_request(self) -> ImageBlockRequest:
        """The request that would ask for the block now due."""
        request = self._request
        left = self._end - request.file_offset
        most = min(request.maximum_data_size, left)
        return ImageBlockRequest(*request[:4], most, request.request_node_address)

    def sent(self, octets: int) -> None:
        """The next block is due when this one had time."""
        self._request = self._request._replace(file_offset=self._request.file_offset + octets)
        self.due_s += self._spacing_s
