"""Memory of `vlrlt ui` while previews are played: `python benchmarks/ui_memory.py --plays 2000 --json`.

Visitors speak Streamlit's own protocol to the real server: each opens the link of a moment after the other, fetches its
film as a browser does, and some leave and come again. Every film is of other seconds of a toy library, so that nothing
is served twice. Prints the resident memory of the server's processes after each tenth of the films.
"""

import argparse
import json
import random
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from processes import family, resident_bytes
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from ui_paint import serving
from websockets.sync.client import ClientConnection, connect

from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths
from vlrlt.service import Library
from vlrlt.toy.make import make_toy_kitchen
from vlrlt.types import Moment

VISITORS = 5
LEAVES_AFTER = 40
"""So many films later a visitor closes the page."""


def links(library_dir: Path, *, seed: int) -> Iterator[str]:
    """Of moments, hardly any twice, without end."""
    chance = random.Random(seed)  # noqa: S311
    with Library(library_dir) as service:
        clips = service.searcher().frame_runs
        moments = [clips.moment(position) for position in range(len(clips.ids_N))]
    while True:
        yield urlencode({"play": _play(chance.choice(moments), chance)})


def _play(moment: Moment, chance: random.Random) -> str:
    start_s = moment.start_s + chance.uniform(0, 1)
    return f"{moment.clip}@{start_s:.3f}-{start_s + chance.uniform(0.5, 4):.3f}"


def film_of(socket: ClientConnection, link: str) -> str | None:
    """Address of the film that the page shows; None: it shows none."""
    message = BackMsg()
    message.rerun_script.query_string = link
    socket.send(message.SerializeToString())
    film = None
    while True:
        told = ForwardMsg.FromString(socket.recv(timeout=120, decode=False))
        if told.delta.new_element.WhichOneof("type") == "video":
            film = told.delta.new_element.video.url
        if told.WhichOneof("type") == "script_finished":
            return film


def play(address: str, server: int, library_dir: Path, *, num_plays: int) -> dict[str, Any]:
    """Megabytes after each tenth of the films, and once everybody has left."""
    url = address.replace("http", "ws", 1) + "/_stcore/stream"
    sockets: list[ClientConnection | None] = [None] * VISITORS
    memory_mb, played, film_bytes = [], 0, 0
    with ExitStack() as stack:
        for number, link in zip(range(num_plays), links(library_dir, seed=0), strict=False):
            visitor = number % VISITORS
            if number // VISITORS % LEAVES_AFTER == visitor and (left := sockets[visitor]) is not None:
                left.close()
                sockets[visitor] = None
            socket = sockets[visitor] = sockets[visitor] or stack.enter_context(connect(url, max_size=None))
            film = film_of(socket, link)
            if film is not None:
                with urllib.request.urlopen(address + film, timeout=60) as answer:  # noqa: S310
                    film_bytes += len(answer.read())
                played += 1
            if (number + 1) % max(1, num_plays // 10) == 0:
                memory_mb.append(round(resident_bytes(family(server)) / 1e6))
    return {
        "played": played,
        "film_mb": round(film_bytes / 1e6),
        "memory_mb": memory_mb,
        "memory_at_the_end_mb": round(resident_bytes(family(server)) / 1e6),
    }


def main() -> None:
    """Index a toy library, serve it, play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plays", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vlrlt-ui-") as temporary:
        folder = Path(temporary)
        make_toy_kitchen(folder / "toy", num_videos=2, seed=3, num_workers=1)
        index_paths([folder / "toy"], library_dir=folder / "library", embedder=load_embedder("default"))
        with serving(folder / "library") as (address, server):
            report = play(address, server, folder / "library", num_plays=args.plays)
    print(json.dumps(report, indent=None if args.json else 2))


if __name__ == "__main__":
    main()
