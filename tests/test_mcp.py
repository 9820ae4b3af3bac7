"""The tools that assistants get, through the SDK's own client, over a real process's stdin and stdout."""

import base64
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from colour import write_colours
from PIL import Image

from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths

mcp = pytest.importorskip("mcp", reason="needs the extra mcp")


def test_an_assistant_searches_asks_and_looks(tmp_path: Path) -> None:
    write_colours(tmp_path / "archive" / "a.mp4", [("red", 4)])
    index_paths([tmp_path / "archive"], library_dir=tmp_path / "library", embedder=load_embedder())
    command = ["-m", "vlrlt", "mcp", "--library", str(tmp_path / "library")]
    process = mcp.StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
    answers: dict[str, Any] = {}

    async def use() -> None:
        async with mcp.Client(process, read_timeout_seconds=120) as client:
            answers["tools"] = await client.list_tools()
            answers["found"] = await client.call_tool("search", {"query": "open fridge", "k": 1})
            answers["asked"] = await client.call_tool("ask", {"question": "Is there a flying elephant?"})
            with_clip = {"clip": answers_clip()}
            answers["picture"] = await client.call_tool("preview", with_clip)
            kept = {"collection": "best", "tags": ["fire"], "rating": 5, "start_s": 1, "end_s": 2}
            await client.call_tool("keep", with_clip | kept)
            answers["kept"] = await client.call_tool("collection", {"name": "best"})
            answers["names"] = await client.call_tool("collection", {})
            answers["wrong"] = await client.call_tool("preview", {"clip": "../../etc/passwd"})
            answers["many"] = await client.call_tool("search", {"query": "x", "k": 1000})

    def answers_clip() -> str:
        from vlrlt.index.library.catalog import Catalog

        with Catalog.open_reader(tmp_path / "library") as catalog:
            return f"{int(catalog.snapshot().frame_runs.ids_N[0]):016x}"

    anyio.run(use)
    assert [tool.name for tool in answers["tools"].tools] == [
        "search",
        "ask",
        "transcript",
        "keep",
        "collection",
        "preview",
    ]
    found = json.loads(answers["found"].content[0].text)
    assert (found["query"], found["model"], found["searched"]["vectors"]) == ("open fridge", "default", 1)
    assert json.loads(answers["asked"].content[0].text)["found"] is False
    ((hit,),) = (json.loads(answers["kept"].content[0].text)["hits"],)
    assert (hit["start_s"], hit["end_s"], hit["tags"], hit["rating"]) == (1, 2, ["fire"], 5)
    assert json.loads(answers["names"].content[0].text) == {"collections": {"best": 1}}
    (content,) = answers["picture"].content
    picture = Image.open(io.BytesIO(base64.b64decode(content.data))).convert("RGB")
    red, green, _ = picture.getpixel((5, 5))  # type: ignore[misc]
    assert red > 200 > 60 > green
    assert answers["wrong"].is_error
    assert "16 hexadecimal digits" in answers["wrong"].content[0].text
    assert answers["many"].is_error
