"""A gRPC service on the UNIX socket. Messages are plain UTF-8, so that no code has to be generated."""

import os
import time
from concurrent import futures

import grpc


def shout(words, context):
    """Bidirectional: each word comes back at once; the trailers say how many there were."""
    context.send_initial_metadata((("x-said", "hello"),))
    count = 0
    for word in words:
        count += 1
        yield word.upper()
    context.set_trailing_metadata((("x-count", str(count)),))


def refuse(word, context):
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no {word.decode()} here")


def wait(_, context):
    """Until the caller's deadline; says on stdout that it noticed."""
    while context.is_active():
        time.sleep(0.01)
    print("the caller is gone", flush=True)
    return b""


HANDLERS = {
    "Shout": grpc.stream_stream_rpc_method_handler(shout),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("mayfly.example.Words", HANDLERS),))
server.add_insecure_port("unix:" + os.environ["MAYFLY_SOCKET"])
server.start()
server.wait_for_termination()
