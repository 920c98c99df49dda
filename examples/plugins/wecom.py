"""A channel of alerts: a group robot of WeCom (企业微信群机器人), with a form of its own.

https://developer.work.weixin.qq.com/document/path/91770
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any


class WeCom:
    """Sends to a robot; its address has the key in it, so it is in a file."""

    def __init__(self, url_file: str) -> None:
        self.url_file = url_file

    def send(self, alert: dict[str, Any]) -> None:
        """Send an alert; an exception says that it did not arrive."""
        sign = {"firing": "🔴", "resolved": "🟢"}.get(alert["state"], "⚪")
        text = f"{sign} {alert['host']}: {alert['summary']}"
        body = {"msgtype": "text", "text": {"content": text[:2000]}}
        request = urllib.request.Request(  # noqa: S310 - the operator's own address
            Path(self.url_file).read_text(encoding="utf-8").strip(),
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            said = json.load(answer)
        if said["errcode"]:
            raise OSError(f"the robot refused it: {said['errmsg']}")
