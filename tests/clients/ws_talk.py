"""A WebSocket that stays open: each line of stdin is an order, each line of stdout its answer."""

import asyncio
import sys

import websockets


async def main(url):
    socket = await websockets.connect(url, ping_interval=None)
    loop = asyncio.get_running_loop()
    while order := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        verb, _, word = order.partition(" ")
        try:
            if verb == "say":
                await socket.send(word)
                print(await asyncio.wait_for(socket.recv(), 20), flush=True)
            elif verb == "close":
                await socket.close()
                print("closed", socket.close_code, flush=True)
            elif verb == "end":
                await asyncio.wait_for(socket.wait_closed(), 60)
                print("ended", socket.close_code, flush=True)
        except Exception as error:
            print("failed", repr(error), flush=True)


asyncio.run(main(sys.argv[1]))
