"""Talks to a WebSocket echo through the platform with the library that everybody uses."""

import asyncio
import sys

import websockets


async def main(url, plain):
    async with websockets.connect(url, subprotocols=["chat"]) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        for message in ["one", b"\x00\x01", "x" * 500_000]:
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping())
    print("echoed, closed", socket.close_code)
    assert socket.close_code == 1000
    # Refused by the function itself.
    try:
        await websockets.connect(plain)
    except websockets.InvalidStatus as error:
        print("refused", error.response.status_code)
    else:
        raise AssertionError("a plain server took a WebSocket")


asyncio.run(main(sys.argv[1], sys.argv[2]))
