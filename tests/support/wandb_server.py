"""A server that speaks as much of W&B's protocol as its client needs to upload runs and to resume them.

The client is W&B's own; what it sent is kept as the service would keep it: history by line, the last summary.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOBODY = {
    "id": "VXNlcjox",
    "entity": "nobody",
    "username": "nobody",
    "email": "",
    "flags": "{}",
    "teams": {"edges": []},
}


@dataclass
class SentRun:
    """What the server was sent of a run."""

    config: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows by their line."""
        return [self.lines[number] for number in sorted(self.lines)]

    @property
    def epochs(self) -> list[int]:
        """Steps of the rows that hold an epoch."""
        return [row["_step"] for row in self.history if "train_loss" in row]


class Server(ThreadingHTTPServer):
    """The server, and the runs that it was sent by id.

    Attributes:
        runs: by id.
        asked: names of the queries, in their order.
        sweep: the file of the one sweep that agents may ask for.
        trials: flags of its trials, by name, that no agent has been given yet.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, SentRun] = {}
        self.asked: list[str] = []
        self.sweep = ""
        self.trials: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def variables(self) -> dict[str, str]:
        """Variables by which a process uploads here."""
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.server_address[1]}", "WANDB_API_KEY": "0" * 40}


@contextmanager
def wandb_server() -> Iterator[Server]:
    """Serve until the block ends."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self._content()
        with self.server.lock:
            if self.path == "/graphql":
                asked = json.loads(content)
                self._answer({"data": self._graphql(asked["query"], asked.get("variables") or {})})
            elif not self.path.endswith("/file_stream"):
                # The client's own telemetry.
                self._answer({})
            else:
                # /files/ENTITY/PROJECT/RUN/file_stream
                self._stream(self.server.runs.setdefault(self.path.split("/")[4], SentRun()), json.loads(content))
                self._answer({})

    def do_PUT(self) -> None:
        self._content()
        self._answer({})

    def log_message(self, *_: object) -> None:
        pass

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        name = query.split("(")[0].split("{")[0].split()[-1]
        self.server.asked.append(name)
        project = {
            "id": "UHJvamVjdDox",
            "name": given.get("project") or "",
            "entity": {"id": "RToxOg", "name": "nobody"},
        }
        if name == "RunResumeStatus":
            run = self.server.runs.get(given["name"])
            return {"model": {**project, "bucket": None if run is None else _bucket(given["name"], run)}}
        if name == "UpsertBucket":
            inserted = given["name"] not in self.server.runs
            run = self.server.runs.setdefault(given["name"], SentRun())
            run.about |= {key: value for key, value in given.items() if value is not None}
            run.config |= {key: item.get("value") for key, item in json.loads(given.get("config") or "{}").items()}
            bucket = {
                **_bucket(given["name"], run),
                "description": "",
                "sweepName": given.get("sweep"),
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}
        if name == "CreateRunFiles":
            run = self.server.runs[given["run"]]
            run.files |= set(given["files"])
            url = f"http://127.0.0.1:{self.server.server_address[1]}/upload"
            files = [{"name": each, "uploadUrl": url} for each in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if name == "SweepWithRuns":
            return {"project": {"sweep": {"id": "s", "name": "s", "config": self.server.sweep, "runs": {"edges": []}}}}
        if name == "CreateAgent":
            return {"createAgent": {"agent": {"id": "a"}}}
        if name == "Heartbeat":
            return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(self._commands(given))}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        return {"viewer": NOBODY, "serverInfo": {}}

    def _commands(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        """Give an agent that is idle its next trial, or send it home."""
        if json.loads(given["runState"]):
            return []
        if not self.server.trials:
            return [{"type": "exit"}]
        flags = self.server.trials.pop(0)
        args = {name: {"value": value} for name, value in flags.items()}
        return [{"type": "run", "run_id": f"trial{len(self.server.trials)}", "program": "mammo-aln", "args": args}]

    @staticmethod
    def _stream(run: SentRun, sent: dict[str, Any]) -> None:
        for name, chunk in (sent.get("files") or {}).items():
            rows = [json.loads(line) for line in chunk["content"] if name.startswith("wandb-") and line.strip()]
            if name == "wandb-history.jsonl":
                run.lines |= {chunk["offset"] + number: row for number, row in enumerate(rows)}
            elif name == "wandb-summary.json" and rows:
                run.summary = rows[-1]
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")


def _bucket(name: str, run: SentRun) -> dict[str, Any]:
    return {
        "id": f"run-{name}",
        "name": name,
        "displayName": run.about.get("displayName", name),
        "summaryMetrics": json.dumps(run.summary),
        "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
        "historyLineCount": len(run.lines),
        "eventsLineCount": 0,
        "logLineCount": 0,
        "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
        "eventsTail": "[]",
        "tags": run.about.get("tags", []),
        "notes": None,
        "wandbConfig": json.dumps({"t": 1}),
    }
