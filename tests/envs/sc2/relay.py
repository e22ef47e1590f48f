"""The clients' side of the wire, in a process of its own, where protobuf can run in its Python mode.

Reads one JSON object a line, with the client's "name" and one of {"open": url}, {"close": true},
{"vanish": true}, {"hex": bytes, "text": bool}, {"request": request as JSON}. Answers with the response as
JSON, or {"closed": code} when the connection has ended.
"""

import json
import os
import socket
import sys
from typing import Any

os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"

from google.protobuf import json_format
from s2clientprotocol import sc2api_pb2
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


def exchange(connection: ClientConnection, order: dict[str, Any]) -> Any:
    if "request" in order:
        request = json_format.ParseDict(order["request"], sc2api_pb2.Request())
        # As pysc2 does it: protobuf bytes, which are no UTF-8, in a text frame.
        connection.send(request.SerializeToString(), text=True)
    else:
        connection.send(bytes.fromhex(order["hex"]) * order.get("times", 1), text=order["text"])
    response = sc2api_pb2.Response.FromString(connection.recv())
    return json_format.MessageToDict(response, preserving_proto_field_name=True)


def main() -> None:
    connections: dict[str, ClientConnection] = {}
    for line in sys.stdin:
        order = json.loads(line)
        name = order["name"]
        answer: Any = {}
        try:
            if "open" in order:
                connections[name] = connect(order["open"], compression=None, max_size=None, close_timeout=2)
            elif "close" in order:
                connections.pop(name).close()
            elif "vanish" in order:
                connections[name].socket.shutdown(socket.SHUT_RDWR)
            else:
                answer = exchange(connections[name], order)
        except ConnectionClosed as closed:
            answer = {"closed": closed.rcvd.code if closed.rcvd else None}
        print(json.dumps(answer), flush=True)


main()
