"""The local stack's console in the folder of a user's app."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.processes import running_stack, wait_for


@pytest.mark.long
def test_console_of_the_stack_redrives_with_the_apps_handler(tmp_path: Path) -> None:
    app, state = tmp_path / "app", tmp_path / "state"
    app.mkdir()
    (app / "orders.py").write_text("def handle(event): pass\n")
    with running_stack(state, "--set", "EVENT_HANDLER=orders:handle", cwd=app) as endpoints:
        url = endpoints["console_url"]
        headers = {"Authorization": f"Bearer {endpoints['console_token']}", "Origin": url}
        body = {"all": True, "by": "ann"}
        answer = httpx.post(f"{url}/api/redrive", json=body, headers=headers, timeout=30)
        assert answer.status_code == 202, answer.text
        log = state / "logs" / "console.log"
        wait_for(lambda: "redrive of everything: " in log.read_text(), log.read_text)
        assert "stopped" not in log.read_text().rpartition("redrive of everything: ")[2]
